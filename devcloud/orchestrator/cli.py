# SPDX-License-Identifier: Apache-2.0
"""The command line of ``devcloud``."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import typing

from orchestrator import guest, packages, steps
from orchestrator import settings as settings_module
from orchestrator.cloud import Cloud, python_path
from orchestrator.settings import PREFIX, Settings

SHAPE = tuple(
    f"{PREFIX}{name}" for name in ("STORAGE", "RELEASE", "NOVA_MAX", "CINDER_MAX", "GLANCE_MAX")
)


def main() -> int:
    """Do what the command line says; the exit code."""
    arguments = _parser().parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        raise steps.Failure(str(error)) from error
    code = arguments.run(settings, arguments)
    return code if isinstance(code, int) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devcloud", description="A real OpenStack for development, on this machine."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    commands.add_parser("install", help="install what the cloud needs").set_defaults(run=_install)
    commands.add_parser(
        "up", help="start the cloud, and install first what is missing"
    ).set_defaults(run=_up)
    down = commands.add_parser("down", help="stop the cloud")
    down.add_argument(
        "--wipe", action="store_true", help="and remove all its data (not the virtual environment)"
    )
    down.add_argument("--purge", action="store_true", help="and remove its whole state directory")
    down.set_defaults(run=_down)
    commands.add_parser(
        "status", help="show the processes and their memory; 1 if one is missing"
    ).set_defaults(run=_status)
    commands.add_parser("env", help="print what a shell needs, for eval").set_defaults(run=_env)
    commands.add_parser(
        "check", help="use the running cloud in every way; takes a minute"
    ).set_defaults(run=_check)
    many = commands.add_parser("fleet", help="fill the running cloud with servers to be listed")
    many.add_argument("count", type=int, help="how many there shall be; 0 removes all of them")
    many.set_defaults(run=_fleet)
    disk = commands.add_parser("guest", help="write a raw disk that boots")
    disk.add_argument("out", type=pathlib.Path)
    disk.add_argument("mebibytes", type=int, nargs="?", default=64)
    disk.add_argument("seed", type=int, nargs="?", default=7)
    disk.add_argument("--busy", action="store_true", help="the guest never stops writing")
    disk.add_argument("--says", help="all that the guest prints, at most 27 characters")
    disk.set_defaults(run=_guest)
    return parser


def _install(settings: Settings, _: argparse.Namespace) -> None:
    packages.install(settings)
    steps.say(f"installed: {settings.venv}")


def _up(settings: Settings, _: argparse.Namespace) -> None:
    Cloud(settings).up()


def _down(settings: Settings, arguments: argparse.Namespace) -> None:
    Cloud(settings).down(wipe=arguments.wipe or arguments.purge)
    if arguments.purge and settings.state.exists():
        shutil.rmtree(settings.state)


def _status(settings: Settings, _: argparse.Namespace) -> int:
    return 0 if Cloud(settings).status() else 1


def _env(settings: Settings, _: argparse.Namespace) -> None:
    print(f"export OS_CLIENT_CONFIG_FILE='{settings.clouds_yaml}' OS_CLOUD=devcloud-demo")
    # What a test has to know; and the next call of devcloud is about the same cloud.
    shape = settings.as_environment()
    print("export", *(f"{name}='{shape[name]}'" for name in SHAPE))


def _check(settings: Settings, _: argparse.Namespace) -> None:
    _become(settings, "check")


def _fleet(settings: Settings, arguments: argparse.Namespace) -> None:
    if arguments.count < 0:
        raise steps.Failure("there cannot be less than no server")
    _become(settings, "fleet", str(arguments.count))


def _become(settings: Settings, program: str, *arguments: str) -> typing.NoReturn:
    """Go on as one of the programs in ``services``, which need the virtual environment."""
    if not settings.clouds_yaml.exists():
        raise steps.Failure("there is no cloud: devcloud up")
    environment = settings.as_environment() | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": python_path(settings),
    }
    path = str(settings_module.SERVICES / f"{program}.py")
    os.execve(settings.python, [str(settings.python), path, *arguments], environment)


def _guest(_: Settings, arguments: argparse.Namespace) -> None:
    try:
        guest.write_disk(
            arguments.out,
            arguments.mebibytes,
            arguments.seed,
            busy=arguments.busy,
            says=arguments.says,
        )
    except (OSError, ValueError) as error:
        raise steps.Failure(str(error)) from error
