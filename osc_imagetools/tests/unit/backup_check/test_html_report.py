# SPDX-License-Identifier: Apache-2.0
"""The page as a text: what is in it, and what cannot get into it."""

from __future__ import annotations

import html.parser
import os
import pathlib
import re
from dataclasses import replace

import fixtures
import testtools

from osc_imagetools import errors
from osc_imagetools.backup_check.html_report import HtmlReport, Outlook, check_path, outlook
from osc_imagetools.tests.unit.backup_check import html_samples as samples

HOSTILE = "<script>alert(1)</script>\"'&</td><img src=x onerror=alert(1)>"
VOID = {"meta", "input"}


class Parsed(html.parser.HTMLParser):
    """The elements of a page; ``open`` is empty when each is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)


def page(*verdicts):
    report = HtmlReport(now=samples.NOW, place="Cloud production, RegionOne")
    assert list(report.watch(verdicts)) == list(verdicts)
    return report.page()


class TestPage(testtools.TestCase):
    all = (samples.LOST, samples.AT_RISK, samples.SAFE, samples.NOT_JUDGED, samples.STRAY)

    def test_every_element_is_closed(self):
        parsed = Parsed(page(*self.all))
        self.assertEqual([], parsed.open)

    def test_nothing_comes_from_elsewhere(self):
        text = page(*self.all)
        self.assertEqual([], re.findall(r"https?:|//[a-z]|@import|url\(", text))
        parsed = Parsed(text)
        attributes = {name for _, attrs in parsed.elements for name in attrs}
        self.assertEqual(set(), attributes & {"src", "style", "onclick", "onload", "action"})
        links = {attrs["href"] for tag, attrs in parsed.elements if tag == "a"}
        identifiers = {f"#{attrs['id']}" for _, attrs in parsed.elements if "id" in attrs}
        self.assertEqual(set(), links - identifiers)
        (policy,) = [str(a["content"]) for _, a in parsed.elements if a.get("http-equiv")]
        self.assertTrue(policy.startswith("default-src 'none'; style-src 'sha256-"), policy)

    def test_the_fleet_at_a_glance(self):
        tiles = re.findall(r"<strong>([\d,]+)</strong> <b>([\w ]+)</b>", page(*self.all))
        self.assertEqual([("1", "Lost"), ("1", "Not judged"), ("1", "At risk"), ("1", "Safe")], tiles)
        tiles = re.findall(r"<strong>([\d,]+)</strong> <b>([\w ]+)</b>", page(*samples.fleet(1005)))
        self.assertEqual([("201", "Lost"), ("804", "At risk"), ("0", "Safe")], tiles)

    def test_the_worst_come_first(self):
        names = re.findall(r"<th scope=row><bdi>(\w+)", page(samples.SAFE, samples.AT_RISK, samples.LOST))
        self.assertEqual(["web10", "web9", "web1"], names)

    def test_each_reason_is_explained_once(self):
        text = page(samples.LOST, samples.NOT_JUDGED)
        self.assertEqual(["backup-dead", "not-judged", "locked"], re.findall(r'<article id="([\w-]+)"', text))
        self.assertIn("<code>openstack image list</code>", text)
        self.assertNotIn("``", text)

    def test_commands_stand_alone(self):
        text = page(samples.LOST)
        for command in (f"openstack server export-full {samples.SERVER}", "openstack image delete x"):
            self.assertIn(f"<code>{command}</code>", text)

    def test_what_the_cloud_says_is_text(self):
        finding = samples.found("backup-dead", HOSTILE, f"openstack {HOSTILE}")
        hostile = replace(
            samples.LOST,
            server=HOSTILE,
            id=HOSTILE,
            project_id=HOSTILE,
            boot_source=HOSTILE,
            findings=(finding,),
        )
        stray = replace(hostile, server=None)
        report = HtmlReport(now=samples.NOW, place=HOSTILE)
        list(report.watch([hostile, stray]))
        parsed = Parsed(report.page())
        self.assertEqual([], parsed.open)
        tags = [tag for tag, _ in parsed.elements]
        self.assertEqual((1, 0), (tags.count("script"), tags.count("img")))
        self.assertEqual(10, sum(HOSTILE in text for text in parsed.texts))

    def test_nobody(self):
        self.assertEqual([], Parsed(page()).open)


class TestOutlook(testtools.TestCase):
    def test_each(self):
        for verdict, expected in (
            (samples.SAFE, Outlook.safe),
            (samples.verdict("empty"), Outlook.safe),
            (samples.AT_RISK, Outlook.at_risk),
            (samples.NOT_JUDGED, Outlook.not_judged),
            (samples.LOST, Outlook.lost),
            (
                samples.verdict("both", samples.found("backup-dead"), samples.found("not-judged")),
                Outlook.lost,
            ),
        ):
            self.assertEqual(expected, outlook(verdict))


class TestFile(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.report = HtmlReport(now=samples.NOW, place="Cloud")
        self.report.add(samples.LOST)

    def test_a_private_file_and_nothing_else(self):
        path = self.dir / "report.html"
        path.write_text("old")
        self.report.write(path)
        self.assertEqual([path], list(self.dir.iterdir()))
        self.assertEqual(self.report.page(), path.read_text())
        self.assertEqual(0o600, path.stat().st_mode & 0o777)

    def test_the_old_one_stays_when_the_new_one_cannot_be_written(self):
        path = self.dir / "report.html"
        path.write_text("old")

        def full(descriptor, data):
            raise OSError(28, "No space left on device")

        self.useFixture(fixtures.MonkeyPatch("os.write", full))
        error = self.assertRaises(errors.ImagetoolsError, self.report.write, path)
        self.assertIn("No space left", str(error))
        self.assertEqual("old", path.read_text())

    def test_names_that_are_no_unicode(self):
        self.report.add(replace(samples.LOST, server="web\ud800"))
        self.report.write(self.dir / "report.html")
        self.assertIn("web\\ud800", (self.dir / "report.html").read_text())

    def test_paths_that_cannot_be_written_are_refused_before(self):
        check_path(self.dir / "report.html")
        self.assertRaises(errors.UsageError, check_path, self.dir)
        self.assertRaises(errors.UsageError, check_path, self.dir / "nothing" / "report.html")
        self.assertTrue(os.access(self.dir, os.W_OK))
