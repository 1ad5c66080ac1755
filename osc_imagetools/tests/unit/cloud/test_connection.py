# SPDX-License-Identifier: Apache-2.0
from osc_imagetools.cloud.connection import _without_userinfo
from osc_imagetools.tests.unit.base import PROJECT, TestCase


class TestCloud(TestCase):
    def test_where_it_is_without_any_secret(self):
        origin = self.mocked_cloud().cloud.origin
        self.assertEqual(
            ("RegionOne", PROJECT, "demo"), (origin.region, origin.project_id, origin.project_name)
        )
        self.assertNotIn("secret", str(origin))
        self.assertEqual("http://h:5000/v3", _without_userinfo("http://user:secret@h:5000/v3"))

    def test_block_storage_is_there_or_not(self):
        self.assertTrue(self.mocked_cloud().cloud.has_block_storage)
        self.assertFalse(self.mocked_cloud(block_storage=False).cloud.has_block_storage)

    def test_under_its_older_names_too(self):
        for name in ("volumev3", "block-store"):
            self.assertTrue(self.mocked_cloud(block_storage=name).cloud.has_block_storage, name)
