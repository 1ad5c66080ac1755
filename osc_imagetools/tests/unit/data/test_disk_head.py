# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import testtools

from osc_imagetools.data.disk_head import HEAD_NEEDED, look_at_head
from osc_imagetools.tests.unit.bundle import samples


class TestHead(testtools.TestCase):
    def test_what_it_tells(self) -> None:
        for data, name, encrypted, damaged in (
            (samples.qcow2(), "qcow2", False, False),
            (samples.qcow2(crypt=2), "qcow2", True, False),
            (samples.qcow2(features=2), "qcow2", False, True),
            (b"QFI\xfb", "qcow2", False, False),
            (samples.luks(), "luks", True, False),
            (samples.vmdk(), "vmdk", False, False),
            (samples.vhd(), "vhd", False, False),
            (samples.vhdx(), "vhdx", False, False),
            (samples.vdi(), "vdi", False, False),
            (samples.iso(), "iso", False, False),
            (samples.partitioned(valid=True), "raw", False, False),
            (b"", "raw", False, False),
        ):
            facts = look_at_head(data[:HEAD_NEEDED])
            self.assertEqual(
                (name, encrypted, damaged), (facts.content_format, facts.encrypted, bool(facts.damage))
            )
