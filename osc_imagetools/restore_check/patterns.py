# SPDX-License-Identifier: Apache-2.0
"""What a guest's console says of its boot: the texts that prove it, and those that prove its failure.

Contract: pure. A failure anywhere on the console wins over any proof, as a guest that has shown a login
prompt can still panic. Patterns are searched in each line, without the terminal's escape sequences.
Sources: systemd's console messages ("Reached target ..."), cloud-init's final message, agetty's prompt,
Microsoft's documentation of the Special Administration Console, and the texts of SeaBIOS, EDK II, GRUB,
the Windows boot manager and the Linux kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LONGEST = 200  # characters of a line that are shown


@dataclass(frozen=True)
class ConsolePattern:
    """A text that a console may show, and what it means."""

    meaning: str
    expression: re.Pattern[str]


def _table(*rows: tuple[str, str]) -> tuple[ConsolePattern, ...]:
    return tuple(ConsolePattern(meaning, re.compile(expression)) for meaning, expression in rows)


BOOTED = _table(
    ("login prompt", r"^.{0,80}\blogin: ?$"),
    ("systemd target", r"Reached target .*(Multi-User System|Graphical Interface|Login Prompts)"),
    ("systemd target", r"Reached target .*(multi-user|graphical|getty)\.target"),
    ("end of cloud-init", r"Cloud-init v\. \S+ finished at"),
    ("Windows SAC", r"The CMD command is now available|^SAC>"),
)
FAILED = _table(
    ("kernel panic", r"Kernel panic - not syncing"),
    ("no bootable device", r"No bootable (device|option or device)|Boot failed: not a bootable disk"),
    ("no operating system", r"(Missing operating system|Operating System not found)"),
    ("Windows boot manager", r"(BOOTMGR|NTLDR) is missing|Windows failed to start"),
    ("GRUB rescue", r"^(grub rescue|grub)>"),
    ("GRUB rescue", r"Entering rescue mode\.\.\."),
    ("UEFI shell", r"UEFI Interactive Shell|^Shell>"),
    ("initial RAM disk", r"^\(initramfs\)|^dracut:/#|Entering emergency mode"),
    ("emergency mode", r"You are in emergency mode|Give root password for maintenance"),
    ("root file system", r"^mountroot>"),
)
# CSI and OSC sequences, and two-character ones (ECMA-48).
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class BootEvidence:
    """What decided: whether the guest has booted, and the text that says so."""

    booted: bool
    text: str


def judge_console(console: str, expect: re.Pattern[str] | None) -> BootEvidence | None:
    """The evidence on a console; None where it says neither.

    :param expect: what proves the boot in place of :data:`BOOTED`.
    """
    lines = plain_lines(console)
    failure = _first(lines, FAILED)
    if failure is not None:
        return BootEvidence(False, failure)
    proofs = BOOTED if expect is None else (ConsolePattern("expected text", expect),)
    proof = _first(lines, proofs)
    return None if proof is None else BootEvidence(True, proof)


def plain_lines(console: str) -> list[str]:
    """The lines of a console without escape sequences and control characters."""
    text = _ESCAPES.sub("", console)
    return [_CONTROLS.sub("", line) for line in re.split(r"\r?\n|\r", text)]


def last_line(console: str) -> str:
    """The last line that is not empty, cut off where it is very long; empty where there is none."""
    lines = [line.strip() for line in plain_lines(console)]
    return next((line[:LONGEST] for line in reversed(lines) if line), "")


def _first(lines: Sequence[str], patterns: Iterable[ConsolePattern]) -> str | None:
    for pattern in patterns:
        for line in lines:
            if pattern.expression.search(line):
                return f"{pattern.meaning}: {line.strip()[:LONGEST]}"
    return None
