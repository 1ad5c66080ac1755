# SPDX-License-Identifier: Apache-2.0
"""The manifest: validated when it is read, and written deterministically.

Contract: pure, except for reading the schema. ``manifest-v1.schema.json`` in this directory is the published
schema (JSON Schema, draft 2020-12); :func:`manifest_problems` adds the rules that a schema cannot express.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any

from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.layout import digest_length, path_problem, same_file_key
from osc_imagetools.cloud.names import printable

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

FORMAT = "osc-imagetools-bundle"
FORMAT_VERSION = 1
SCHEMA = "manifest-v1.schema.json"
MAX_PROBLEMS = 50
MAX_PROBLEM = 300  # characters: a message of jsonschema shows the value


class UnreadableManifest(ValueError):
    """An invalid manifest; ``problems`` are sentences, each about one place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class NewerFormat(UnreadableManifest):
    """A manifest in a newer format version; it is not validated any further."""


def read_manifest(data: bytes) -> dict[str, Any]:
    """Parse and validate a manifest, as far as this is possible without the other files.

    :raises NewerFormat: its format version is greater than 1.
    :raises UnreadableManifest: it is invalid; the error has all problems.
    """
    try:
        document = strict_json.parse(data)
    except strict_json.InvalidJSON as exc:
        raise UnreadableManifest([f"The manifest is invalid: {exc}."]) from None
    if not isinstance(document, dict):
        raise UnreadableManifest(["The manifest is invalid: it is not a JSON object."])
    version: Any = document.get("format_version")
    if document.get("format") == FORMAT and _is_integer(version) and version > FORMAT_VERSION:
        raise NewerFormat(
            [
                f"The bundle has format version {version}, but this release supports only {FORMAT_VERSION}: "
                "use a newer release of osc-imagetools."
            ]
        )
    problems = manifest_problems(document)
    if problems:
        raise UnreadableManifest(problems)
    return document


def manifest_problems(document: Mapping[str, Any]) -> list[str]:
    """The problems of a manifest, as "<JSON pointer>: <problem>"; after 50 of them, "and more"."""
    errors = islice(_validator().iter_errors(document), MAX_PROBLEMS + 1)
    found = [f"{_pointer(error.absolute_path)}: {_shorten(error.message)}" for error in errors]
    if not found:
        found = list(islice(_contradictions(document), MAX_PROBLEMS + 1))
    if len(found) > MAX_PROBLEMS:
        found[MAX_PROBLEMS:] = ["and more"]
    return found


def format_manifest(document: Mapping[str, Any]) -> bytes:
    """The manifest file: members in the order of the schema, nested ones sorted, so equal values give equal
    bytes."""
    order = {name: place for place, name in enumerate(_schema()["properties"])}
    names = sorted(document, key=lambda name: (order.get(name, len(order)), name))
    ordered = {name: _sorted(document[name]) for name in names}
    return format_json(ordered, sort_keys=False)


def format_json(value: object, *, sort_keys: bool = True) -> bytes:
    """JSON as this package writes it: UTF-8, indented, with a newline at the end.

    A lone surrogate, which UTF-8 cannot encode, is written as a JSON escape.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=sort_keys, allow_nan=False)
    return f"{text}\n".encode(errors="backslashreplace")


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("osc_imagetools.bundle").joinpath(SCHEMA).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def _validator() -> Validator:
    # Imported here because it takes a tenth of a second, and a dry run does not need it.
    from jsonschema import Draft202012Validator, validators

    # The draft accepts 1.0 as an integer; a size or an index must not be written that way.
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, v: _is_integer(v))
    kind: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, type_checker=checker
    )
    return kind(_schema())


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pointer(path: Iterable[str | int]) -> str:
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path]
    return _shorten(printable("".join(f"/{step}" for step in steps))) or "(top level)"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_PROBLEM else f"{text[:MAX_PROBLEM]}..."


def _contradictions(document: Mapping[str, Any]) -> Iterable[str]:
    """Problems that the schema cannot express, in a document that is valid otherwise."""
    try:
        datetime.fromisoformat(document["created_at"])
    except ValueError:
        yield "/created_at: not a valid time"
    disks = document["disks"]
    for place, disk in enumerate(disks):
        if disk["index"] != place:
            yield f"/disks/{place}/index: is {disk['index']}, but the position in the list is {place}"
    listed = [(f"/disks/{n}/file", f"/disks/{n}", d["file"], d["hash"]) for n, d in enumerate(disks)]
    listed += [
        (f"/files/{n}/path", f"/files/{n}", f["path"], f["hash"]) for n, f in enumerate(document["files"])
    ]
    seen: dict[str, str] = {}
    for where, owner, path, digest in listed:
        wrong = path_problem(path)
        if wrong:
            yield f"{where}: {printable(path)[:MAX_PROBLEM]!r} {wrong}"
            continue
        first = seen.setdefault(same_file_key(path), where)
        if first != where:
            yield f"{where}: {path} is the same file as {first}"
        yield from _hash_contradictions(f"{owner}/hash", digest, document["hash_algorithm"])


def _hash_contradictions(where: str, digest: Mapping[str, str], algorithm: str) -> Iterable[str]:
    if digest["algorithm"] != algorithm:
        yield f"{where}/algorithm: is {digest['algorithm']}, but the bundle uses {algorithm}"
    elif len(digest["value"]) != digest_length(algorithm) or not digest["value"].isalnum():
        yield f"{where}/value: is not a {algorithm} hash"
