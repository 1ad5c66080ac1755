# SPDX-License-Identifier: Apache-2.0
"""The results of a run for Prometheus, as a file for node_exporter's textfile collector.

Contract: a reader sees the old file or the new one, never half of one; the file can be read by everybody, for
node_exporter runs as another user. Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.backup_run.result import FAILED, RESULTS, ServerResult

PREFIX = "osc_imagetools_backup"
SUFFIX = ".prom"
MODE = 0o644


def check_metrics_path(path: Path) -> None:
    """:raises errors.UsageError: node_exporter would not read the file, or it cannot be written."""
    if path.suffix != SUFFIX:
        raise errors.UsageError(f"--metrics {path}: node_exporter reads files that end with {SUFFIX}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise errors.UsageError(f"--metrics {path}: cannot write into the directory {path.parent}")


def write_metrics(path: Path, text: str) -> None:
    """Replaces the file.

    :raises errors.ImagetoolsError: the file system refuses it.
    """
    try:
        # The name does not end with .prom: nobody reads it before it is whole.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(text)
                os.fchmod(file.fileno(), MODE)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as exc:
        raise errors.ImagetoolsError(f"Cannot write {path}: {exc.strerror or exc}") from exc


def format_metrics(results: Sequence[ServerResult], *, ended: float, seconds: float) -> str:
    """The text of the file; times in seconds since 1970."""
    counts = Counter(result.result for result in results)
    families = (
        ("run_completed_timestamp_seconds", "When the last run ended.", [("", ended)]),
        ("run_duration_seconds", "How long the last run took.", [("", round(seconds, 3))]),
        (
            "run_servers",
            "Servers of the last run by their result.",
            [(_labels(result=name), counts[name]) for name in RESULTS],
        ),
        (
            "failed",
            "Whether the backup of a server failed in the last run.",
            [(_of(result), int(result.result == FAILED)) for result in results],
        ),
        (
            "newest_timestamp_seconds",
            "When the newest complete bundle of a server was made.",
            [(_of(result), result.newest) for result in results if result.newest is not None],
        ),
        (
            "proof_timestamp_seconds",
            "When a bundle of a server was last seen to boot.",
            [(_of(result), result.proof) for result in results if result.proof is not None],
        ),
    )
    return "".join(line for family in families for line in _family(*family))


def _family(name: str, text: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {text}\n# TYPE {PREFIX}_{name} gauge\n"
    for labels, value in samples:
        yield f"{PREFIX}_{name}{labels} {value}\n"


def _of(result: ServerResult) -> str:
    server = result.server
    return _labels(id=server.id, name=server.name, project=server.project_id)


def _labels(**labels: str) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    text = value.encode(errors="replace").decode()
    return re.sub(r'[\\"\n]', lambda m: "\\n" if m[0] == "\n" else f"\\{m[0]}", text)
