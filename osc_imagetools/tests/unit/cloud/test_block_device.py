# SPDX-License-Identifier: Apache-2.0
import json

from hypothesis import given
from hypothesis import strategies as st

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import parse_mapping
from osc_imagetools.tests.unit.base import TestCase, mapping_entry

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def parse(entries, root=None):
    return parse_mapping(json.dumps(entries), root_device=root, what="image x")


class TestParseMapping(TestCase):
    def test_the_boot_disk_comes_first_whatever_the_order(self):
        boot, data = mapping_entry(), mapping_entry(boot_index=None, device_name="/dev/vdb")
        for entries in ([boot, data], [data, boot]):
            self.assertEqual(["vda", "vdb"], [d.device for d in parse(entries)])

    def test_boot_order_before_device_names(self):
        entries = [
            mapping_entry(boot_index=-1, device_name="/dev/vda"),
            mapping_entry(boot_index=1, device_name="/dev/vdb"),
            mapping_entry(boot_index=0, device_name="/dev/vdc"),
        ]
        self.assertEqual(["vdc", "vdb", "vda"], [d.device for d in parse(entries)])

    def test_legacy_entries(self):
        entries = [
            {"device_name": "vdb", "virtual_name": "swap"},
            {"device_name": "vdc", "virtual_name": "ephemeral0"},
            {"device_name": "vda", "snapshot_id": "s1", "volume_size": 1},
        ]
        root, swap, ephemeral = parse(entries, root="/dev/vda")
        self.assertEqual(("snapshot", "s1", 0), (root.source_type, root.snapshot_id, root.boot_index))
        self.assertEqual(("blank", "swap"), (swap.source_type, swap.guest_format))
        self.assertEqual(("blank", None), (ephemeral.source_type, ephemeral.guest_format))

    def test_no_device_is_no_disk(self):
        self.assertEqual((), parse([mapping_entry(no_device=True)]))

    def test_an_id_that_is_none_never_gets_into_a_url(self):
        (device,) = parse([mapping_entry(snapshot_id="../volumes/x?y")])
        self.assertIsNone(device.snapshot_id)

    def test_absent(self):
        self.assertEqual((), parse_mapping(None, root_device=None, what="image x"))
        self.assertEqual((), parse_mapping("", root_device=None, what="image x"))

    def test_broken(self):
        for value in ("{", "{}", "[1]", '[{"boot_index": "x"}]', "[" * 100000):
            error = self.assertRaises(
                errors.ResourceUnusable, parse_mapping, value, root_device=None, what="image x"
            )
            self.assertIn("image x", str(error))

    @given(st.lists(st.dictionaries(st.sampled_from(sorted(mapping_entry())), JSON), max_size=3))
    def test_anything_gives_devices_or_our_error(self, entries):
        try:
            for device in parse(entries):
                self.assertIn(device.boot_index is None, (True, False))
        except errors.ResourceUnusable:
            pass
