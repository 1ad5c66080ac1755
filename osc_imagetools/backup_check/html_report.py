# SPDX-License-Identifier: Apache-2.0
"""The verdicts on a fleet as one HTML page, for people who get it by mail or from a web server.

Contract: verdicts go in one after the other, and a page comes out that needs nothing else: no file, font or
script from elsewhere, which its own policy (Content-Security-Policy) forbids too. Everything that a cloud has
told is escaped. The script sorts and filters the table; without it the page shows all that it holds.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from html import escape
from pathlib import Path

from osc_imagetools.backup_check.explanation import html_paragraph, severity_text
from osc_imagetools.backup_check.html_parts import SCRIPT, STYLE
from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.plan_case import Finding
from osc_imagetools.backup_check.reasons import REASONS, Severity
from osc_imagetools.backup_check.report import COMMAND
from osc_imagetools.bundle.durable import write_atomic
from osc_imagetools.errors import ImagetoolsError, UsageError
from osc_imagetools.progress import words


class Outlook(IntEnum):
    """What would be left of a server after a failure now, the worst last."""

    safe = 0
    at_risk = 1
    not_judged = 2
    lost = 3

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()


MEANING = {
    Outlook.safe: "Nothing to do: every disk is in a good copy that is not too old.",
    Outlook.at_risk: "A backup is missing, is incomplete, or would not hold everything.",
    Outlook.not_judged: "Something that decides this could not be read.",
    Outlook.lost: "Its backup is dead or too old, or none can be made.",
}
BY_SEVERITY = {
    Severity.info: Outlook.safe,
    Severity.warning: Outlook.at_risk,
    Severity.critical: Outlook.lost,
}
# What a column is called, and whether its values are numbers.
COLUMNS = (
    ("Server", False),
    ("Outlook", True),
    ("Findings", True),
    ("Newest backup", True),
    ("Disks", True),
    ("Boots from", False),
)


def outlook(verdict: ServerVerdict) -> Outlook:
    """The worst of its findings; one that says that something is not known makes nothing lost."""
    judged = [f.severity for f in verdict.findings if f.reason.code != "not-judged"]
    known = BY_SEVERITY[max(judged, default=Severity.info)]
    return known if len(judged) == len(verdict.findings) else max(known, Outlook.not_judged)


@dataclass
class HtmlReport:
    """Collects the page; ``now`` in seconds since 1970, ``place`` says what was checked."""

    now: float
    place: str
    _rows: list[tuple[Outlook, str]] = field(default_factory=list)
    _strays: list[str] = field(default_factory=list)
    _counts: Counter[Outlook] = field(default_factory=Counter)
    _reasons: Counter[str] = field(default_factory=Counter)

    def watch(self, verdicts: Iterable[ServerVerdict]) -> Iterator[ServerVerdict]:
        """Gives the verdicts on as they are."""
        for verdict in verdicts:
            self.add(verdict)
            yield verdict

    def add(self, verdict: ServerVerdict) -> None:
        """Takes one verdict in."""
        self._reasons.update({finding.reason.code for finding in verdict.findings})
        if verdict.server is None:
            subject = f"Server {verdict.id}" if verdict.id else f"Project {verdict.project_id or '-'}"
            self._strays.append(f"<li><h3>{_text(subject)}</h3>{_findings(verdict.findings)}</li>")
            return
        fate = outlook(verdict)
        self._counts[fate] += 1
        self._rows.append((fate, self._row(verdict, fate)))

    def write(self, path: Path) -> None:
        """Writes the page; a file of this name is replaced when the new one is whole.

        :raises errors.ImagetoolsError: it cannot be written.
        """
        try:
            write_atomic(path, self.page().encode(errors="backslashreplace"))
        except OSError as exc:
            raise ImagetoolsError(
                f"The report cannot be written to {path}: {exc.strerror or exc}",
                hint="Run the check again with --html and a file in a directory that you may write to.",
            ) from exc

    def page(self) -> str:
        """The whole document."""
        self._rows.sort(key=lambda row: -row[0])
        total = len(self._rows)
        policy = f"default-src 'none'; style-src {_hashed(STYLE)}; script-src {_hashed(SCRIPT)}"
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Backup check: {self._counts[Outlook.lost]:,} of {total:,} servers lost</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Backup check</h1>
<p>{_text(self.place)}, {_date(self.now)} UTC: {total:,} {"server" if total == 1 else "servers"}</p>
</header>
<main>
{self._glance()}
{self._table()}
{self._stray_section()}
{self._explanations()}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""

    def _glance(self) -> str:
        total = len(self._rows) or 1
        shown = [o for o in reversed(Outlook) if o != Outlook.not_judged or self._counts[o]]
        bar, x = [], 0.0
        for fate in reversed(shown):
            share = 100 * self._counts[fate] / total
            bar.append(f'<rect class="{fate.name}" x="{x:.3f}%" width="{share:.3f}%" height="100%"/>')
            x += share
        label = ", ".join(f"{self._counts[o]} {o.label.lower()}" for o in shown)
        tiles = "\n".join(
            f'<button type="button" class="tile {o.name}" data-filter="{int(o)}" aria-pressed="false">'
            f"<strong>{self._counts[o]:,}</strong> <b>{o.label}</b><span>{MEANING[o]}</span></button>"
            for o in shown
        )
        return f"""<section aria-label="The fleet at a glance">
<div class="tiles">
{tiles}
</div>
<svg class="bar" role="img" aria-label="{label}">{"".join(bar)}</svg>
</section>"""

    def _table(self) -> str:
        heads = "".join(
            f'<th scope="col"{_number(number)}><button type="button">{name}</button></th>'
            for name, number in COLUMNS
        )
        rows = "\n".join(row for _, row in self._rows)
        return f"""<section>
<h2>Servers</h2>
<p class="tools"><label>Search <input type="search" placeholder="name, ID, reason"></label>
<output></output></p>
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</section>"""

    def _row(self, verdict: ServerVerdict, fate: Outlook) -> str:
        newest = "<td data-v=0>none</td>"
        if verdict.newest is not None:
            age = words.span(self.now - verdict.newest)
            newest = f"<td data-v={verdict.newest:.0f}>{_date(verdict.newest)} <small>{age} old</small></td>"
        told = [finding for finding in verdict.findings if finding.severity > Severity.info]
        count = words.counted(len(told), "finding") if told else "information only"
        findings = "none"
        if verdict.findings:
            findings = f"<details><summary>{count}</summary>{_findings(verdict.findings)}</details>"
        disks = "" if verdict.disks is None else str(verdict.disks)
        return (
            f"<tr><th scope=row><bdi>{_text(verdict.server)}</bdi><small>{_text(verdict.id)}</small>"
            f"<small>project {_text(verdict.project_id)}</small></th>"
            f'<td data-v={int(fate)}><span class="mark {fate.name}">{fate.label}</span></td>'
            f"<td data-v={len(told)}>{findings}</td>"
            f"{newest}<td data-v={disks or 0}>{disks}</td><td>{_text(verdict.boot_source)}</td></tr>"
        )

    def _stray_section(self) -> str:
        if not self._strays:
            return ""
        items = "\n".join(self._strays)
        title = "<h2>Findings that belong to no server</h2>"
        return f'<section>\n{title}\n<ul class="strays">\n{items}\n</ul>\n</section>'

    def _explanations(self) -> str:
        codes = sorted(self._reasons, key=lambda code: (-REASONS[code].severity, code))
        items = "\n".join(
            f'<article id="{code}"><h3>{code}</h3>'
            f"<p>{html_paragraph(REASONS[code].meaning)}</p>"
            f"<p><em>{severity_text(REASONS[code])}</em></p>"
            f"<p>What to do: {html_paragraph(REASONS[code].way_out)}</p>"
            f'<p class="count">Here: {self._reasons[code]:,}</p></article>'
            for code in codes
        )
        return f"<section>\n<h2>What the reasons mean</h2>\n{items}\n</section>" if items else ""


def check_path(path: Path) -> None:
    """Whether a report can be written there, before anything is read.

    :raises errors.UsageError: its directory is not there, or it is a directory itself.
    """
    if path.is_dir():
        raise UsageError(f"--html {path}: it is a directory")
    if not path.parent.is_dir():
        raise UsageError(f"--html {path}: there is no directory {path.parent}")


def _findings(findings: Iterable[Finding]) -> str:
    items = "".join(
        f"<li><b class={finding.severity.name}>{finding.severity.name}</b> "
        f'<a href="#{finding.reason.code}">{finding.reason.code}</a>: <bdi>{_text(finding.message)}</bdi>'
        + "".join(map(_action, finding.action.split("; ") if finding.action else ()))
        + "</li>"
        for finding in findings
    )
    return f"<ul>{items}</ul>"


def _action(action: str) -> str:
    tag = "code" if action.startswith(COMMAND) else "div"
    return f"<{tag}>{_text(action)}</{tag}>"


def _text(text: str | None) -> str:
    return escape(text or "")


def _number(number: bool) -> str:
    return " data-number" if number else ""


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _hashed(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
