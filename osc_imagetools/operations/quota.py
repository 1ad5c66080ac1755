# SPDX-License-Identifier: Apache-2.0
"""The volume quota that the resources of a plan need, and how many lanes can run at the same time.

Contract: pure. A lane releases its quota before the next lane in the same slot starts, so the need is that of
the largest lanes that run together. Source of the names: ``GET /v3/os-quota-sets/{project}`` (volumes,
snapshots, gigabytes, each also with ``_<volume type>``; ``per_volume_gigabytes`` limits a single volume).
Snapshots count against gigabytes unless the cloud sets ``no_snapshot_gb_quota``, which no API tells: here
they always count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.quota import Quota

TOO_SMALL = "the volume quota is too small"
ORDER = {"volumes": 0, "gigabytes": 1, "snapshots": 2}


@dataclass(frozen=True)
class QuotaNeed:
    """What a plan needs of one quota while it runs; ``left`` is None if there is no limit."""

    name: str
    amount: int
    left: int | None

    @property
    def fits(self) -> bool:
        return self.left is None or self.amount <= self.left


@dataclass(frozen=True)
class VolumeUse:
    """What one lane uses: a volume of this size, a snapshot of the same size, or both."""

    gigabytes: int
    volume_type: str | None
    with_snapshot: bool
    with_volume: bool = True

    def amounts(self) -> dict[str, int]:
        """The amounts by quota name."""
        taken = {"gigabytes": self.gigabytes * (self.with_snapshot + self.with_volume)}
        if self.with_volume:
            taken["volumes"] = 1
        if self.with_snapshot:
            taken["snapshots"] = 1
        if self.volume_type:
            taken.update({f"{name}_{self.volume_type}": n for name, n in list(taken.items())})
        return taken


def fit_quota(
    quota: Quota | None,
    room: Sequence[VolumeUse],
    wanted: int,
    *,
    project: str | None,
    at_once: bool = False,
    besides: Sequence[VolumeUse] = (),
) -> tuple[int, tuple[QuotaNeed, ...]]:
    """(number of lanes that can run at the same time, what they need): *wanted* lanes, or as many as fit.

    :param at_once: what the lanes create stays, so that all of them must fit together.
    :param besides: what is used independently of the lanes.

    :raises errors.QuotaTooSmall: not even a single lane fits.
    """
    if quota is None or not room:
        return wanted, ()
    widths = range(wanted, wanted - 1 if at_once else 0, -1)
    ways = [(width, _needs(quota, room, width, besides)) for width in widths]
    width, needs = next((way for way in ways if all(need.fits for need in way[1])), ways[-1])
    errors.raise_problems(TOO_SMALL, check_needs(needs, project))
    return width, needs


@dataclass(frozen=True)
class QuotaChange:
    """A change of the used quota: a volume or snapshot is created or, if ``gone``, deleted."""

    kind: str  # volume, snapshot
    gigabytes: int
    volume_type: str | None
    gone: bool = False

    def amounts(self) -> dict[str, int]:
        """The amounts by quota name; negative if they are released."""
        sign = -1 if self.gone else 1
        suffixes = ["", f"_{self.volume_type}"] if self.volume_type else [""]
        taken = {f"{self.kind}s{suffix}": sign for suffix in suffixes}
        return taken | {f"gigabytes{suffix}": sign * self.gigabytes for suffix in suffixes}


def fit_peak(
    quota: Quota | None, course: Sequence[QuotaChange], *, project: str | None
) -> tuple[QuotaNeed, ...]:
    """The maximum needed while resources are created and deleted in this order.

    :raises errors.QuotaTooSmall: it exceeds a quota; :class:`errors.Unready` for several quotas.
    """
    if quota is None or not course:
        return ()
    level: dict[str, int] = {}
    peak: dict[str, int] = {}
    for step in course:
        for name, amount in step.amounts().items():
            level[name] = level.get(name, 0) + amount
            peak[name] = max(peak.get(name, 0), level[name])
    largest = max((step.gigabytes for step in course if step.kind == "volume"), default=0)
    needs = _known(quota, peak, largest)
    errors.raise_problems(TOO_SMALL, check_needs(needs, project))
    return needs


def check_needs(needs: Sequence[QuotaNeed], project: str | None) -> list[errors.ImagetoolsError]:
    """The needs that do not fit, as errors."""
    return [
        errors.QuotaTooSmall(
            f"the quota {need.name} of project {project} is too small: {need.amount} needed, {need.left} "
            "left",
            hint="To see what is used: openstack limits show --absolute. Delete what you do not need, or ask "
            "an administrator for more (openstack quota set <project>).",
        )
        for need in needs
        if not need.fits
    ]


def _needs(
    quota: Quota, room: Sequence[VolumeUse], width: int, besides: Sequence[VolumeUse]
) -> tuple[QuotaNeed, ...]:
    taken: dict[str, list[int]] = {}
    for lane in room:
        for name, amount in lane.amounts().items():
            taken.setdefault(name, []).append(amount)
    amounts = {name: sum(sorted(each, reverse=True)[:width]) for name, each in taken.items()}
    for lane in besides:
        for name, amount in lane.amounts().items():
            amounts[name] = amounts.get(name, 0) + amount
    return _known(quota, amounts, max(lane.gigabytes for lane in (*room, *besides)))


def _known(quota: Quota, amounts: Mapping[str, int], largest: int) -> tuple[QuotaNeed, ...]:
    """The needs for which there is a quota, and the general ones; *largest* is the largest volume in GiB."""
    needs = [
        QuotaNeed(name, amount, quota.left.get(name))
        for name, amount in sorted(amounts.items(), key=lambda each: ORDER.get(each[0], len(ORDER)))
        if name in ORDER or name in quota.left
    ]
    if largest and "per_volume_gigabytes" in quota.left:
        needs.append(QuotaNeed("per_volume_gigabytes", largest, quota.left["per_volume_gigabytes"]))
    return tuple(needs)
