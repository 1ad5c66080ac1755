# SPDX-License-Identifier: Apache-2.0
"""What a worker assigns to the commands that it starts: the ID of the run, and a lease."""

import threading

import fixtures
import testtools

from osc_imagetools import errors
from osc_imagetools.run import assignment
from osc_imagetools.tests.unit.bundle import samples


class TestRunId(testtools.TestCase):
    def test_the_first_run_has_the_assigned_one_and_later_ones_have_their_own(self):
        self.useFixture(fixtures.EnvironmentVariable(assignment.RUN_ID, "0123456789ab"))
        self.assertEqual("0123456789ab", assignment.run_id())
        self.assertNotEqual("0123456789ab", assignment.run_id())

    def test_what_is_none_is_not_used(self):
        self.useFixture(fixtures.EnvironmentVariable(assignment.RUN_ID, "../0123456789"))
        self.assertRegex(assignment.run_id(), "^[0-9a-f]{12}$")


def assigned(case):
    """A lease of this process, that is not over for long."""
    lease, file = assignment.new_lease()
    case.addCleanup(file.close)
    case.useFixture(fixtures.EnvironmentVariable(assignment.LEASE, str(lease.descriptor)))
    lease.extend(assignment.lease_clock() + 1000)
    return lease


class TestLease(testtools.TestCase):
    def test_without_one_nothing_is_limited(self):
        self.useFixture(fixtures.EnvironmentVariable(assignment.LEASE))
        self.assertIsNone(assignment.assigned_lease())
        assignment.check_lease()

    def test_it_is_over_until_it_is_extended_and_when_its_moment_has_passed(self):
        lease, file = assignment.new_lease()
        self.addCleanup(file.close)
        self.assertTrue(lease.over())
        lease.extend(assignment.lease_clock() + 1000)
        self.assertFalse(lease.over())
        lease.extend(assignment.lease_clock() - 1)
        self.assertTrue(lease.over())

    def test_the_command_sees_what_its_parent_extends(self):
        lease = assigned(self)
        assignment.check_lease()
        lease.extend(0)
        self.assertRaises(errors.Cancelled, assignment.check_lease)

    def test_one_that_cannot_be_read_is_over(self):
        for text in ("", "x", "99999"):
            self.useFixture(fixtures.EnvironmentVariable(assignment.LEASE, text))
            self.assertRaises(errors.Cancelled, assignment.check_lease)

    def test_what_runs_is_stopped_when_it_is_over(self):
        lease, stop = assigned(self), threading.Event()
        with assignment.lease_heeded(stop):
            self.assertFalse(stop.is_set())
            lease.extend(0)
            self.assertTrue(stop.wait(10))


class TestPublishing(samples.TestCase):
    def test_no_bundle_becomes_complete_after_the_lease(self):
        lease = assigned(self)
        asked = []

        def over_at_the_last_moment():
            asked.append(True)
            if len(asked) == 2:
                lease.extend(0)
            assignment.check_lease()

        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            self.assertRaises(errors.Cancelled, writer.finish, document, over_at_the_last_moment)
        self.assertEqual(2, len(asked))
        self.assertFalse((self.path / "manifest.json").exists())
        lease.extend(assignment.lease_clock() + 1000)
        with samples.open_writer(self.path) as writer:
            writer.finish(samples.fill(writer), assignment.check_lease)
        self.assertTrue((self.path / "manifest.json").exists())
