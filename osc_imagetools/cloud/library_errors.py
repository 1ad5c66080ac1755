# SPDX-License-Identifier: Apache-2.0
"""What keystoneauth and the SDK raise, as errors of ours.

Contract: no exception of a library reaches a user as its bare text. No effects.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions

from osc_imagetools import errors
from osc_imagetools.cloud.answers import (
    SENSELESS,
    NoAnswer,
    StatusError,
    broken,
    never_sent,
    origin_of,
    text_of_page,
)


@contextlib.contextmanager
def ours(what: str, *, may_exist: bool) -> Iterator[None]:
    """What a library raises within it becomes an error of ours, in one clause; *what* names it.

    :param may_exist: whether a request without an answer may have made something.
    """
    try:
        yield
    except errors.CloudError as exc:
        if not exc.message.startswith(f"{what}: "):
            exc.message = f"{what}: {exc.message}"
        raise
    except errors.ImagetoolsError:
        raise
    except ksa_exceptions.HttpError as exc:
        said = text_of_page(exc.message or "")
        if exc.http_status in (401, 403):
            raise errors.Forbidden(
                f"{what}: the login is refused: {said}", hint="Log in again: openstack token issue"
            ) from exc
        raise StatusError(
            f"{what}: {origin_of(exc.url)} answered {exc.http_status}: {said}", exc.http_status
        ) from exc
    except ksa_exceptions.ConnectionError as exc:
        url = re.search(r"https?://[^\s:]+(:\d+)?", str(exc))
        raise NoAnswer(
            f"{what}: {broken(exc, url[0] if url else None)}", may_exist=may_exist and not never_sent(exc)
        ) from exc
    except (ksa_exceptions.ClientException, sdk_exceptions.SDKException, *SENSELESS) as exc:
        # The SDK fails in many ways on what is no answer of an OpenStack service.
        said = text_of_page(str(exc))
        raise errors.CloudError(
            f"{what}: the service cannot be used ({said})",
            hint="See whether its address is right: openstack catalog list",
        ) from exc
