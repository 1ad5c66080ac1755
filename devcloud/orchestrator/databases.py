# SPDX-License-Identifier: Apache-2.0
"""The databases of a new cloud: SQLite files, with the services' own tools.

Contract: ``make(settings, environment)`` makes them all, once. It is called while nothing runs.
If it was cut short the next call begins again from nothing.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import shutil
import sqlite3
import typing

from orchestrator import configuration, steps
from orchestrator import settings as settings_module
from orchestrator.settings import Settings

Command = list[str | pathlib.Path]


def make(settings: Settings, environment: typing.Mapping[str, str]) -> None:
    """Make all databases, unless they are there."""
    complete = settings.databases / "complete"
    if complete.exists():
        return
    steps.say("making databases")
    shutil.rmtree(settings.databases)
    settings.databases.mkdir()
    plans = commands(settings)
    with concurrent.futures.ThreadPoolExecutor(len(plans)) as pool:
        futures = [
            pool.submit(_run_all, settings, name, plan, environment) for name, plan in plans.items()
        ]
        for future in futures:
            future.result()
    for file in settings.databases.glob("*.sqlite"):
        _use_write_ahead_log(file)
    complete.touch()
    steps.say("databases made")


def commands(settings: Settings) -> dict[str, list[Command]]:
    """For each service, the commands that make its database, in their order."""

    def tool(name: str, conf: str) -> Command:
        return [settings.venv / "bin" / name, "--config-file", settings.conf / conf]

    keystone = tool("keystone-manage", "keystone.conf")
    nova = tool("nova-manage", "nova.conf")
    keys: Command = ["--keystone-user", "root", "--keystone-group", "root"]
    urls: Command = []
    for interface in ("public", "internal", "admin"):
        urls += [f"--bootstrap-{interface}-url", settings.auth_url]
    # The longest first.
    return {
        "nova": [
            [*nova, "api_db", "sync"],
            [
                *nova,
                "cell_v2",
                "map_cell0",
                "--database_connection",
                configuration.database(settings, "nova_cell0"),
            ],
            [*nova, "db", "sync"],
            [*nova, "cell_v2", "create_cell", "--name", "cell1"],
        ],
        "cinder": [[*tool("cinder-manage", "cinder.conf"), "db", "sync"]],
        "neutron": [
            [
                settings.python,
                settings_module.SERVICES / "neutron_tables.py",
                "--config-file",
                settings.conf / "neutron.conf",
            ]
        ],
        "keystone": [
            [*keystone, "db_sync"],
            [*keystone, "fernet_setup", *keys],
            [*keystone, "credential_setup", *keys],
            [
                *keystone,
                "bootstrap",
                "--bootstrap-password",
                settings.password,
                "--bootstrap-region-id",
                settings.region,
                *urls,
            ],
        ],
        "glance": [[*tool("glance-manage", "glance-api.conf"), "db_sync"]],
        "placement": [[*tool("placement-manage", "placement.conf"), "db", "sync"]],
    }


def _run_all(
    settings: Settings, name: str, plan: list[Command], environment: typing.Mapping[str, str]
) -> None:
    for command in plan:
        steps.run_logged(command, settings.log / f"database-{name}.log", environment)


def _use_write_ahead_log(file: pathlib.Path) -> None:
    """Many readers and one writer at once. The setting stays in the file."""
    connection = sqlite3.connect(file)
    try:
        connection.execute("pragma journal_mode = wal")
    finally:
        connection.close()
