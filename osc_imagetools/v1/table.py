# SPDX-License-Identifier: Apache-2.0
"""The tables of our commands: in a terminal that is narrow, nothing that a person copies is broken.

Contract: a formatter in the place of cliff's own, under the same conditions: a table is fitted if stdout is a
terminal, or if ``--fit-width`` or ``--max-width`` say so. Only prose is wrapped, and only between words.
Where the columns do not fit side by side, each row becomes a table of its own fields, one below the other. A
word that is wider than the terminal sticks out of its line, and of that line alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import prettytable
from cliff import columns, utils
from cliff.formatters import table
from rich.cells import cell_len

from osc_imagetools.v1 import base

# Columns that hold prose; the values of any other one are what people copy.
PROSE = frozenset({"Detail", "Message", "Reason", "Resource", "Result"})
LEAST = 20  # characters of a line of prose that is still easy to read


@dataclass(frozen=True)
class Cell:
    """The text of a value, and how it stands in a table."""

    text: str
    prose: bool
    align: Literal["l", "r"]

    @property
    def width(self) -> int:
        """Without any wrapping."""
        return max(map(cell_len, self.text.split("\n")))

    @property
    def least(self) -> int:
        """The narrowest that it can be."""
        if not self.prose:
            return self.width
        return min(self.width, max([LEAST, *map(cell_len, self.text.split())]))

    def wrapped(self, width: int) -> str:
        """The text in lines of at most this width, if its words and its kind permit it."""
        if not self.prose:
            return self.text
        lines = [
            textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
            for line in self.text.split("\n")
        ]
        return "\n".join(part for line in lines for part in line)


class FittingTable(table.TableFormatter):
    """Tables as wide as the terminal at most; the options are those of cliff's own."""

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        rows = [
            [_cell(value, prose=name in PROSE) for name, value in zip(column_names, row, strict=True)]
            for row in data
        ]
        titles = [Cell(name, False, "l") for name in column_names]
        available = _available(parsed_args)
        widths = _fit([list(column) for column in zip(titles, *rows, strict=True)], available)
        if widths is None:
            assert available is not None
            self._emit_records(column_names, rows, available, stdout)
            return
        drawn = prettytable.PrettyTable(list(column_names), print_empty=parsed_args.print_empty)
        for position, name in enumerate(column_names):
            right = bool(rows) and all(row[position].align == "r" for row in rows)
            drawn.align[name] = "r" if right else "l"
        for row in rows:
            drawn.add_row([cell.wrapped(width) for cell, width in zip(row, widths, strict=True)])
        stdout.write(f"{drawn.get_string()}\n")

    def _emit_records(
        self, names: Sequence[str], rows: list[list[Cell]], available: int, stdout: TextIO
    ) -> None:
        """Each row as fields one below the other."""
        records = [list(zip(names, row, strict=True)) for row in rows]
        stdout.write("\n".join(_drawn_fields(records, available, titled=False)) + "\n")

    def emit_one(
        self,
        column_names: Sequence[str],
        data: Sequence[Any],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        fields = [(name, _cell(value, prose=False)) for name, value in zip(column_names, data, strict=True)]
        available = _available(parsed_args)
        stdout.write("\n".join(_drawn_fields([fields], available, titled=True)) + "\n")


def _cell(value: Any, *, prose: bool) -> Cell:
    prose = prose or isinstance(value, base.Texts)
    align: Literal["l", "r"] = "l"
    if isinstance(value, columns.FormattableColumn):
        align = getattr(value, "align", align)
        value = value.human_readable()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        align = "r"
    text = str(value).replace("\r\n", "\n").replace("\r", " ")
    return Cell(text, prose, align)


def _available(parsed_args: argparse.Namespace) -> int | None:
    """How wide a table may be; None for as wide as it is."""
    if parsed_args.max_width > 0:
        return int(parsed_args.max_width)
    if parsed_args.fit_width or (sys.stdout.isatty() and os.name != "nt"):
        return utils.terminal_width() or None
    return None


def _fit(table_columns: list[list[Cell]], available: int | None) -> list[int] | None:
    """The width of each column; None where they do not fit side by side."""
    widths = [max(cell.width for cell in column) for column in table_columns]
    least = [max(cell.least for cell in column) for column in table_columns]
    if available is None:
        return widths
    room = available - 1 - 3 * len(widths)
    if sum(widths) <= room:
        return widths
    spare = room - sum(least)
    if spare < 0:
        return None
    # The narrow ones get what they want first, so that the others share what these leave.
    wants = sorted(range(len(widths)), key=lambda position: widths[position] - least[position])
    for done, position in enumerate(wants):
        more = min(widths[position] - least[position], spare // (len(wants) - done))
        least[position] += more
        spare -= more
    return least


def _drawn_fields(
    records: list[list[tuple[str, Cell]]], available: int | None, *, titled: bool
) -> Iterable[str]:
    """The lines of a table with the columns Field and Value, a rule after each record."""
    fields = [(name, cell) for record in records for name, cell in record]
    label = max(cell_len(name) for name in ("Field", *(name for name, _ in fields)))
    room = max(LEAST, (available or sys.maxsize) - 7 - label)
    texts = [[(name, cell.wrapped(room).split("\n")) for name, cell in record] for record in records]
    lengths = [cell_len(line) for record in texts for _, lines in record for line in lines]
    value = max((length for length in lengths if length <= room), default=0)
    value = max(value, len("Value"))
    rule = f"+{'-' * (label + 2)}+{'-' * (value + 2)}+"
    yield rule
    if titled:
        yield f"| {_padded('Field', label)} | {_padded('Value', value)} |"
        yield rule
    for record in texts:
        for name, lines in record:
            for number, line in enumerate(lines):
                yield f"| {_padded('' if number else name, label)} | {_padded(line, value)} |"
        yield rule


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - cell_len(text))
