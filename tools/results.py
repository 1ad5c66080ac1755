#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the results of a test run, from the runner's own record.

``stestr last --subunit | tools/results.py`` prints three numbers: passed, failed, skipped; and on
stderr each test that was skipped, with its reason. A test that began and never ended has failed.
"""

from __future__ import annotations

import sys
from typing import Any

import subunit
import testtools

OUTCOMES = {
    "success": "passed",
    "xfail": "passed",
    "fail": "failed",
    "uxsuccess": "failed",
    "inprogress": "failed",
    "skip": "skipped",
}


def main() -> int:
    counts = {"passed": 0, "failed": 0, "skipped": 0}

    def count(test: Any) -> None:
        outcome = OUTCOMES.get(test["status"])
        if outcome is None:  # output that belongs to no test
            return
        counts[outcome] += 1
        if outcome == "skipped":
            reason = test["details"].get("reason")
            print(f"skipped: {test['id']}: {reason.as_text() if reason else ''}", file=sys.stderr)

    result = testtools.StreamToDict(count)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
    result.stopTestRun()
    print(counts["passed"], counts["failed"], counts["skipped"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
