# SPDX-License-Identifier: Apache-2.0
import testtools

from osc_imagetools.cloud.states import snapshot_problem, volume_problem
from osc_imagetools.cloud.volume import read_snapshot, read_volume
from osc_imagetools.tests.unit.base import snapshot_document, volume_document


class TestStates(testtools.TestCase):
    def test_of_a_volume(self):
        for status, advice in (
            ("creating", "Wait until"),
            ("extending", "Wait until"),
            ("error", "volume message list"),
            ("error_extending", "--state available"),
            ("reserved", "server unshelve"),
            ("awaiting-transfer", "volume transfer request list"),
            ("maintenance", "migrated"),
            ("deleting", "being deleted"),
            ("new-state", "volume show"),
        ):
            problem = volume_problem(read_volume(volume_document(id="v1", name=None, status=status)), "vdb")
            self.assertIn(f"vdb: volume v1 is {status} [", str(problem))
            self.assertIn(advice, str(problem))
            if status.startswith("error"):  # it never ends by itself
                self.assertNotIn("Wait", str(problem))
        for status in ("available", "in-use"):
            self.assertIsNone(volume_problem(read_volume(volume_document(status=status))))

    def test_of_a_snapshot(self):
        for status, advice in (
            ("error", "another snapshot"),
            ("error_deleting", "has no future"),
            ("deleting", "has no future"),
            ("unmanaging", "Wait until"),
        ):
            problem = snapshot_problem(read_snapshot(snapshot_document(status=status)))
            self.assertIn(advice, str(problem))
        for status in ("available", "creating", "backing-up"):
            self.assertIsNone(snapshot_problem(read_snapshot(snapshot_document(status=status))))
