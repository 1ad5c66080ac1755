# SPDX-License-Identifier: Apache-2.0
"""What all our commands share: login on demand, exit codes, readable bytes, the rows of a dry run.

Contract: like every module of this layer it imports no more at the top than argparse, logging and osc-lib
(and cliff, which that has loaded), for every ``openstack`` command imports it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns
from osc_lib.command import command

if TYPE_CHECKING:
    from osc_imagetools.cloud.connection import Cloud

LOG = logging.getLogger(__name__)
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Size(columns.FormattableColumn[Any]):
    """Bytes: an integer for machines (None where unknown), binary units for people."""

    def human_readable(self) -> str:
        if self._value is None:
            return "-"
        value, unit = float(self._value), 0
        while value >= 1024 and unit < len(UNITS) - 1:
            value, unit = value / 1024, unit + 1
        return f"{value:.1f} {UNITS[unit]}" if unit else f"{int(value)} B"


class Texts(columns.FormattableColumn[Any]):
    """A list of texts: a list for machines, one line each for people."""

    def human_readable(self) -> str:
        from osc_imagetools.cloud.names import printable

        return "\n".join(printable(text) for text in self._value)


class Text(columns.FormattableColumn[Any]):
    """A text that anybody may have written: as it is for machines, printable for people."""

    def human_readable(self) -> str:
        from osc_imagetools.cloud.names import printable

        return printable(self._value)


class Command(command.Command):
    """A command that logs in only when it asks for the cloud: its options are checked before."""

    auth_required = False

    def cloud(self) -> Cloud:
        """Logs in, as for any other ``openstack`` command."""
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
            # cliff prints the error and gives 1 whatever it is: the others are given here.
            code = getattr(exc, "exit_code", 1)
            if code == 1:
                raise
            self.log.error("%s", exc)
            return int(code)


class Lister(Command, command.Lister):
    """Several resources."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        with self.printing():
            rows = (tuple(self.shown(value) for value in row) for row in data)
            if self.app.stdout is None:  # closed: the work is done and its verdict is wanted all the same
                return sum(0 for _ in rows)
            return super().produce_output(parsed_args, column_names, rows)


class ShowOne(Command, command.ShowOne):
    """One resource; with ``--dry-run`` the steps of the plan, as a list."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        if self.app.stdout is None:  # closed: the work is done all the same
            return 0
        with self.printing():
            if getattr(parsed_args, "dry_run", False):
                rows = [tuple(self.shown(value) for value in row) for row in data]
                return self._produce_list(parsed_args, column_names, rows)
            return super().produce_output(parsed_args, column_names, tuple(self.shown(v) for v in data))

    def _produce_list(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        names, selector = self._generate_columns_and_selector(parsed_args, column_names)
        rows = [list(self._compress_iterable(r, selector)) if selector else r for r in data]
        # All formatters of a single resource but "shell" print lists too.
        emit_list = self.formatter.emit_list  # type: ignore[attr-defined]
        emit_list(names, rows, self.app.stdout, parsed_args)
        return 0


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that moves data."""
    parser.add_argument(
        "--jobs",
        metavar="<n>",
        type=positive(int, "streams"),
        default=4,
        help="Number of streams at a time, over all disks (default: 4)",
    )
    add_timeout_option(parser)
    add_dry_run_option(parser)


def add_timeout_option(parser: argparse.ArgumentParser) -> None:
    """The option of every command that waits for a cloud."""
    parser.add_argument(
        "--timeout",
        metavar="<seconds>",
        type=positive(float, "seconds"),
        help="Longest time to wait for the cloud to finish one step (default: no limit; removing what "
        "was made gets a minute at least)",
    )


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """The option of every command that changes a cloud or writes data."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Print the plan and change nothing, neither in the cloud nor on disk",
    )


def tell_without_block_storage(cloud: Cloud, text: str) -> None:
    """Says on stderr what a command leaves out where the catalog has no block storage."""
    if not cloud.has_block_storage:
        region = cloud.origin.region or "this cloud"
        LOG.warning("The catalog of %s has no block storage: %s.", region, text)


def check_dry_run_format(parsed_args: argparse.Namespace) -> None:
    """A plan is a list, which the formatter of shell variables cannot print."""
    if parsed_args.dry_run and parsed_args.formatter == "shell":
        from osc_imagetools.errors import UsageError

        raise UsageError("--dry-run prints a list: -f shell cannot show it")


def plan_rows(steps: Iterable[Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns and rows of a dry run."""
    titles = ("Step", "Action", "Resource", "Temporary", "Bytes")
    return titles, [(s.number, s.action, s.resource, s.temporary, Size(s.bytes)) for s in steps]


def positive(kind: type[Any], unit: str) -> Any:
    """An argparse type: a number above 0."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    convert.__name__ = f"positive number of {unit}"
    return convert
