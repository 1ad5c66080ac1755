# SPDX-License-Identifier: Apache-2.0
"""What restic says when it fails, as our errors.

Contract: pure. restic below 0.17 gives 1 for nearly everything, so its words decide, and its newer exit codes
where it has them. What is not recognised is shown as restic said it, without secrets and not at any length.
Source: https://restic.readthedocs.io/en/stable/075_scripting.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from osc_imagetools import errors
from osc_imagetools.bundle.repository.address import RepositoryAddress
from osc_imagetools.cloud.names import printable

LONGEST = 600  # characters of restic's words in a message
RETRY = "returned error, retrying"
NO_REPOSITORY, NO_LOCK, WRONG_PASSWORD = 10, 11, 12  # exit codes
FULL = re.compile(
    r"no space left|disk quota exceeded|quota.?exceeded|insufficient storage|storage ?full|507|"
    r"Request Entity Too Large",
    re.IGNORECASE,
)
LOCKED = re.compile(r"already locked|unable to create lock", re.IGNORECASE)
PASSWORD = re.compile(r"wrong password or no key found|password is incorrect", re.IGNORECASE)
ABSENT = re.compile(
    r"Is there a repository at|repository does not exist|unable to open config file", re.IGNORECASE
)
HOLDER = re.compile(r"locked (?:exclusively )?by (PID \d+ on \S+)")


def restic_failure(
    address: RepositoryAddress, code: int, said: str, *, doing: str, left: str | None = None
) -> errors.RepositoryError:
    """The error for a restic that ended with *code* and said *said* on stderr.

    :param doing: what it was started for, as "to store disks/0-vda.qcow2".
    :param left: what is left behind.
    """
    words = _words(address.redact(said))
    remains = (left,) if left else ()
    if code == WRONG_PASSWORD or PASSWORD.search(words):
        return errors.RepositoryPassword(
            f"The password does not open the repository {address.label}",
            left=remains,
            hint="Check --password-file, or RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND and "
            "RESTIC_PASSWORD.",
        )
    if code == NO_LOCK or LOCKED.search(words):
        return _locked(address, words, doing, remains)
    if FULL.search(words):
        return errors.RepositoryFull(
            f"The storage of the repository {address.label} is full: restic could not be used {doing}",
            left=remains,
            hint="Free some space, for example with: openstack bundle forget --repository "
            f"{address.label} --keep-last 3 --prune",
        )
    if code == NO_REPOSITORY or ABSENT.search(words):
        return errors.RepositoryAbsent(
            f"There is no restic repository at {address.label}, or it cannot be reached: "
            + words.partition("; Is there a repository")[0],
            left=remains,
            hint=f"Make one with: restic -r {address.label} init",
        )
    return errors.RepositoryError(
        f"restic failed {doing} (exit code {code}), repository {address.label}: {words or 'no reason given'}",
        left=remains,
        hint="Run the same command again when the storage works. Check the repository with: "
        f"restic -r {address.label} check",
    )


def _locked(
    address: RepositoryAddress, words: str, doing: str, left: tuple[str, ...]
) -> errors.RepositoryLocked:
    holder = HOLDER.search(words)
    who = holder[1] if holder else "another restic process"
    return errors.RepositoryLocked(
        f"The repository {address.label} is locked by {who}: restic could not be used {doing}",
        left=left,
        hint="Run the same command again when that process has ended. If it is dead, remove its lock with: "
        f"restic -r {address.label} unlock",
    )


def _words(said: str) -> str:
    """The lines of an error without those about retries that led to it, on one line."""
    lines = [_message(line) for line in said.splitlines()]
    kept = [line for line in lines if line and RETRY not in line] or [line for line in lines if line]
    text = "; ".join(printable(line.removeprefix("Fatal: ")) for line in kept)
    return text if len(text) <= LONGEST else f"...{text[-LONGEST:]}"


def _message(line: str) -> str:
    """The text of a line, which newer releases write as JSON."""
    line = line.strip()
    if line.startswith("{"):
        try:
            document = json.loads(line)
        except ValueError:
            return line
        if not isinstance(document, dict):
            return line
        error = document.get("error")
        message = error.get("message") if isinstance(error, dict) else document.get("message")
        return str(message) if message else line
    return line


class Stderr:
    """What restic says on stderr: the end of it, and its retries told to a log as they come."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lines: list[str] = []

    def line(self, text: str) -> None:
        """One more line."""
        text = text.rstrip()[:4096]
        if RETRY in text:
            self._tell(text)
        self._lines = [*self._lines[-49:], text]

    @property
    def text(self) -> str:
        """The last fifty lines."""
        return "\n".join(self._lines)
