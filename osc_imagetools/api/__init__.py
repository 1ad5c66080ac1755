# SPDX-License-Identifier: Apache-2.0
"""What other programs may call: conversions of images, volumes and snapshots."""

from osc_imagetools.api.conversions import (
    ConversionReport,
    ConvertedResource,
    carry_out,
    plan_conversion,
)

__all__ = ["ConversionReport", "ConvertedResource", "carry_out", "plan_conversion"]
