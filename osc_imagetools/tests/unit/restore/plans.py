# SPDX-License-Identifier: Apache-2.0
"""What an import plan creates, by kind."""

from __future__ import annotations

from typing import Any

from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import (
    CreateMappingImage,
    CreatePort,
    CreateServer,
    CreateVolume,
    SendDisk,
    operations_of,
)
from osc_imagetools.restore.plan import ImportPlan


def images(plan: ImportPlan) -> list[ImageDraft]:
    """The images that stay."""
    made = (o for o in operations_of(plan.phases) if isinstance(o, SendDisk | CreateMappingImage))
    return [operation.draft for operation in made if not operation.makes.temporary]


def volumes(plan: ImportPlan) -> list[Any]:
    """The volumes that stay (CreateVolume with what is kept)."""
    return [o for o in operations_of(plan.phases) if isinstance(o, CreateVolume)]


def server(plan: ImportPlan) -> CreateServer:
    """The server."""
    (made,) = (o for o in operations_of(plan.phases) if isinstance(o, CreateServer))
    return made


def ports(plan: ImportPlan) -> list[CreatePort]:
    """The ports of the server."""
    return [o for o in operations_of(plan.phases) if isinstance(o, CreatePort)]


def mapping(plan: ImportPlan) -> CreateMappingImage:
    """The image of 0 bytes."""
    (made,) = (o for o in operations_of(plan.phases) if isinstance(o, CreateMappingImage))
    return made
