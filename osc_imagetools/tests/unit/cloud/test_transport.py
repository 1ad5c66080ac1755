# SPDX-License-Identifier: Apache-2.0
import io
import logging
import threading
import time

import fixtures
import requests
import testtools
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from osc_imagetools import errors
from osc_imagetools.cloud.answers import NoAnswer, StatusError, text_of_page
from osc_imagetools.cloud.retries import Retries, RetryPhase
from osc_imagetools.cloud.transport import PersistentAdapter, persistent, repeatable
from osc_imagetools.tests.unit.cloud.flaky_server import FlakyServer, Said, closed_port

NOBODY = "No server is available to handle this request."
HAPROXY = f"<html><body><h1>503 Service Unavailable</h1>\n{NOBODY}\n</body></html>"
HICCUPS = (
    *(Said(status) for status in (408, 429, 500, 502, 503, 504)),
    Said(429, headers={"Retry-After": "0"}),
    Said(how="reset"),
    Said(how="cut"),
    Said(body="<html>Welcome</html>", headers={"Content-Type": "text/html"}),
)


class TransportCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.server = self.useFixture(FlakyServer())
        self.session, self.retries = self.server.session()

    def ask(self, method="GET", path="/v2/images", *, url=None, **kwargs):
        headers = {"Accept": "application/json"}
        address = (url or self.server.url) + path
        return self.session.request(address, method, headers=headers, raise_exc=False, **kwargs)


class TestAgain(TransportCase):
    def test_a_reading_survives_every_hiccup(self):
        for hiccup in HICCUPS:
            self.server.asked.clear()
            self.server.answers = [hiccup]
            self.assertEqual({"ok": True}, self.ask().json(), str(hiccup))
            self.assertEqual(2, len(self.server.asked), str(hiccup))
        self.assertEqual(len(HICCUPS), self.retries.count)

    def test_a_removal_too(self):
        self.server.answers = [Said(502), Said(500), Said(how="reset"), Said(404)]
        self.assertEqual(404, self.ask("DELETE", json={"a": 1}).status_code)

    def test_what_is_no_hiccup_is_the_answer(self):
        for status in (400, 401, 403, 404, 409, 413, 501):
            self.server.answers = [Said(status)]
            self.assertEqual(status, self.ask(allow_reauth=False).status_code)
        self.assertEqual(0, self.retries.count)

    def test_what_creates_is_sent_again_only_if_nobody_has_seen_it(self):
        for hiccup, times in ((Said(429), 2), (Said(503, HAPROXY), 2), (Said(503), 1), (Said(500), 1)):
            self.server.asked.clear()
            self.server.answers = [hiccup]
            self.ask("POST", json={})
            self.assertEqual(times, len(self.server.asked), str(hiccup))
        for method in ("POST", "PATCH"):
            self.server.answers = [Said(how="reset")]
            error = self.assertRaises(NoAnswer, self.ask, method, json={})
            self.assertTrue(error.may_exist)
            self.assertRegex(str(error), r"the connection to http://127.0.0.1:\d+ broke: ")

    def test_a_login_and_what_is_declared_repeatable_are_sent_again(self):
        self.server.answers = [Said(how="reset"), Said(504)]
        self.assertEqual(200, self.ask("POST", "/v3/auth/tokens", json={}).status_code)
        self.server.answers = [Said(how="reset"), Said(502)]
        with repeatable(True):
            self.assertEqual(200, self.ask("PATCH", json=[]).status_code)

    def test_a_stream_and_a_body_that_can_be_read_once_are_sent_once(self):
        self.server.answers = [Said(503)]
        self.assertEqual(503, self.ask(stream=True).status_code)
        self.server.answers = [Said(503)]
        self.assertEqual(503, self.ask("PUT", data=io.BytesIO(b"disk")).status_code)
        self.assertEqual(2, len(self.server.asked))

    def test_one_adapter_however_often(self):
        self.assertIs(self.retries, persistent(self.session))
        adapter = self.session.session.get_adapter("https://x")
        assert isinstance(adapter, PersistentAdapter)
        self.assertNotIsInstance(adapter._sender, PersistentAdapter)


class TestGivenUp(TransportCase):
    def test_refused_in_one_clause(self):
        self.retries.enter(RetryPhase.BEFORE_EFFECTS, threading.Event())
        url = f"http://127.0.0.1:{closed_port()}"
        for method in ("GET", "POST"):
            error = self.assertRaises(NoAnswer, self.ask, method, url=url, json={})
            self.assertEqual(f"cannot connect to {url}: Connection refused", error.message)
            self.assertEqual("service-unreachable", error.reference)
            self.assertFalse(error.may_exist)
        self.assertGreater(self.retries.count, 2)

    def test_all_who_ask_what_is_out_give_up_together(self):
        self.retries.enter(RetryPhase.BEFORE_EFFECTS, threading.Event())
        url = f"http://127.0.0.1:{closed_port()}"
        self.assertRaises(NoAnswer, self.ask, url=url)
        count = self.retries.count
        self.assertRaises(NoAnswer, self.ask, url=url)
        self.assertEqual(count, self.retries.count)

    def test_a_reading_of_what_is_out_is_an_error_below_the_libraries(self):
        self.retries.enter(RetryPhase.BEFORE_EFFECTS, threading.Event())
        self.server.answers = [Said(503, "<p>We&#39;ll be back</p>")] * 99
        error = self.assertRaises(StatusError, self.ask)
        self.assertIn("answered 503: We'll be back", error.message)

    def test_a_service_that_asks_for_more_time_than_there_is(self):
        self.retries.enter(RetryPhase.BEFORE_EFFECTS, threading.Event())
        self.server.answers = [Said(503, headers={"Retry-After": "60"})]
        self.assertRaises(StatusError, self.ask)
        self.assertEqual(1, len(self.server.asked))

    def test_no_answer_within_the_time_limit(self):
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.cloud.transport.EFFECT_TIMEOUT", 0.1))
        self.server.answers = [Said(how="hang")]
        error = self.assertRaises(NoAnswer, self.ask, "POST", json={})
        self.assertEqual(f"no answer from {self.server.url} within 0.1 s", error.message)
        self.assertTrue(error.may_exist)

    def test_every_request_has_time_limits(self):
        seen = []

        class Sender(BaseAdapter):
            def send(self, request, *args, **how):
                seen.append(how["timeout"])
                raise RuntimeError

        adapter = PersistentAdapter(Sender(), Retries())
        for method, stream in (("GET", False), ("POST", False), ("GET", True)):
            request = requests.Request(method, "http://x/").prepare()
            self.assertRaises(RuntimeError, adapter.send, request, stream=stream)
        for connect, read in seen:
            self.assertTrue(0 < connect <= 30 and 0 < read <= 600)
        self.assertRaises(RuntimeError, adapter.send, request, timeout=(1, 2))
        self.assertEqual((1, 2), seen[-1])


class TestWaiting(TransportCase):
    def test_an_interrupt_ends_it_at_once(self):
        cancelled = threading.Event()
        self.retries.enter(RetryPhase.WORKING, cancelled)
        self.retries.first_wait = 15.0
        self.server.answers = [Said(503)] * 9
        threading.Timer(0.1, cancelled.set).start()
        began = time.monotonic()
        self.assertRaises(errors.Cancelled, self.ask)
        self.assertLess(time.monotonic() - began, 5)

    def test_an_interrupt_before_the_answer_comes(self):
        cancelled = threading.Event()
        self.retries.enter(RetryPhase.WORKING, cancelled)
        cancelled.set()
        for answer in (Said(503), Said(how="reset")):
            self.server.asked.clear()
            self.server.answers = [answer] * 9
            self.assertRaises(errors.Cancelled, self.ask)
            self.assertEqual(1, len(self.server.asked))

    def test_an_outage_is_told_once_and_its_end_too(self):
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.cloud.retries.TELL_AFTER", 0.0))
        self.server.answers = [Said(502)] * 4
        self.ask()
        self.assertEqual(1, self.log.output.count("asking again for up to"))
        self.assertEqual(1, self.log.output.count("answers again, after"))

    def test_a_clean_up_is_more_patient_than_the_work_and_that_than_what_comes_before(self):
        event, retries = threading.Event(), Retries()
        before = retries.patience
        with retries.during(RetryPhase.WORKING, event):
            working = retries.patience
            with retries.during(RetryPhase.CLEANING_UP, event):
                self.assertLess(working, retries.patience)
            self.assertEqual(working, retries.patience)
        self.assertEqual((15.0, 600.0), (before, working))
        self.assertEqual(before, retries.patience)


class TestRedirects(TransportCase):
    def test_to_the_same_origin(self):
        self.server.answers = [Said(301, headers={"Location": "/v2/images/"}), Said(503)]
        self.assertEqual(200, self.ask().status_code)
        paths = [path for _, path in self.server.asked]
        self.assertEqual(
            [
                "/v2/images",
                "/v2/images/",
                "/v2/images",
            ],
            paths[:3],
        )

    def test_to_nobody_else(self):
        other = self.useFixture(FlakyServer())
        for target in (other.url, other.url.replace("http:", "https:"), "//example.test/"):
            for method, kwargs in (("GET", {}), ("POST", {"json": {}}), ("GET", {"stream": True})):
                self.server.answers = [Said(302, headers={"Location": target})]
                error = self.assertRaises(errors.CloudError, self.ask, method, **kwargs)
                self.assertIn("which is not followed", error.message)
        self.assertEqual([], other.asked)

    def test_no_body_that_is_on_its_way(self):
        self.server.answers = [Said(307, headers={"Location": "/elsewhere"})]
        error = self.assertRaises(errors.CloudError, self.ask, "PUT", data=io.BytesIO(b"disk"))
        self.assertIn("redirects data", error.message)
        self.assertEqual(1, len(self.server.asked))

    def test_in_a_circle(self):
        self.server.answers = [Said(302, headers={"Location": "/v2/images"})] * 50
        self.assertRaises(errors.CloudError, self.ask)


class TestPages(testtools.TestCase):
    def test_words_of_pages(self):
        self.assertEqual("No server is available to handle this request.", text_of_page(HAPROXY))
        self.assertEqual("Not found", text_of_page("<html><h1>Not found</h1></html>"))
        page = "<title>x</title><p>You&#39;re &lt;b&gt; &amp; I</p><br/>a &lt; b"
        self.assertEqual("You're <b> & I a < b", text_of_page(page))
        self.assertEqual("a < b and c > d", text_of_page("a < b and c > d"))

    @given(st.text())
    def test_one_printable_line(self, page):
        text = text_of_page(page)
        self.assertLessEqual(len(text), 300)
        self.assertTrue(text.isprintable())
