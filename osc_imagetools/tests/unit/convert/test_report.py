# SPDX-License-Identifier: Apache-2.0
"""The line that sums a conversion up."""

from __future__ import annotations

from osc_imagetools.convert.execute import ConversionReport, ConvertedResource
from osc_imagetools.convert.plan import plan_image_conversion, plan_volume_conversion
from osc_imagetools.convert.plan_drafts import ConversionPlan, ConversionRequest
from osc_imagetools.convert.report import conversion_summary
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.convert.test_plan import AROUND, image, volume

GIB = 1 << 30


class TestSummary(TestCase):
    def said(self, plan: ConversionPlan, name: str = "new", *lost: NotReplayed) -> str:
        made = ConvertedResource(plan.to, "1234", name, "active", 3 * GIB)
        return conversion_summary(plan, ConversionReport(made, (), lost, 50.0, 0))

    def test_what_was_sent_from_here(self) -> None:
        plan = plan_image_conversion(
            image(disk_format="qcow2"), AROUND, ConversionRequest("image", disk_format="raw")
        )
        text = f"Converted {plan.source.role} to image new (1234): 3.0 GiB in 50 s (61.4 MiB/s); "
        self.assertEqual(f"{text}the cloud's hash is that of the data sent.", self.said(plan))
        unproven = NotReplayed("hash", "the cloud has none for it: its bytes are unproven")
        self.assertEqual(f"{text}the cloud has no hash of it.", self.said(plan, "new", unproven))

    def test_what_the_cloud_makes(self) -> None:
        """Nothing is claimed of bytes that were never here: neither a speed nor a proof."""
        found = volume()
        text = f"Converted {found.volume.label} to %s: 3.0 GiB in 50 s, inside the cloud; %s as requested."
        plan = plan_volume_conversion(found, AROUND, ConversionRequest("image"))
        self.assertEqual(text % ("image 1234", "format and size are"), self.said(plan, "1234"))
        plan = plan_volume_conversion(found, AROUND, ConversionRequest("volume"))
        self.assertEqual(text % ("volume new (1234)", "status and size are"), self.said(plan))
