# SPDX-License-Identifier: Apache-2.0
import re

from osc_imagetools.restore_check.patterns import BOOTED, FAILED, BootEvidence, judge_console, last_line
from osc_imagetools.tests.unit.base import TestCase

BOOT = {
    "login prompt": ["\nDebian GNU/Linux 12 web01 ttyS0\n\nweb01 login: ", "cirros login:"],
    "systemd target": [
        "[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User.\n",
        "[  OK  ] Reached target Graphical Interface.",
        "[  OK  ] Reached target Login Prompts.",
    ],
    "end of cloud-init": ["[   12.3] cloud-init[512]: Cloud-init v. 23.1.2 finished at Thu, 01 Jan 2026"],
    "Windows SAC": ["EVENT: The CMD command is now available.\r\nSAC>", "\r\nSAC>"],
}
FAILURE = {
    "kernel panic": [
        "[    1.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
    ],
    "no bootable device": [
        "Booting from Hard Disk...\nBoot failed: not a bootable disk\n\nNo bootable device.\n",
        "BdsDxe: No bootable option or device was found.",
    ],
    "no operating system": ["Missing operating system", "Operating System not found"],
    "Windows boot manager": ["BOOTMGR is missing\r\nPress Ctrl+Alt+Del to restart"],
    "GRUB rescue": ["error: no such partition.\r\nEntering rescue mode...\r\ngrub rescue> ", "grub> "],
    "UEFI shell": ["UEFI Interactive Shell v2.2", "\x1b[2J\x1b[01;01HShell> "],
    "initial RAM disk": ["BusyBox v1.35\n\n(initramfs) ", "dracut:/# "],
    "emergency mode": ["You are in emergency mode. After logging in, type journalctl -xb"],
    "root file system": ["mountroot> "],
}


def judged(console: str, expect: re.Pattern[str] | None = None) -> BootEvidence:
    found = judge_console(console, expect)
    assert found is not None, console
    return found


class TestConsoles(TestCase):
    def test_each_proof(self):
        self.assertEqual(set(BOOT), {pattern.meaning for pattern in BOOTED})
        for meaning, consoles in BOOT.items():
            for console in consoles:
                found = judged(console)
                self.assertTrue(found.booted, console)
                self.assertIn(meaning, found.text)
                self.assertNotIn("\x1b", found.text)

    def test_each_failure(self):
        self.assertEqual(set(FAILURE), {pattern.meaning for pattern in FAILED})
        for meaning, consoles in FAILURE.items():
            for console in consoles:
                found = judged(console)
                self.assertFalse(found.booted, console)
                self.assertIn(meaning, found.text)

    def test_what_decides_nothing(self):
        for console in (
            "",
            "GRUB loading.\nWelcome to GRUB!\n",
            "SeaBIOS (version 1.16)\nBooting from Hard Disk...\n",
            "[  OK  ] Reached target Basic System.\n[  OK  ] Reached target Local File Systems.",
            "Cloud-init v. 23.1 running 'modules:final'",
            "web01 login: root\nLast login: Thu Jan  1\n",
            "error: the login: prompt of a log that goes on",
        ):
            self.assertIsNone(judge_console(console, None), console)

    def test_a_failure_wins_over_a_proof_before_and_after_it(self):
        for console in ("web01 login: \nKernel panic - not syncing", "Kernel panic - not syncing\nx login: "):
            self.assertFalse(judged(console).booted)
            self.assertFalse(judged(console, re.compile("login")).booted)

    def test_what_is_expected_takes_the_place_of_the_usual_texts(self):
        expect = re.compile(r"ready in \d+ s")
        self.assertIsNone(judge_console("web01 login: ", expect))
        self.assertEqual("expected text: ready in 5 s", judged("a\nready in 5 s\n", expect).text)

    def test_what_is_shown_is_a_short_line(self):
        found = judged("Kernel panic - not syncing" + "x" * 10000)
        self.assertLess(len(found.text), 250)
        self.assertEqual("the end", last_line("a\r\n the \x1b[1mend\x1b[0m \r\n\n"))
        self.assertEqual("", last_line("\n \n"))
