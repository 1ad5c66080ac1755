# SPDX-License-Identifier: Apache-2.0
"""Addresses of jobboards, and which job a worker claims."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import testtools
from hypothesis import given
from hypothesis import strategies as st

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet import job as records
from osc_imagetools.backup_run.fleet.job import BadRecord, FleetJob, ServerState, WorkerRecord
from osc_imagetools.backup_run.fleet.plan_address import parse_address
from osc_imagetools.backup_run.fleet.plan_claims import choose
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.tests.unit.backup_run import samples

ME = WorkerRecord("me", frozenset({"c"}), frozenset({"daily"}))
OTHER = replace(ME, name="other")


def job(identifier: str = "s", *, limits: RunLimits = records.NO_LIMITS, **changes: Any) -> FleetJob:
    server: dict[str, Any] = {"host": "h", "project_id": "p", "volume_types": frozenset({"fast"})}
    server |= {name: changes.pop(name) for name in list(changes) if name in server}
    fields: dict[str, Any] = {"run": "r", "policy": "daily", "cloud": "c"}
    of = replace(samples.server(identifier), properties={}, **server)
    return FleetJob(**{**fields, "server": of, "limits": limits, **changes})


class TestAddress(testtools.TestCase):
    def test_what_is_typed(self):
        for text, hosts, path in (
            ("zookeeper://a", ("a:2181",), "/osc-imagetools"),
            ("zookeeper://a:1,b,[::1]:3/x/y-z/", ("a:1", "b:2181", "[::1]:3"), "/x/y-z"),
        ):
            address = parse_address(text)
            self.assertEqual((hosts, path), (address.hosts, address.path))
            self.assertEqual(address, parse_address(address.url))

    def test_what_is_refused(self):
        for text in (
            "redis://a",
            "a:2181",
            "zookeeper://",
            "zookeeper://a,,b",
            "zookeeper://a:0",
            "zookeeper://a:70000",
            "zookeeper://a/x//y",
            "zookeeper://a/../b",
            "zookeeper://a/x y",
            "zookeeper://u:secret@a/x",
        ):
            error = self.assertRaises(errors.UsageError, parse_address, text)
            self.assertNotIn("secret", str(error))


class TestChoice(testtools.TestCase):
    def test_the_first_that_no_limit_forbids(self):
        limits = RunLimits(None, per_host=1)
        running = [job("a", host="h1")]
        waiting = [job("b", host="h1", limits=limits), job("c", host="h2", limits=limits)]
        self.assertIs(waiting[1], choose(waiting, running, ME, [ME]))
        self.assertIs(waiting[0], choose(waiting, [], ME, [ME]))

    def test_each_limit_counts_what_any_worker_has_claimed(self):
        for limits, change in (
            (RunLimits(1), {}),
            (RunLimits(None, per_host=1), {"host": "h2"}),
            (RunLimits(None, per_project=1), {"project_id": "p2"}),
            (RunLimits(None, per_volume_type=1), {"volume_types": frozenset({"slow"})}),
        ):
            running = [job("a")]
            self.assertIsNone(choose([job("b", limits=limits)], running, ME, []))
            free = job("b", limits=limits, **change)
            expected: FleetJob | None = free if change else None
            self.assertEqual(expected, choose([free], running, ME, []), str(limits))

    def test_the_number_of_servers_is_of_a_run_and_the_others_of_a_cloud(self):
        one = RunLimits(1)
        self.assertIsNotNone(choose([job("b", limits=one)], [job("a", run="r2")], ME, []))
        one = RunLimits(None, per_host=1)
        self.assertIsNone(choose([job("b", limits=one)], [job("a", run="r2")], ME, []))
        self.assertIsNotNone(choose([job("b", limits=one)], [job("a", cloud="c2")], ME, []))

    def test_no_server_twice_at_a_time(self):
        self.assertIsNone(choose([job("a", run="r2")], [job("a")], ME, []))

    def test_only_what_the_worker_knows(self):
        waiting = [job("a", cloud="x"), job("b", policy="x"), job("c")]
        self.assertIs(waiting[2], choose(waiting, [], ME, []))

    def test_what_failed_here_is_for_another_if_there_is_one(self):
        failed = job("a").again("me")
        self.assertIsNone(choose([failed], [], ME, [ME, OTHER]))
        self.assertIs(failed, choose([failed], [], OTHER, [ME, OTHER]))
        self.assertIs(failed, choose([failed], [], ME, [ME]))
        self.assertIs(failed, choose([failed], [], ME, [ME, replace(OTHER, clouds=frozenset())]))
        everywhere = failed.again("other")
        self.assertIs(everywhere, choose([everywhere], [], ME, [ME, OTHER]))


class TestRecords(testtools.TestCase):
    def test_a_job_comes_back_as_it_was_and_names_no_more_than_it_must(self):
        posted = job("a", limits=RunLimits(3, per_host=1), until=5.5, newest="/b", project="p2").again("me")
        details = json.loads(json.dumps(records.job_details(posted)))
        back = records.parse_job(details)
        server = replace(posted.server, tags=frozenset(), properties={})
        self.assertEqual(replace(posted, server=server), back)

    def test_a_state_and_its_result_come_back(self):
        result = ServerResult(job().server, "exported", "/b", 5, 1.5, ["x"], ["y"], 2.0, None)
        state = ServerState(3, job().server, "done", runs=("0" * 12,), result=records.result_facts(result))
        back = records.parse_state(records.format_state(state))
        self.assertEqual(state.runs, back.runs)
        self.assertEqual(result, replace(records.result_of(result.server, back.result or {})))

    def test_what_is_no_job_is_refused(self):
        good = records.job_details(job())
        server = good["server"]
        wrongs: tuple[Any, ...] = (
            None,
            [],
            {**good, "cloud": "--os-auth-url=http://x"},
            {**good, "cloud": ""},
            {**good, "project": "-x"},
            {**good, "region": 5},
            {**good, "server": {**server, "id": "--all"}},
            {**good, "server": {**server, "id": "../x"}},
            {**good, "server": None},
            {**good, "limits": None},
            {**good, "until": "soon"},
            {**good, "posted": -1},
            {**good, "jobs": 1e300},
        )
        for wrong in wrongs:
            self.assertRaises(BadRecord, records.parse_job, wrong)

    @given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
    def test_anything_else_is_refused_too(self, data):
        raw = data if isinstance(data, bytes) else data.encode()
        for parse in (records.parse_state, records.parse_run):
            self.assertRaises(BadRecord, parse, raw)
