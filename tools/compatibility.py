#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Notes what a run of the functional tests has shown of a cloud, by command.

``stestr last --subunit | tools/compatibility.py RESULTS.json RELEASE STORAGE`` puts the results of the run in
the place of what the file had about this cloud. A test's record names the commands that it has used; one that
fails counts as a failure of each. The documentation makes its page of compatibility of
``doc/source/user/compatibility.json``, which ``tox -e clouds`` writes.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import subunit
import testtools
from results import OUTCOMES


def read(stream: Any) -> Iterable[tuple[str, frozenset[str]]]:
    """(passed, failed or skipped, the commands used) of each test in a subunit stream."""
    found: list[tuple[str, frozenset[str]]] = []

    def note(test: Any) -> None:
        outcome = OUTCOMES.get(test["status"])
        if outcome is not None:
            used = test["details"].get("commands")
            found.append((outcome, frozenset(used.as_text().split("\n") if used else ()) - {""}))

    result = testtools.StreamToDict(note)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(stream, non_subunit_name="stdout").run(result)
    result.stopTestRun()
    return found


def cloud_entry(release: str, storage: str, tests: Iterable[tuple[str, frozenset[str]]]) -> dict[str, Any]:
    """What the file has about one cloud."""
    totals = {"passed": 0, "failed": 0}
    commands: dict[str, dict[str, int]] = {}
    for outcome, used in tests:
        if outcome not in totals:
            continue
        totals[outcome] += 1
        for command in used:
            commands.setdefault(command, {"passed": 0, "failed": 0})[outcome] += 1
    return {
        "release": release,
        "storage": storage,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        **totals,
        "commands": dict(sorted(commands.items())),
    }


def update(path: Path, entry: dict[str, Any]) -> None:
    """Puts the entry of a cloud in the place of the one that the file has; newest release first."""
    clouds = json.loads(path.read_text()) if path.exists() else []
    key = (entry["release"], entry["storage"])
    clouds = [cloud for cloud in clouds if (cloud["release"], cloud["storage"]) != key] + [entry]
    clouds.sort(key=lambda cloud: cloud["storage"], reverse=True)
    clouds.sort(key=lambda cloud: cloud["release"], reverse=True)
    path.write_text(json.dumps(clouds, indent=1) + "\n")


def main() -> int:
    path, release, storage = sys.argv[1:]
    entry = cloud_entry(release, storage, read(sys.stdin.buffer))
    if not entry["passed"] + entry["failed"]:
        print("there is no test in this run", file=sys.stderr)
        return 1
    update(Path(path), entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
