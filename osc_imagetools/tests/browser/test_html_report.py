# SPDX-License-Identifier: Apache-2.0
"""The HTML report as a browser shows it: Debian's chromium without a screen.

Fails where the browser is not installed. ``CHROMIUM`` and ``CHROMEDRIVER`` say where it is.
"""

from __future__ import annotations

import os
import pathlib
from dataclasses import replace
from typing import Any

import fixtures
import testtools
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from osc_imagetools.backup_check.html_report import HtmlReport
from osc_imagetools.tests.unit.backup_check import html_samples as samples

OPTIONS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
ALL = (samples.LOST, samples.AT_RISK, samples.SAFE, samples.NOT_JUDGED, samples.STRAY)
CPU_SECONDS = 20.0  # of the browser's thread for 10,000 servers: 1.5 on a machine of 2024


class TestBrowser(testtools.TestCase):
    browser: webdriver.Chrome

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        options = webdriver.ChromeOptions()
        for option in OPTIONS:
            options.add_argument(f"--{option}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        driver = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")
        cls.browser = webdriver.Chrome(options=options, service=Service(driver))

    @classmethod
    def tearDownClass(cls):
        cls.browser.quit()
        super().tearDownClass()

    def show(self, *verdicts: Any, width: int = 1280, scheme: str = "light") -> None:
        """Opens the report in a window of this width."""
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / "report.html"
        report = HtmlReport(now=samples.NOW, place="Cloud production, RegionOne")
        list(report.watch(verdicts))
        report.write(path)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.get(path.as_uri())
        self.assertEqual([], self.browser.get_log("browser"))  # a refusal by the policy would be here

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def script(self, text: str) -> Any:
        return self.browser.execute_script(f"return {text}")

    def names(self) -> list[str]:
        """The servers that are shown, from top to bottom."""
        return [e.text for e in self.all("tbody tr:not([hidden]) th bdi")]

    def sort(self, column: int) -> list[str]:
        self.all("thead button")[column].click()
        return self.names()

    def test_sorting(self):
        self.show(*ALL)
        self.assertEqual(["web10", "web2", "web9", "web1"], self.names())
        self.assertEqual(["web1", "web2", "web9", "web10"], self.sort(0))
        self.assertEqual(["web10", "web9", "web2", "web1"], self.sort(0))
        self.assertEqual("descending", self.all("thead th")[0].get_attribute("aria-sort"))
        self.assertEqual("web1", self.sort(4)[0])  # 11 disks, and not 2
        self.assertEqual("web10", self.sort(3)[-1])  # no backup is older than any
        self.assertEqual("web10", self.sort(3)[0])

    def test_filters(self):
        self.show(*ALL)
        lost, _, at_risk, _ = self.all(".tile")
        lost.click()
        self.assertEqual(["web10"], self.names())
        at_risk.click()
        self.assertEqual(["web10", "web9"], self.names())
        self.assertEqual("2 of 4", self.all("output")[0].text)
        for tile in (lost, at_risk):
            tile.click()
        self.assertEqual(4, len(self.names()))
        self.all("input")[0].send_keys("LOCKED dead")
        wait = WebDriverWait(self.browser, 30)
        wait.until(lambda _: self.names() == ["web10"])

    def test_a_finding_leads_to_its_explanation(self):
        self.show(*ALL, width=500)
        self.all("details summary")[0].click()
        self.all("details a")[0].click()
        wait = WebDriverWait(self.browser, 30)
        place = "document.querySelector('article:target').getBoundingClientRect().top"
        wait.until(lambda _: -1 < self.script(place) < 900)
        self.assertEqual("backup-dead", self.script("document.querySelector('article:target').id"))

    def test_light_and_dark(self):
        colours = []
        for scheme in ("light", "dark"):
            self.show(*ALL, scheme=scheme)
            style = "getComputedStyle(document.body)"
            colours.append((self.script(f"{style}.backgroundColor"), self.script(f"{style}.color")))
        (light, ink), (dark, chalk) = [tuple(map(brightness, pair)) for pair in colours]
        self.assertGreater(light - ink, 0.7)
        self.assertGreater(chalk - dark, 0.7)

    def test_nothing_is_cut_off_on_a_phone(self):
        long = replace(samples.LOST, server="n" * 200)
        for width in (320, 390, 768, 1280):
            self.show(long, *ALL, width=width)
            self.script("document.querySelectorAll('details').forEach(d => d.open = true)")
            page = "document.documentElement"
            self.assertEqual(0, self.script(f"{page}.scrollWidth - {page}.clientWidth"), str(width))
            sizes = self.script(
                "Array.from(document.querySelectorAll('td'), e => e.scrollWidth - e.clientWidth)"
            )
            self.assertEqual((width, 0), (width, max(sizes)))

    def test_names_are_text(self):
        hostile = replace(samples.LOST, server="<img src=x onerror=document.title='bad'>")
        self.show(hostile)
        self.assertEqual(["<img src=x onerror=document.title='bad'>"], self.names())
        self.assertEqual("Backup check: 1 of 1 servers lost", self.browser.title)

    def test_ten_thousand_servers(self):
        self.browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        before = self.seconds()
        self.show(*samples.fleet(10_000))
        self.assertEqual(10_000, self.script("document.querySelector('tbody').rows.length"))
        self.all("thead button")[0].click()
        first = "document.querySelector('tbody').rows[0].cells[0].firstChild.textContent"
        self.assertEqual("web00000", self.script(first))
        self.assertLess(self.seconds() - before, CPU_SECONDS)

    def seconds(self) -> float:
        """How long the page's thread has run: other work of the machine does not count."""
        metrics = self.browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return float({m["name"]: m["value"] for m in metrics}["TaskDuration"])


def brightness(colour: str) -> float:
    """From 0 to 1, of ``rgb(r, g, b)``."""
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 765
