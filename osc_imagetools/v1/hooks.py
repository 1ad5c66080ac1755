# SPDX-License-Identifier: Apache-2.0
"""One warning beside the client's own commands when the copy that they make holds no data, or not all.

Contract: a hook watches what the command reads and asks for nothing itself. It changes neither output nor
exit code, and whatever goes wrong in it is of no consequence (``--debug`` tells). ``OSC_IMAGETOOLS_HOOKS=0``
turns all of them off. cliff loads a hook for its command only.
Source: https://docs.openstack.org/cliff/latest/user/introduction.html (command hooks).
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from typing import Any

from cliff import hooks

LOG = logging.getLogger(__name__)
SWITCH = "OSC_IMAGETOOLS_HOOKS"


class Hook(hooks.CommandHook):
    """Watches one command; ``watch`` is called before it and ``judge`` after it."""

    def get_parser(self, parser: argparse.ArgumentParser) -> None:
        return None

    def get_epilog(self) -> None:
        return None

    def before(self, parsed_args: argparse.Namespace) -> argparse.Namespace:
        if os.environ.get(SWITCH) != "0":
            self.seen: dict[str, Any] = {}
            _unless_it_fails(self.watch)
        return parsed_args

    def after(self, parsed_args: argparse.Namespace, return_code: Any) -> Any:
        if os.environ.get(SWITCH) != "0":
            _unless_it_fails(self.judge)
        return return_code

    def watch(self) -> None:
        """Begin to remember what the command finds."""

    def judge(self) -> None:
        """Warn, if there is something to warn of."""

    def remember(self, service: str, method: str, then: Callable[[], None] | None = None) -> None:
        """Keep what the command's next call of ``method`` gives, as the API's document."""
        app: Any = self.cmd.app  # cliff does not know of the client's services
        proxy = getattr(app.client_manager, service)
        original = getattr(proxy, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            vars(proxy).pop(method, None)
            found = original(*args, **kwargs)
            _unless_it_fails(lambda: self._keep(method, found, then))
            return found

        setattr(proxy, method, call)

    def _keep(self, method: str, found: Any, then: Callable[[], None] | None) -> None:
        document = found.to_dict(original_names=True, computed=False)
        if method == "find_image":  # in the API properties stand beside the other fields
            document |= document.pop("properties", None) or {}
        self.seen[method] = document
        if then:
            then()


class CreateServerImage(Hook):
    """On ``server image create``."""

    def watch(self) -> None:
        self.remember("compute", "find_server")
        self.remember("image", "find_image")

    def judge(self) -> None:
        from osc_imagetools.backup_check.plan_hooks import of_server_image
        from osc_imagetools.cloud.image import read_image
        from osc_imagetools.cloud.server import read_server

        server, image = self.seen["find_server"], self.seen["find_image"]
        _warn(of_server_image(read_server(server), read_image(image, None)))


class CreateServerBackup(Hook):
    """On ``server backup create``: the cloud may refuse it, so the warning comes before the request."""

    def watch(self) -> None:
        self.remember("compute", "find_server", self.judge_server)

    def judge_server(self) -> None:
        from osc_imagetools.backup_check.plan_hooks import of_server_backup
        from osc_imagetools.cloud.server import read_server

        _warn(of_server_backup(read_server(self.seen["find_server"])))


class SaveImage(Hook):
    """On ``image save``."""

    def watch(self) -> None:
        self.remember("image", "find_image")

    def judge(self) -> None:
        from osc_imagetools.backup_check.plan_hooks import of_saved_image
        from osc_imagetools.cloud.image import read_image

        _warn(of_saved_image(read_image(self.seen["find_image"], None)))


def _warn(text: str | None) -> None:
    if text:
        LOG.warning("%s", text)


def _unless_it_fails(do: Callable[[], None]) -> None:
    try:
        do()
    except Exception:
        LOG.debug("a hook failed", exc_info=True)
