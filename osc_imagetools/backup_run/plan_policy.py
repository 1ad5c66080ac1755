# SPDX-License-Identifier: Apache-2.0
"""Policies: which servers are backed up how, read from a file and judged before anything happens.

Contract: pure, but for reading the schema beside this module (JSON Schema, draft 2020-12).
:func:`parse_policies` names everything that is wrong with a file at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from osc_imagetools import errors
from osc_imagetools.backup_check.plan_case import ServerAges
from osc_imagetools.backup_run.inventory import RunServer
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.bundle.keep_rules import COUNTS, KeepRules, Span
from osc_imagetools.progress.words import seconds_of

SCHEMA = "policy-v1.schema.json"
MAX_BYTES = 1024 * 1024
ONE_TARGET = "exactly one of output_directory and repository is required"


@dataclass(frozen=True)
class ServerChoice:
    """Which servers a policy is for: all that is not empty must hold.

    ``names`` are regular expressions, any of which matches the whole name; ``projects`` are IDs, any of them.
    """

    names: tuple[re.Pattern[str], ...] = ()
    tags: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    properties: tuple[tuple[str, str], ...] = ()

    def fits(self, server: RunServer) -> bool:
        """Whether a server is one of them."""
        return (
            (not self.names or any(name.fullmatch(server.name) for name in self.names))
            and self.tags <= server.tags
            and (not self.projects or server.project_id in self.projects)
            and all(server.properties.get(key) == value for key, value in self.properties)
        )


@dataclass(frozen=True)
class ProofRule:
    """How often a restore check is due, in seconds, and how it is done."""

    every: float
    expect: str | None = None
    timeout: float | None = None
    flavor: str | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackupPolicy:
    """How servers are backed up; ``max_age`` in seconds. Without ``keep`` nothing is forgotten.

    ``prune``: the space of what is forgotten is given back in the repository.
    """

    name: str
    servers: ServerChoice
    max_age: float
    target: BackupTarget
    stop: bool = False
    allow_encrypted: bool = False
    keep: KeepRules | None = None
    prune: bool = False
    prove: ProofRule | None = None


def parse_policies(text: str, path: str) -> tuple[BackupPolicy, ...]:
    """The policies in a file.

    :param path: for messages.
    :raises errors.UsageError: the file is not one of policies; all that is wrong is named.
    """
    if len(text) > MAX_BYTES:
        raise errors.UsageError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        document = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 (it is a SafeLoader)
    except (yaml.YAMLError, RecursionError) as exc:
        raise errors.UsageError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    problems = [*_schema_problems(document), *_value_problems(document)]
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise errors.UsageError(f"{path} is not a file of policies:{listed}")
    return tuple(_policy(name, facts) for name, facts in document["policies"].items())


def policy_of(server: RunServer, policies: tuple[BackupPolicy, ...]) -> BackupPolicy | str:
    """The policy of a server, or why it has none."""
    fitting = [policy for policy in policies if policy.servers.fits(server)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        return "no policy is for this server"
    return f"several policies are for this server: {', '.join(policy.name for policy in fitting)}"


def server_ages(server: RunServer, policies: tuple[BackupPolicy, ...]) -> ServerAges:
    """What a check demands of a server by its policy."""
    policy = policy_of(server, policies)
    if isinstance(policy, str):
        return ServerAges(problem=policy)
    return ServerAges(policy.max_age, policy.prove.every if policy.prove else None)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is there twice: the first would be lost without a word."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key.value!r} is there twice", key.start_mark
            )
        seen.add(key.value)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _schema_problems(document: Any) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    schema = json.loads(resources.files("osc_imagetools.backup_run").joinpath(SCHEMA).read_text("utf-8"))
    found = Draft202012Validator(schema).iter_errors(document)
    for error in sorted(found, key=lambda e: [str(part) for part in e.absolute_path]):
        place = "/".join(map(str, error.absolute_path)) or "the file"
        yield f"{place}: {error.message[:300] if error.validator != 'oneOf' else ONE_TARGET}"


def _value_problems(document: Any) -> Iterator[str]:
    """What a schema cannot say, wherever the document has the form for it."""
    for name, facts in _mapping_of(_mapping_of(document).get("policies")).items():
        place, facts = f"policies/{name}", _mapping_of(facts)
        names = _mapping_of(facts.get("servers")).get("names")
        for number, expression in enumerate(names if isinstance(names, list) else ()):
            yield from _expression_problem(f"{place}/servers/names/{number}", expression)
        yield from _expression_problem(f"{place}/prove/expect", _mapping_of(facts.get("prove")).get("expect"))
        keep = _mapping_of(facts.get("keep"))
        within = keep.get("within")
        if isinstance(within, str):
            try:
                Span.parse(within)
            except ValueError:
                yield f"{place}/keep/within: {within!r} is not a duration as 1y6m7d12h"
        elif keep and all(keep.get(count, 0) == 0 for count in COUNTS):
            yield f"{place}/keep: these rules would keep nothing"


def _mapping_of(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _expression_problem(place: str, expression: Any) -> Iterator[str]:
    try:
        re.compile(expression if isinstance(expression, str) else "")
    except re.error as exc:
        yield f"{place}: {expression!r} is not a regular expression: {exc}"


def _policy(name: str, facts: Mapping[str, Any]) -> BackupPolicy:
    choice, prove = facts["servers"], facts.get("prove")
    return BackupPolicy(
        name=name,
        servers=ServerChoice(
            names=tuple(map(re.compile, choice.get("names", ()))),
            tags=frozenset(choice.get("tags", ())),
            projects=frozenset(choice.get("projects", ())),
            properties=tuple(choice.get("properties", {}).items()),
        ),
        max_age=seconds_of(facts["max_age"]),
        target=BackupTarget(
            directory=facts.get("output_directory", ""),
            repository=facts.get("repository", ""),
            password_file=facts.get("password_file"),
            cloud=facts.get("repository_cloud"),
        ),
        stop=facts.get("stop", False),
        allow_encrypted=facts.get("allow_encrypted", False),
        keep=_rules(facts["keep"]) if "keep" in facts else None,
        prune=facts.get("prune", False),
        prove=None
        if prove is None
        else ProofRule(
            every=seconds_of(prove["every"]),
            expect=prove.get("expect"),
            timeout=prove.get("timeout"),
            flavor=prove.get("flavor"),
            networks=tuple(prove.get("networks", ())),
        ),
    )


def _rules(keep: Mapping[str, Any]) -> KeepRules:
    within = keep.get("within")
    counts = {name: keep.get(name, 0) for name in COUNTS}
    return KeepRules(**counts, within=Span.parse(within) if within else None)
