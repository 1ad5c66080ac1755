# SPDX-License-Identifier: Apache-2.0
"""The errors that users can see, one class for each kind.

Contract: standard library only, no effects. Every error has a kebab-case ``reference`` (stable: scripts
and the documentation use it), an ``exit_code`` (see ``doc/source/reference/exit-codes.rst``), a message that
says what happened to which resource, the resources that may be ``left``, and a ``hint``: what to type next.
The docstring of a class is its entry in the documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class ImagetoolsError(Exception):
    """The command failed."""

    reference = "failed"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, left: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.left = tuple(left)

    def __str__(self) -> str:
        lines = [f"{self.message} [{self.reference}]"]
        if self.left:
            lines.append("These resources may still exist: " + "; ".join(self.left))
        if self.hint:
            lines.append(self.hint)
        # Names of resources and words of services are in it, and it goes to a terminal.
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in "\n".join(lines))


class UsageError(ImagetoolsError):
    """An option has an invalid value, or options contradict each other."""

    reference = "usage"
    exit_code = 2


class ResourceNotFound(ImagetoolsError):
    """No resource has this name or ID."""

    reference = "resource-not-found"


class ResourceAmbiguous(ImagetoolsError):
    """Several resources have this name. Use the ID."""

    reference = "resource-ambiguous"


class ResourceUnusable(ImagetoolsError):
    """The resource exists, but its state or type does not allow the operation."""

    reference = "resource-unusable"


class NoData(ImagetoolsError):
    """The image has 0 bytes and does not point to any data."""

    reference = "no-data"


class Forbidden(ImagetoolsError):
    """The cloud refused the request: this account lacks the permission."""

    reference = "forbidden"


class ServiceAbsent(ImagetoolsError):
    """The catalog of this cloud or region does not list the service."""

    reference = "service-absent"


class CloudError(ImagetoolsError):
    """A service failed, or sent an unexpected response."""

    reference = "cloud-error"


class ServiceUnreachable(CloudError):
    """A service does not answer, or nothing can connect to it."""

    reference = "service-unreachable"


class QuotaTooSmall(ImagetoolsError):
    """The quota of the project is too small for the resources that are needed."""

    reference = "quota-too-small"


class WaitTimeout(ImagetoolsError):
    """A resource did not reach the expected state within ``--timeout`` seconds."""

    reference = "timeout"


class JournalUnwritable(ImagetoolsError):
    """The journal of the run cannot be written, so nothing was created."""

    reference = "journal-unwritable"


class Unready(ImagetoolsError):
    """Several problems were found before anything was changed; they are listed together."""

    reference = "not-possible"

    def __init__(self, what: str, problems: Sequence[ImagetoolsError]) -> None:
        hints = list(dict.fromkeys(p.hint for p in problems if p.hint))
        text = "".join(f"\n- {p.message} [{p.reference}]" for p in problems)
        super().__init__(f"{what}:{text}", hint="\n".join(hints) or None)
        self.problems = tuple(problems)


def raise_problems(what: str, problems: Sequence[ImagetoolsError]) -> None:
    """Raises the one problem, or several as :class:`Unready`; nothing where there is none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Unready(what, problems)


def problems_in(exc: ImagetoolsError) -> tuple[ImagetoolsError, ...]:
    """What :func:`raise_problems` has raised, as a list again."""
    return exc.problems if isinstance(exc, Unready) else (exc,)


class TransferError(ImagetoolsError):
    """Data could not be transferred."""

    reference = "transfer-failed"


class HashMismatch(TransferError):
    """The data received does not match the hash that the cloud has stored for it."""

    reference = "hash-mismatch"


class NoSpace(TransferError):
    """The file system is full."""

    reference = "no-space"


class Cancelled(ImagetoolsError):
    """The command was interrupted."""

    reference = "interrupted"
    exit_code = 130


class Declined(ImagetoolsError):
    """The confirmation was declined; nothing was changed."""

    reference = "declined"


class OutputExists(ImagetoolsError):
    """The output path exists and holds something that an export must not overwrite."""

    reference = "output-exists"


class BundleBusy(ImagetoolsError):
    """Another process is writing to the same output."""

    reference = "bundle-busy"


class NoBundle(ImagetoolsError):
    """There is no bundle at this path."""

    reference = "no-bundle"


class BundleRefused(ImagetoolsError):
    """The bundle is damaged, incomplete, unsafe, or in a newer format."""

    reference = "bundle-refused"


class UnsafeDisk(BundleRefused):
    """A disk refers to other files, or its content does not match its stated format."""

    reference = "unsafe-disk"


class DamagedDisk(ImagetoolsError):
    """A disk is truncated or corrupt: reading it would replace the missing data by zeros."""

    reference = "damaged-disk"


class RepositoryError(ImagetoolsError):
    """restic failed, or the storage behind the repository did."""

    reference = "repository-failed"


class ResticAbsent(RepositoryError):
    """restic is not installed on this machine."""

    reference = "restic-absent"


class ResticTooOld(RepositoryError):
    """The installed restic is older than 0.14.0."""

    reference = "restic-too-old"


class RepositoryAbsent(RepositoryError):
    """There is no restic repository at this URL."""

    reference = "repository-absent"


class RepositoryLocked(RepositoryError):
    """Another restic process uses the repository, or has left its lock there."""

    reference = "repository-locked"


class RepositoryPassword(RepositoryError):
    """The password does not open the repository."""

    reference = "repository-password"


class RepositoryFull(RepositoryError):
    """The storage behind the repository has no room."""

    reference = "repository-full"


class JobboardError(ImagetoolsError):
    """The jobboard does not answer, or what is on it cannot be used."""

    reference = "jobboard-failed"


class FleetAbsent(ImagetoolsError):
    """Runs on many machines need packages that are not installed: ``pip install 'osc-imagetools[fleet]'``."""

    reference = "fleet-absent"
