# SPDX-License-Identifier: Apache-2.0
"""The small files of a bundle in memory, wherever they come from: judged as those of a directory are.

Contract: pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.layout import ALGORITHMS, MANIFEST, digest_of, is_record, sums_name
from osc_imagetools.bundle.manifest import NewerFormat, UnreadableManifest, read_manifest
from osc_imagetools.bundle.sums import parse_sums
from osc_imagetools.bundle.verification import BundleFinding, Result
from osc_imagetools.cloud.names import printable

Finding = tuple[str, Result, str]


def judge_documents(
    files: Mapping[str, bytes], strange: Mapping[str, str]
) -> tuple[Mapping[str, Any], list[BundleFinding]]:
    """The manifest (empty where it cannot be used), and what is true of each file but the disks.

    :param files: the content of the plain files, by path.
    :param strange: what is wrong with anything else that is there, by path.
    """
    manifest: Mapping[str, Any] = {}
    found: list[Finding] = [(path, "unsafe", problem) for path, problem in strange.items()]
    if MANIFEST not in files:
        found.append((MANIFEST, "missing", "There is no manifest."))
    else:
        try:
            manifest = read_manifest(files[MANIFEST])
        except NewerFormat as exc:  # what else it may have is not known here
            return {}, [BundleFinding(MANIFEST, "refused", problem) for problem in exc.problems]
        except UnreadableManifest as exc:
            found += [(MANIFEST, "refused", f"{problem.rstrip('.')}.") for problem in exc.problems]
    if manifest:
        found += _listed(files, manifest)
    name = _sums_name(files, manifest)
    found += _sums(files, manifest, name)
    known = {MANIFEST, name, *(entry["path"] for entry in manifest.get("files", ()))}
    for path in files:
        if path not in known and not is_record(path) and manifest:
            found.append((path, "unlisted", "It is not listed: remove it, or do not trust the bundle."))
    wrong = {path for path, _, _ in found}
    found += [(path, "ok", "") for path in files if path in known - wrong]
    return manifest, sorted(
        {BundleFinding(printable(path), result, detail) for path, result, detail in found}
    )


def _listed(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Iterator[Finding]:
    algorithm = manifest["hash_algorithm"]
    for entry in manifest["files"]:
        path, data = entry["path"], files.get(entry["path"])
        if data is None:
            yield path, "missing", "It is listed, but not there."
        elif len(data) != entry["size"]:
            yield path, "size", f"It has {len(data)} bytes, {MANIFEST} says {entry['size']}."
        elif digest_of(data, algorithm) != entry["hash"]["value"]:
            yield path, "changed", f"Its {algorithm} is not the one in {MANIFEST}."


def _sums_name(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> str:
    if manifest:
        return sums_name(manifest["hash_algorithm"])
    there = [sums_name(a) for a in reversed(ALGORITHMS) if sums_name(a) in files]
    return there[0] if there else sums_name(ALGORITHMS[-1])


def _sums(files: Mapping[str, bytes], manifest: Mapping[str, Any], name: str) -> Iterator[Finding]:
    """What the file of sums says against what the manifest says."""
    if name not in files:
        yield name, "missing", "There is no file of sums."
        return
    if len(files[name]) > strict_json.MAX_BYTES:
        yield name, "refused", f"It has more than {strict_json.MAX_BYTES} bytes."
        return
    algorithm = name.removesuffix("SUMS").lower()
    sums = parse_sums(files[name], algorithm)
    for problem in sums.problems:
        yield name, "refused", problem
    claimed = sums.digests.get(MANIFEST)
    if claimed and MANIFEST in files and digest_of(files[MANIFEST], algorithm) != claimed:
        yield MANIFEST, "changed", f"Its {algorithm} is not the one in {name}."
    if not manifest:
        return
    told = {disk["file"]: disk["hash"]["value"] for disk in manifest["disks"]}
    told |= {entry["path"]: entry["hash"]["value"] for entry in manifest["files"]}
    for path in sorted({MANIFEST, *told} - sums.digests.keys()):
        yield name, "refused", f"It does not list {path}."
    for path, digest in sums.digests.items():
        if path != MANIFEST and path not in told:
            yield path, "unlisted", f"{name} lists it, but the manifest does not."
        elif path != MANIFEST and told[path] != digest:
            yield name, "changed", f"Its {algorithm} of {path} is not the one in {MANIFEST}."
