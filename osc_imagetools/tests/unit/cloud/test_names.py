# SPDX-License-Identifier: Apache-2.0
import uuid

import testtools

from osc_imagetools.cloud.names import is_identifier, label_of, printable


class TestNames(testtools.TestCase):
    def test_printable(self):
        self.assertEqual(r"a\n\x1b[2J\xffü", printable("a\n\x1b[2J\udcffü"))

    def test_labels(self):
        self.assertEqual("volume two  spaces (v1)", label_of("volume", "two  spaces", "v1"))
        self.assertEqual("volume v1", label_of("volume", None, "v1"))
        self.assertEqual("volume v1", label_of("volume", "", "v1"))
        self.assertEqual(r"image \x1b[31mred (i1)", label_of("image", "\x1b[31mred", "i1"))

    def test_what_can_be_an_id(self):
        for text in (str(uuid.uuid4()), uuid.uuid4().hex, str(uuid.uuid4()).upper()):
            self.assertTrue(is_identifier(text), text)
        for text in ("", ".", "..", "detail", "summary", "a/file", f"{uuid.uuid4()}/file", "web01"):
            self.assertFalse(is_identifier(text), text)
