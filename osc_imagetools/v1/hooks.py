# SPDX-License-Identifier: Apache-2.0
"""One warning beside the client's own commands when the copy that they make holds no data, or not all.

Contract: a hook reads what it needs by requests of its own and touches nothing of the command: neither its
output nor its exit code, nor whether it succeeds. What goes wrong in a hook is logged at debug level, no
more. ``OSC_IMAGETOOLS_HOOKS=0`` turns all of them off. cliff loads a hook for its command only.
Source: https://docs.openstack.org/cliff/latest/user/introduction.html (command hooks); cliff/display.py:
``after`` of a command that displays a resource is given its columns and data, and gives them back.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cliff import hooks

if TYPE_CHECKING:
    from osc_imagetools.cloud.image import Image
    from osc_imagetools.cloud.server import Server

LOG = logging.getLogger(__name__)
SWITCH = "OSC_IMAGETOOLS_HOOKS"


class Hook(hooks.CommandHook):
    """``look`` is called before the command and ``judge`` after it."""

    def get_parser(self, parser: argparse.ArgumentParser) -> None:
        return None

    def get_epilog(self) -> None:
        return None

    def before(self, parsed_args: argparse.Namespace) -> argparse.Namespace:
        _unless_it_fails(lambda: self.look(parsed_args))
        return parsed_args

    def after(self, parsed_args: argparse.Namespace, return_code: Any) -> Any:
        _unless_it_fails(lambda: self.judge(return_code))
        return return_code

    def look(self, parsed_args: argparse.Namespace) -> None:
        """Read what the command is given."""

    def judge(self, result: Any) -> None:
        """Warn, if there is something to warn of; *result* is what the command gives to its formatter."""

    @property
    def connection(self) -> Any:
        """The connection of the login that the command uses."""
        app: Any = self.cmd.app  # cliff does not know of the client's services
        return app.client_manager.sdk_connection


class CreateServerImage(Hook):
    """On ``server image create``: the server as it was before, and the image whose ID the command shows."""

    server: Server | None = None

    def look(self, parsed_args: argparse.Namespace) -> None:
        from osc_imagetools.backup_check.inventory_hooks import server_of

        self.server = server_of(self.connection, parsed_args.server)

    def judge(self, result: Any) -> None:
        from osc_imagetools.backup_check.inventory_hooks import image_with_id
        from osc_imagetools.backup_check.plan_hooks import of_server_image

        image_id = _shown(result).get("id")
        if self.server and image_id:
            _warn(of_server_image(self.server, image_with_id(self.connection, image_id)))


class CreateServerBackup(Hook):
    """On ``server backup create``: the cloud may refuse it, so the warning comes before the request."""

    def look(self, parsed_args: argparse.Namespace) -> None:
        from osc_imagetools.backup_check.inventory_hooks import server_of
        from osc_imagetools.backup_check.plan_hooks import of_server_backup

        _warn(of_server_backup(server_of(self.connection, parsed_args.server)))


class SaveImage(Hook):
    """On ``image save``.

    The image is read before: while its data is downloaded, another one can come to have its name.
    """

    image: Image | None = None

    def look(self, parsed_args: argparse.Namespace) -> None:
        from osc_imagetools.backup_check.inventory_hooks import image_of

        self.image = image_of(self.connection, parsed_args.image)

    def judge(self, result: Any) -> None:
        from osc_imagetools.backup_check.plan_hooks import of_saved_image

        if self.image:
            _warn(of_saved_image(self.image))


def _shown(result: Any) -> dict[str, Any]:
    """The fields of the resource that a command shows; none where it shows something else."""
    match result:
        case (tuple() | list() as names, tuple() | list() as values):
            return dict(zip(names, values, strict=False))
    return {}


def _warn(text: str | None) -> None:
    if text:
        LOG.warning("%s", text)


def _unless_it_fails(do: Callable[[], None]) -> None:
    if os.environ.get(SWITCH) == "0":
        return
    try:
        do()
    except Exception:
        LOG.debug("a hook failed", exc_info=True)
