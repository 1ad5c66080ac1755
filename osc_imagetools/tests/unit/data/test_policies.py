# SPDX-License-Identifier: Apache-2.0
"""Decisions without effects: retries, ranges, growth, shares of streams and memory."""

from __future__ import annotations

import threading
from email.utils import formatdate

import fixtures
import requests
import testtools
from hypothesis import given
from hypothesis import strategies as st

from osc_imagetools import errors
from osc_imagetools.cloud import transport
from osc_imagetools.data import http, limits
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.ranges import RangeRefused, RangeSupport, content_range
from osc_imagetools.data.retry import Attempts, Broken, RetryPolicy
from osc_imagetools.data.stream_count import Growth
from osc_imagetools.progress.model import Account, NullProgress

MIB = 1024 * 1024


class RetryTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.waits: list[float] = []
        self.account = Account(NullProgress().task("x", 1))
        self.policy = RetryPolicy(attempts=5, patience=0.0)
        self.attempts = Attempts(self.policy, "image x", self.account, self.pause)

    def pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return False

    def test_waits_double_up_to_a_bound_less_up_to_a_half(self) -> None:
        for failures, longest in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (5000 // 5, 30.0)):
            for _ in range(20):
                wait = self.policy.wait(failures, Broken("x"))
                self.assertTrue(longest / 2 <= wait <= longest, (failures, wait))

    def test_what_the_service_asks_for_is_honoured_up_to_a_bound(self) -> None:
        self.assertEqual(7.0, self.policy.wait(1, Broken("x", wait=7.0)))
        self.assertEqual(120.0, self.policy.wait(1, Broken("x", wait=1e9)))
        self.assertEqual(0.0, self.policy.wait(1, Broken("x", wait=-5.0)))

    def test_a_new_login_is_tried_at_once_but_once(self) -> None:
        self.attempts.failed(Broken("401", login=True))
        self.attempts.failed(Broken("401", login=True))
        self.assertEqual(0.0, self.waits[0])
        self.assertGreater(self.waits[1], 0.0)
        self.assertRaises(errors.Forbidden, self.attempts.failed, Broken("401", login=True))

    def test_failures_in_a_row(self) -> None:
        for _ in range(4):
            self.attempts.failed(Broken("reset"))
        error = self.assertRaises(errors.TransferError, self.attempts.failed, Broken("reset"))
        self.assertIn("reset; given up after 5 tries", str(error))
        self.assertEqual(4, self.account.retries)

    def test_progress_clears_the_count_a_trickle_does_not(self) -> None:
        for _ in range(100):
            self.attempts.failed(Broken("reset"))
            self.attempts.moved(65536)
        for _ in range(3):
            self.attempts.failed(Broken("reset"))
            self.attempts.moved(65535)
        self.attempts.failed(Broken("reset"))
        self.assertRaises(errors.TransferError, self.attempts.failed, Broken("reset"))

    def test_retry_after(self) -> None:
        self.assertEqual(5.0, transport.retry_after("5"))
        self.assertIsNone(transport.retry_after(None))
        for nonsense in ("", "soon", "-1", "²", "9" * 30 + "x", "Mon, 99 Nov 2026 00:00:00 GMT"):
            self.assertIsNone(transport.retry_after(nonsense), nonsense)
        self.assertEqual(0.0, transport.retry_after(formatdate(0, usegmt=True)))
        later = transport.retry_after(formatdate(4102444800, usegmt=True))
        assert later is not None
        self.assertGreater(later, 1e6)


class ContentRangeTest(testtools.TestCase):
    def test_right(self) -> None:
        self.assertEqual((99, 1000), content_range("bytes 0-99/1000", 0, 99))
        self.assertEqual((50, 1000), content_range("Bytes 10-50/1000", 10, 99))

    def test_wrong(self) -> None:
        for value in (
            None,
            "",
            "bytes",
            "bytes */1000",
            "bytes 0-99/*",
            "bytes 1-99/1000",
            "bytes 0-100/1000",
            "bytes 0-99/99",
            "bytes 0--1/100",
            "bytes 0-99/1000, 200-300/1000",
            "bytes \N{ARABIC-INDIC DIGIT ZERO}-99/1000",
            "items 0-99/1000",
            f"bytes 0-{'9' * 30}/{'9' * 31}",
        ):
            self.assertRaises(RangeRefused, content_range, value, 0, 99)

    @given(st.text(max_size=40))
    def test_any_text(self, value: str) -> None:
        try:
            end, total = content_range(value, 3, 9)
        except RangeRefused:
            return
        self.assertTrue(3 <= end <= 9 and end < total)


class RangeSupportTest(testtools.TestCase):
    def source(self, url: str, store: str | None = None) -> DownloadSource:
        return DownloadSource(url, "x", 1, None, None, None, store)

    def test_for_each_store_of_each_cloud(self) -> None:
        support = RangeSupport()
        support.learn(self.source("http://a/1", "ceph"), False)
        support.learn(self.source("http://a/2", "file"), True)
        self.assertIs(False, support.works(self.source("http://a/3", "ceph")))
        self.assertIs(True, support.works(self.source("http://a/4", "file")))
        self.assertIsNone(support.works(self.source("http://b/3", "ceph")))

    def test_for_each_image_where_the_store_is_not_known(self) -> None:
        support = RangeSupport()
        support.learn(self.source("http://a/1"), True)
        self.assertIs(True, support.works(self.source("http://a/1")))
        self.assertIsNone(support.works(self.source("http://a/2")))

    def test_a_refusal_is_final(self) -> None:
        support = RangeSupport()
        for works in (True, False, True):
            support.learn(self.source("http://a/1"), works)
        self.assertIs(False, support.works(self.source("http://a/1")))


class GrowthTest(testtools.TestCase):
    """A link on which each stream gets its rate, up to what all can have."""

    def run_link(self, *, each: float, all_together: float, hash_rate: float, seconds: float) -> list[int]:
        growth = Growth()
        streams, history, received, starved, now = 1, [], 0.0, 0.0, 100.0
        while now < 100.0 + seconds:
            rate = min(each * streams, all_together, hash_rate)
            received += rate * 0.2
            starved += 0.2 * (1 - rate / hash_rate)
            now += 0.2
            streams = min(4, streams + growth.decide(now, int(received), starved, streams))
            history.append(streams)
        return history

    def test_a_slow_link_gets_all_streams(self) -> None:
        history = self.run_link(each=10e6, all_together=1e9, hash_rate=400e6, seconds=5)
        self.assertEqual(4, history[-1])
        self.assertEqual(sorted(history), history)

    def test_one_is_enough_where_the_hash_limits(self) -> None:
        history = self.run_link(each=600e6, all_together=1e9, hash_rate=400e6, seconds=20)
        self.assertEqual({1}, set(history))

    def test_no_more_than_the_hash_can_take(self) -> None:
        history = self.run_link(each=150e6, all_together=1e9, hash_rate=400e6, seconds=20)
        self.assertEqual(2, history[-1])

    def test_taken_back_where_it_does_not_help(self) -> None:
        history = self.run_link(each=50e6, all_together=50e6, hash_rate=400e6, seconds=120)
        self.assertEqual({1, 2}, set(history))
        self.assertLess(history.count(2), len(history) / 10)
        self.assertEqual(1, min(history[-20:]))

    def test_nothing_is_added_before_anything_came(self) -> None:
        growth = Growth()
        self.assertEqual({0}, {growth.decide(n / 10, 0, n / 10, 1) for n in range(300)})

    def test_a_stream_that_went_elsewhere_is_not_judged(self) -> None:
        growth = Growth()
        growth.decide(1.0, 1, 1.0, 1)
        self.assertEqual(1, growth.decide(2.0, 10 * MIB, 2.0, 1))
        self.assertEqual(1, growth.decide(3.0, 11 * MIB, 3.0, 1))  # and not -1


class SlotsTest(testtools.TestCase):
    def test_extra_ones_only_while_nobody_waits(self) -> None:
        slots = limits.Slots(2)
        never = threading.Event()
        self.assertTrue(slots.first(never))
        self.assertTrue(slots.extra())
        self.assertFalse(slots.extra())
        got: list[bool] = []
        waiting = threading.Thread(target=lambda: got.append(slots.first(never)))
        waiting.start()
        while not slots.wanted():
            pass
        self.assertFalse(slots.extra())
        slots.release()
        waiting.join(2)
        self.assertEqual([True], got)
        self.assertFalse(slots.wanted())

    def test_cancelled(self) -> None:
        slots = limits.Slots(1)
        cancelled = threading.Event()
        slots.first(cancelled)
        cancelled.set()
        self.assertFalse(slots.first(cancelled))


class BuffersTest(testtools.TestCase):
    def test_never_more_than_the_budget(self) -> None:
        self.useFixture(fixtures.MonkeyPatch(f"{limits.__name__}._POLL", 0.001))
        for jobs in (1, 2, 4, 5, 8, 16, 32, 100):
            buffers = limits.Buffers(jobs)
            self.assertEqual(0, buffers.size % MIB)
            owners = [object(), object(), object()]
            for owner in owners:
                buffers.join(owner)
            held = [self.take_all(buffers, owner) for owner in owners]
            self.assertLessEqual(sum(held) * buffers.size, 32 * MIB, jobs)
            self.assertGreaterEqual(min(held), 2, jobs)

    def take_all(self, buffers: limits.Buffers, owner: object) -> int:
        """How many buffers an owner gets before it would have to wait."""
        over = threading.Event()
        timer = threading.Timer(0.02, over.set)
        timer.start()
        self.addCleanup(timer.join)
        held = 0
        while buffers.acquire(owner, over) is not None:
            held += 1
        return held

    def test_a_waiting_one_is_served(self) -> None:
        buffers = limits.Buffers(4)
        a, b = object(), object()
        never = threading.Event()
        buffers.join(a)
        held = [buffers.acquire(a, never) for _ in range(8)]
        buffers.join(b)
        got: list[object] = []
        waiting = threading.Thread(target=lambda: got.append(buffers.acquire(b, never)))
        waiting.start()
        assert held[0] is not None
        buffers.release(a, held[0])
        waiting.join(2)
        self.assertEqual(1, len(got))

    def test_what_a_stuck_thread_holds_is_replaced(self) -> None:
        buffers = limits.Buffers(4)
        stuck, other = object(), object()
        never = threading.Event()
        buffers.join(stuck)
        lost = buffers.acquire(stuck, never)
        assert lost is not None
        buffers.leave(stuck)
        buffers.release(stuck, lost)  # too late: it does not come back
        buffers.join(other)
        held = [buffers.acquire(other, never) for _ in range(8)]
        self.assertTrue(all(buffer is not lost for buffer in held))


class ExplanationTest(testtools.TestCase):
    def test_words_without_markup_or_control_characters(self) -> None:
        response = requests.Response()
        page = b"<html><title>403</title><h1>403</h1><p>You\x1b[31m may\n not\xff " + b"x" * 5000
        response.raw = _Raw(page)
        text = http._explanation(response)
        self.assertTrue(text.startswith(": You [31m may not"), text)
        self.assertLessEqual(len(text), 302)
        self.assertTrue(text.isprintable())


class _Raw:
    def __init__(self, page: bytes) -> None:
        self.page = page

    def read(self, size: int, decode_content: bool) -> bytes:
        return self.page[:size]

    def close(self) -> None:
        """Nothing to do."""

    def release_conn(self) -> None:
        """Nothing to do."""
