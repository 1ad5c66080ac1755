# SPDX-License-Identifier: Apache-2.0
"""Runs on many machines: workers that die, are paused or lose ZooKeeper, a real one on a real cloud.

``OSC_IMAGETOOLS_KILLS`` is the number of moments at which a worker is killed (default: 3), chosen by the dice
of ``OSC_IMAGETOOLS_SEED``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any
from unittest import mock

import fixtures
from kazoo.exceptions import ConnectionLoss
from testtools import content

from osc_imagetools import errors
from osc_imagetools.backup_run.execute import RunOptions
from osc_imagetools.backup_run.fleet.board import RUNS, WORKERS, FencedOff, Jobboard
from osc_imagetools.backup_run.fleet.job import (
    DONE,
    RETRIES,
    FleetJob,
    ServerState,
    WorkerRecord,
    format_state,
    parse_state,
)
from osc_imagetools.backup_run.fleet.plan_address import parse_address
from osc_imagetools.backup_run.fleet.posting import PostingLogin, post_run, server_node
from osc_imagetools.backup_run.fleet.session import WorkerSession
from osc_imagetools.backup_run.fleet.worker_loop import COMMANDS
from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.processes import descendants
from osc_imagetools.tests.functional.servers import ServerCase
from osc_imagetools.tests.functional.zookeeper import ZooKeeper
from osc_imagetools.tests.unit.backup_run import samples

SESSION = 3.0  # seconds
KILLS = int(os.environ.get("OSC_IMAGETOOLS_KILLS", "3"))
SEED = int(os.environ.get("OSC_IMAGETOOLS_SEED", "1"))
EXPORT = 20.0  # seconds that an export takes at most: the moments of the first kills lie in it


class TestBoard(base.TestCase):
    """The jobboard alone."""

    def setUp(self) -> None:
        super().setUp()
        self.zookeeper = self.useFixture(ZooKeeper(self.dir))
        self.address = parse_address(self.zookeeper.url)

    def board(self, owner: str) -> Jobboard:
        board = Jobboard(self.address, owner, SESSION)
        board.__enter__()
        self.addCleanup(board.close)
        return board

    def job(self, identifier: str = "s") -> FleetJob:
        return FleetJob("r", samples.server(identifier), "daily", "c")

    def wait_for(self, condition: Any) -> None:
        self.wait(lambda: bool(condition()), True)

    def claimed(self, board: Jobboard) -> Any:
        """The first job, claimed: it takes a moment until TaskFlow knows of a job."""
        self.wait_for(lambda: board.claim(board.jobs()[0]))
        return board.jobs()[0]

    def test_a_job_is_claimed_by_one_and_gone_when_it_is_done(self) -> None:
        one, two = self.board("one"), self.board("two")
        one.post(self.job())
        (posted,) = two.jobs()
        self.assertEqual(("s", False), (posted.job and posted.job.server.id, posted.claimed))
        posted = self.claimed(one)
        self.assertTrue(posted.claimed)
        self.wait_for(lambda: posted.name in two._handles)  # the other one knows of it too
        self.assertFalse(two.claim(posted))
        self.assertEqual((True, False), (one.is_mine(posted), two.is_mine(posted)))
        self.assertRaises(errors.JobboardError, two.consume, posted)
        one.abandon(posted)
        self.assertTrue(two.claim(posted))
        two.consume(posted)
        two.consume(posted)
        self.assertEqual([], one.jobs())

    def test_a_claim_ends_with_its_session(self) -> None:
        one, two = self.board("one"), self.board("two")
        one.post(self.job())
        self.claimed(one)
        one.close()
        self.assertFalse(two.jobs()[0].claimed)

    def test_what_is_no_job_stops_nobody(self) -> None:
        one = self.board("one")
        for data in (b"", b"\xff", b"[]", b'{"uuid": "u", "name": "n", "details": {"cloud": "--x"}}'):
            one._client.create(one.path("exports", "job"), data, sequence=True)
        one.post(self.job())
        self.assertEqual([None] * 4 + ["s"], [p.job and p.job.server.id for p in one.jobs()])
        self.wait_for(lambda: one.claim(one.jobs()[4]))

    def test_a_job_that_is_only_left_does_not_keep_its_server_off_the_board(self) -> None:
        """Its worker was killed after it had written that the server is done."""
        board = self.board("one")
        planned = [PlannedServer(samples.server("s"), samples.policy(), export=True)]

        def post() -> int:
            return post_run(board, planned, PostingLogin("c", "", "p"), RunOptions(RunLimits(None))).jobs

        self.assertEqual((1, 0), (post(), post()))
        (job,) = [posted.job for posted in board.jobs() if posted.job]
        found = board.read(*server_node(job))
        assert found is not None
        done = replace(parse_state(found[0]), state=DONE)
        board.write(format_state(done), found[1], *server_node(job))
        self.assertEqual((1, 0), (post(), post()))

    def test_a_turn_whose_end_was_not_confirmed_ends_later(self) -> None:
        one, two = self.board("one"), self.board("two")
        with mock.patch.object(one._turn, "release", side_effect=ConnectionLoss), one.turn():
            pass
        one.end_turn()
        with two.turn(timeout=10):
            pass

    def test_two_that_write_one_node(self) -> None:
        one = self.board("one")
        one.create(b"a", RUNS, "r")
        self.assertEqual((b"a", 0), one.read(RUNS, "r"))
        self.assertEqual(1, one.write(b"b", 0, RUNS, "r"))
        self.assertRaises(FencedOff, one.write, b"c", 0, RUNS, "r")
        self.assertRaises(FencedOff, one.write, b"c", 0, RUNS, "x")
        self.assertIsNone(one.read(RUNS, "x"))

    def test_the_lease_lasts_as_long_as_zookeeper_proves_the_session(self) -> None:
        board = self.board("one")
        with WorkerSession(board, WorkerRecord("one"), SESSION) as session:
            time.sleep(SESSION * 1.5)
            self.assertFalse(session.over())
            self.zookeeper.stop()
            self.wait_for(session.over)
            self.assertTrue(session.lease.over())
            self.zookeeper.start()
            self.wait_for(lambda: board._client.connected)
            self.assertTrue(session.over())  # one that was over never comes back

    def test_a_session_that_was_ended_is_lost(self) -> None:
        board, other = self.board("one"), self.board("two")
        with WorkerSession(board, WorkerRecord("one"), SESSION) as session:
            other.remove(WORKERS, "one")
            self.wait_for(session.over)


class FleetCase(ServerCase):
    """Workers, whose exports go into one directory; all tests share the servers."""

    servers: list[str]
    guest: pathlib.Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        case = ServerCase("id")
        case.setUp()
        cls.addClassCleanup(case.doCleanups)
        cls.guest = case.guest_disk()
        image = case.image(cls.guest)
        cls.servers = [
            case.create_server(
                block_device_mapping_v2=[case.on_volume(case.volume(image_id=image), boot=True)],
                name=f"{case.name}-{number}",
            )
            for number in range(2)
        ]
        case.written_by_guest(cls.guest)

    def setUp(self) -> None:
        super().setUp()
        self.zookeeper = self.useFixture(ZooKeeper(self.dir))
        self.board = ("--jobboard", self.zookeeper.url)
        self.backup = self.dir / "backup"
        self.observer = Jobboard(parse_address(self.zookeeper.url), "test", 60.0)
        self.observer.__enter__()
        self.addCleanup(self.observer.close)
        self.before = self.states()

    def options(self) -> tuple[str, ...]:
        return "--max-age", "1d", "--output-directory", str(self.backup)

    def worker(
        self, *words: str, session: float = SESSION, policy: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        """One on a machine of its own, as far as its journals go; stopped when the test ends."""
        number = len(list(self.dir.glob("state-*")))
        state = self.dir / f"state-{number}"
        state.mkdir()
        with fixtures.EnvironmentVariable("XDG_STATE_HOME", str(state)):
            command = ("-v", "server", "backup-worker", *self.board, *(policy or self.options()))
            with (state / "log").open("w") as log:
                process = self.start(*command, "--session-timeout", str(session), *words, log=log)
        self.addCleanup(self.stop, process)
        return process

    def start(self, *words: str, log: Any) -> subprocess.Popen[str]:
        base._note(words[1:])
        return subprocess.Popen(
            [os.path.dirname(sys.executable) + "/openstack", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            preexec_fn=base._heed_signals,
        )

    def stop(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            self.assertIn(process.wait(timeout=base.PATIENCE), (0, 130))

    def post(self, *words: str) -> str:
        """Starts a run: its ID."""
        command = ("server", "backup-run", *self.servers, *self.options(), *self.board, "--no-wait")
        (row,) = self.openstack(*command, "-f", "json", *words).json
        self.assertEqual((2, 2), (row["Servers"], row["Jobs"]))
        return str(row["Run"])

    def follow(self, run: str, *words: str, code: int = 0) -> list[dict[str, Any]]:
        command = ("server", "backup-run", *self.board, "--follow", run, "--long", "-f", "json")
        return self.openstack(*command, *words, code=code).json  # type: ignore[no-any-return]

    def server_states(self, run: str) -> list[ServerState]:
        """What the board knows of the servers of a run."""
        found = self.observer.read_all(RUNS, run, "servers")
        return [parse_state(data) for data in found.values()]

    def running(self, run: str) -> list[int]:
        """The processes of the workers that work on something."""
        return [int(s.worker.split(".")[-2]) for s in self.server_states(run) if s.state == "running"]

    def await_part(self, worker: subprocess.Popen[str]) -> None:
        """Waits until a worker takes part: before that, a signal just ends it."""
        pid = str(worker.pid)
        self.wait(lambda: pid in [n.split(".")[-3] for n in self.observer.read_all(WORKERS)], True)

    def all_exported_once(self, run: str) -> list[dict[str, Any]]:
        """Waits for a run: each server has one new complete copy, and nothing is left."""
        rows = self.follow(run)
        self.assertEqual(["exported"] * 2, [row["Result"] for row in rows], str(rows))
        self.nothing_left(run)
        bundles = sorted(self.backup.glob("*/*.bundle"))
        self.assertEqual(sorted(row["Bundle"] for row in rows), list(map(str, bundles)))
        self.assertEqual(sorted(self.servers), sorted(bundle.parent.name for bundle in bundles))
        self.addDetail("rows", content.text_content(json.dumps(rows, indent=1)))
        for bundle in bundles:
            self.openstack("bundle", "verify", bundle, cloud=None)
            self.same_disk(bundle / "disks" / "0-vda.qcow2", self.guest)
        return rows

    def states(self) -> set[str]:
        """What the servers are like."""
        return {text for text in self.everything() if any(server in text for server in self.servers)}

    def nothing_left(self, run: str) -> None:
        """Of all runs of commands that were started for a run, nothing is in the cloud or in a journal."""
        made = {made for state in self.server_states(run) for made in state.runs}
        self.assertLessEqual(2 * COMMANDS, len(made))
        self.wait(lambda: [text for text in self.everything() if any(run in text for run in made)], [])
        left = self.openstack("leftover", "list", "-f", "json").json
        self.assertEqual([], [row for row in left if row["Run"] in made])
        self.wait(self.states, self.before)

    def await_work(self, run: str, *workers: subprocess.Popen[str]) -> None:
        """Waits until each of the workers works on something."""
        self.wait(lambda: {worker.pid for worker in workers} <= set(self.running(run)), True)


class TestFleet(FleetCase):
    def test_killed_workers(self) -> None:
        """As many in a run as its servers are tried again."""
        length, killed, numbers = EXPORT, 0, itertools.count()
        while killed < KILLS:
            run = self.post()
            for number in itertools.islice(numbers, min(RETRIES, KILLS - killed)):
                self.assertLess(number, 3 * KILLS)  # else it is always too late
                dice = random.Random(f"{SEED} {number}")
                worker = self.worker("--parallel", "2")
                self.await_work(run, worker)
                began = time.monotonic()
                moment = began + dice.uniform(0, length)
                while (works := worker.pid in self.running(run)) and time.monotonic() < moment:
                    time.sleep(0.1)
                # With its machine, or alone: then its commands remove what they have made.
                victims = [worker.pid, *(descendants(worker.pid) if dice.random() < 0.5 else ())]
                for pid in victims:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                worker.wait()
                killed += works
                if not works:  # this machine is faster: the next moment is in the export
                    length = time.monotonic() - began
                    break
            last = self.worker("--parallel", "2")
            self.await_part(last)  # all may be done already, and then it is stopped at once
            self.all_exported_once(run)
            self.stop(last)
            shutil.rmtree(self.backup)

    def test_zookeeper_is_gone_for_a_while(self) -> None:
        run = self.post()
        one, two = self.worker(session=40.0), self.worker(session=40.0)
        self.await_work(run, one, two)
        self.zookeeper.stop()
        back = time.monotonic() + 20
        refused = self.openstack("server", "backup-worker", *self.board, *self.options(), code=1)
        self.assertIn("[jobboard-failed]", refused.err)
        time.sleep(max(0.0, back - time.monotonic()))
        self.zookeeper.start()
        rows = self.all_exported_once(run)
        self.assertEqual(["", ""], [row["Detail"] for row in rows])  # the exports did not notice

    def test_a_paused_worker(self) -> None:
        run = self.post()
        one = self.worker("--parallel", "2")
        self.await_work(run, one)
        one.send_signal(signal.SIGSTOP)
        two = self.worker("--parallel", "2")
        self.await_work(run, two)
        one.send_signal(signal.SIGCONT)
        rows = self.all_exported_once(run)
        self.assertIn("was lost", "".join(row["Detail"] for row in rows))
        self.assertIsNone(one.poll())  # it has a new session
        log = (self.dir / "state-0" / "log").read_text()
        self.assertIn("session with the jobboard is lost", log)

    def test_limits_and_failures(self) -> None:
        self.backup.mkdir()
        (self.backup / self.servers[1]).write_text("in the way")
        run = self.post("--per-project", "1")
        workers = [self.worker("--parallel", "2", "--exit-when-idle") for _ in range(2)]
        most, seen = 0, {"waiting"}
        while seen != {"done"}:
            states = [state.state for state in self.server_states(run)]
            most, seen = max(most, states.count("running")), set(states)
            time.sleep(0.2)
        self.assertEqual(1, most)
        rows = {row["ID"]: row for row in self.follow(run, code=3)}
        self.assertEqual(["exported", "failed"], [rows[i]["Result"] for i in self.servers])
        failures = rows[self.servers[1]]["Detail"]
        self.assertEqual(RETRIES, failures.count("earlier attempt"))
        for worker in workers:  # on another one if there is one
            self.assertIn(f".{worker.pid}.", failures)
        self.assertEqual({0, 3}, {worker.wait(timeout=60) for worker in workers} | {0})
        self.wait(self.states, self.before)

        command = ("server", "backup-run", *self.servers, *self.options(), *self.board, "--no-wait")
        (again,) = self.openstack(*command, "-f", "json").json
        self.assertEqual((2, 1), (again["Servers"], again["Jobs"]))  # the other one is fresh
        (twice,) = self.openstack(*command, "-f", "json").json
        self.assertEqual(0, twice["Jobs"])  # it is on the board already
        words = ("server", "backup-worker", *self.board, *self.options(), "--dry-run", "-f", "json")
        (planned,) = self.openstack(*words).json
        self.assertIn(self.servers[1], planned["Resource"])

    def test_a_policy_with_a_repository(self) -> None:
        repository, password = str(self.dir / "repository"), self.dir / "password"
        password.write_text("a password of the tests")
        in_repository = ("--repository", repository, "--password-file", str(password))
        init = ["restic", "-r", repository, "--password-file", str(password), "init"]
        subprocess.run(init, check=True, capture_output=True)
        facts = {
            "servers": {},
            "max_age": "1d",
            "repository": repository,
            "password_file": str(password),
            "keep": {"last": 1},
        }
        policies = self.dir / "policies.yaml"
        policies.write_text(json.dumps({"version": 1, "policies": {"mine": facts}}))
        words = ("--policy-file", str(policies))
        self.worker(policy=words)
        command = ("server", "backup-run", self.servers[0], *words, *self.board, "-f", "json")
        (row,) = self.openstack(*command).json
        self.assertEqual("exported", row["Result"], str(row))
        listed = self.openstack("bundle", "list", *in_repository, "-f", "json", cloud=None).json
        self.assertEqual([(row["Bundle"], "complete")], [(b["Bundle"], b["State"]) for b in listed])
        self.openstack("bundle", "verify", row["Bundle"], *in_repository, cloud=None)
        (again,) = self.openstack(*command).json
        self.assertEqual(("fresh", row["Bundle"]), (again["Result"], again["Bundle"]))
