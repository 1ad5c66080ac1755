# SPDX-License-Identifier: Apache-2.0
"""What all commands share: help, login on demand, exit codes, values for people, tables, dry runs.

Contract: every ``openstack`` command imports this module. Like all modules of this package it imports only
argparse, logging and osc-lib at the top (and cliff, which osc-lib has loaded already).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns
from osc_lib.command import command

if TYPE_CHECKING:
    from osc_imagetools.cloud.connection import Cloud

LOG = logging.getLogger(__name__)
MOST_NEXT_STEPS = 3


class Size(columns.FormattableColumn[Any]):
    """A size in bytes: an integer in machine-readable formats (None if unknown), binary units in tables."""

    align = "r"

    def human_readable(self) -> str:
        from osc_imagetools.progress import words

        return "-" if self._value is None else words.size(self._value)


class Age(columns.FormattableColumn[Any]):
    """A time: as it is in ISO 8601 for machines, how long ago for people."""

    def human_readable(self) -> str:
        from datetime import UTC, datetime

        from osc_imagetools.progress import words

        if self._value is None:
            return "-"
        try:
            then = datetime.fromisoformat(self._value)
        except ValueError:
            return str(self._value)
        if then.tzinfo is None:  # what Cinder and Nova write is UTC
            then = then.replace(tzinfo=UTC)
        return words.ago((datetime.now(UTC) - then).total_seconds())


class Texts(columns.FormattableColumn[Any]):
    """A list of texts: a list in machine-readable formats, one line for each in tables."""

    def human_readable(self) -> str:
        from osc_imagetools.cloud.names import printable

        return "\n".join(printable(text) for text in self._value)


class Text(columns.FormattableColumn[Any]):
    """A text that anybody may have written: as it is for machines, printable for people."""

    def human_readable(self) -> str:
        from osc_imagetools.cloud.names import printable

        return printable(self._value)


class HelpParagraphs(argparse.HelpFormatter):
    """Help whose paragraphs and examples keep their lines.

    The documentation reads the same texts as reStructuredText, so its markup is replaced here: a paragraph
    that ends with ``::`` introduces indented lines, and literals lose their backticks.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap

        blocks = re.split(r"\n\s*\n", _plain(text.strip("\n")))
        return "\n\n".join(
            block.rstrip()
            if block.startswith(" ")
            else textwrap.fill(" ".join(block.split()), width, break_on_hyphens=False)
            for block in blocks
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return super()._split_lines(_plain(text), width)


def _plain(text: str) -> str:
    """Text without the markup of reStructuredText: options as they are, other literals in quotes."""
    text = re.sub(r"``(.+?)``", lambda found: found[1] if found[1][0] == "-" else f'"{found[1]}"', text)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


class Command(command.Command):
    """A command that logs in only when it needs the cloud, so that wrong options are reported first."""

    auth_required = False
    formatter: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.next_steps: list[str] = []  # commands to type next, the most useful first
        self.summary = ""  # what a long run has done

    def fit_tables(self, parsed_args: argparse.Namespace) -> None:
        """Has a table drawn so that nothing in it is broken that a person copies."""
        if parsed_args.formatter == "table":
            from osc_imagetools.v1.table import FittingTable

            self.formatter = FittingTable()

    def close_output(self, parsed_args: argparse.Namespace) -> None:
        """Closes the output: the summary, and below a table on a terminal what to type next.

        These are three commands at most, each whole and on a line of its own.
        """
        if self.summary:
            self.app.stdout.flush()
            tell(filled(self.summary))
        steps = list(dict.fromkeys(self.next_steps))[:MOST_NEXT_STEPS]
        if steps and parsed_args.formatter == "table" and sys.stdout.isatty():
            self.app.stdout.flush()
            tell("\n".join(("Next:", *steps)))

    examples: tuple[str, ...] = ()  # at the end of the help

    def get_epilog(self) -> str:
        title = "Example::" if len(self.examples) == 1 else "Examples::"
        lines = "\n".join(f"    {line}" for line in self.examples)
        return f"{title}\n\n{lines}\n\n{super().get_epilog()}"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        given: Any = parser.formatter_class
        formatter: Any = type("HelpFormatter", (HelpParagraphs, given), {})
        parser.formatter_class = formatter
        return parser

    @property
    def required_scope(self) -> bool:
        """Read by osc-lib when there is a session and before it logs in: the login is persistent too."""
        session = getattr(self.app.client_manager, "session", None)
        if session is not None:
            from osc_imagetools.cloud.transport import persistent

            persistent(session)
        return False

    def cloud(self) -> Cloud:
        """Log in, as any other ``openstack`` command does."""
        self.auth_required = True
        self.app.prepare_to_run_command(self)
        from osc_imagetools.cloud.connection import Cloud

        return Cloud(self.app.client_manager.sdk_connection)

    def shown(self, value: Any) -> Any:
        """A cell: what is not printable is for machines alone, and a terminal is none."""
        if not isinstance(value, str) or value.isprintable():
            return value
        is_terminal = self.app.stdout is not None and self.app.stdout.isatty()
        return Text(value).human_readable() if is_terminal else Text(value)

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """What cannot be printed is told to be no more than that; a reader that has gone is no failure."""
        from osc_imagetools.errors import ImagetoolsError

        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise ImagetoolsError(
                f"the result cannot be printed: {exc.strerror or exc}", hint="The command has done its work."
            ) from exc

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            return super().run(parsed_args)
        except Exception as exc:
            # cliff prints every error and exits with 1; other exit codes are returned here.
            code = getattr(exc, "exit_code", 1)
            if code == 1:
                raise
            self.log.error("%s", exc)
            return int(code)


class Lister(Command, command.Lister):
    """Several resources: what is read at a glance, and with ``--long`` the rest.

    ``take_action`` gives all columns; those in ``more`` are shown with ``--long``, or if ``-c`` names them.
    """

    more: tuple[str, ...] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        if self.more:
            text = f"Show these columns too: {', '.join(self.more)}"
            parser.add_argument("--long", action="store_true", help=text)
        return parser

    def hidden(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        """The columns that are not shown; those of a plan all are."""
        plan = getattr(parsed_args, "dry_run", False)
        return () if not self.more or parsed_args.long or plan else self.more

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        hidden = self.hidden(parsed_args)
        if hidden and not parsed_args.columns:
            parsed_args.columns = [name for name in column_names if name not in hidden]
        rows = (tuple(self.shown(value) for value in row) for row in data)
        if self.app.stdout is None:  # closed: the work is done and its verdict is wanted all the same
            return sum(0 for _ in rows)
        self.fit_tables(parsed_args)
        with self.printing():
            code = super().produce_output(parsed_args, column_names, rows)
        self.close_output(parsed_args)
        return code


class ShowOne(Command, command.ShowOne):
    """One resource; with ``--dry-run`` the steps of the plan, as a list."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        if self.app.stdout is None:  # closed: the work is done all the same
            return 0
        self.fit_tables(parsed_args)
        with self.printing():
            if getattr(parsed_args, "dry_run", False):
                rows = [tuple(self.shown(value) for value in row) for row in data]
                return self._produce_list(parsed_args, column_names, rows)
            shown = tuple(self.shown(value) for value in data)
            code = super().produce_output(parsed_args, column_names, shown)
        self.close_output(parsed_args)
        return code

    def _produce_list(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        names, selector = self._generate_columns_and_selector(parsed_args, column_names)
        rows = [list(self._compress_iterable(r, selector)) if selector else r for r in data]
        # All formatters of a single resource but "shell" print lists too.
        self.formatter.emit_list(names, rows, self.app.stdout, parsed_args)
        return 0


def filled(text: str) -> str:
    """A sentence in lines that a terminal does not break: names, IDs and paths stay whole."""
    if not sys.stderr.isatty():
        return text
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def tell(text: str) -> None:
    """Says on a terminal's stderr what is of use after the result, or else to the log (``-v``)."""
    if not sys.stderr.isatty():
        LOG.info("%s", text)
    elif any(handler.level <= logging.WARNING for handler in logging.getLogger().handlers):  # not --quiet
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Shows from the first second that the cloud is read, before there is a plan with steps to show."""
    from osc_imagetools.progress.display import shown_progress

    with shown_progress() as progress, progress.step(what, "read from the cloud"):
        yield


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that transfers data."""
    add_jobs_option(parser)
    add_timeout_option(parser)
    add_dry_run_option(parser)


def add_jobs_option(
    parser: argparse.ArgumentParser, help_text: str = "Maximum number of concurrent transfers"
) -> None:
    """Add the option of every command that does several things at a time."""
    parser.add_argument(
        "--jobs", metavar="<n>", type=positive(int, "jobs"), default=4, help=f"{help_text} (default: 4)"
    )


def add_timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that waits for the cloud."""
    parser.add_argument(
        "--timeout",
        metavar="<seconds>",
        type=positive(float, "seconds"),
        help="Maximum time to wait for a single step in the cloud (default: no limit; clean-up always gets "
        "at least 60 seconds)",
    )


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that changes a cloud or writes data."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Show the steps that would be carried out, and change nothing",
    )


def tell_without_block_storage(cloud: Cloud, text: str) -> None:
    """Warn about what a command leaves out if the catalog has no block storage."""
    if not cloud.has_block_storage:
        region = cloud.origin.region or "this cloud"
        LOG.warning("The catalog of %s has no block storage: %s.", region, text)


def check_dry_run_format(parsed_args: argparse.Namespace) -> None:
    """Refuse ``-f shell``: a plan is a list, which shell variables cannot hold."""
    if parsed_args.dry_run and parsed_args.formatter == "shell":
        from osc_imagetools.errors import UsageError

        raise UsageError("--dry-run prints a list, which -f shell does not support", hint="Use -f json.")


def plan_rows(steps: Iterable[Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns and rows of a dry run."""
    titles = ("Step", "Action", "Resource", "Temporary", "Bytes")
    return titles, [(s.number, s.action, s.resource, s.temporary, Size(s.bytes)) for s in steps]


def positive(kind: type[Any], unit: str) -> Any:
    """An argparse type: a number greater than 0; its name is part of the error message."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    convert.__name__ = f"positive number of {unit}"
    return convert
