# SPDX-License-Identifier: Apache-2.0
import pathlib
from unittest import mock

from osc_imagetools import errors
from osc_imagetools.execution import export
from osc_imagetools.tests.unit.base import TestCase


class TestStopped(TestCase):
    def export(self, start):
        """An export that has stopped a server, and whose last attempt to start it is *start*."""

        class Work:
            def __init__(self, plan, shop, *_):
                self.shop = shop

            def run(self):
                self.shop.undo.register("server web01, which was stopped", start, urgent=True)
                return ()

        for name, double in (("_Work", Work), ("BundleWriter", mock.MagicMock()), ("manifest", mock.Mock())):
            self.patch(export, name, double)
        plan = mock.Mock()
        plan.subject.configure_mock(id="s1", label="server web01 (s1)", documents={}, hash_algo="sha512")
        return export.export(
            plan,
            self.mocked_cloud().cloud,
            pathlib.Path("web01.bundle"),
            jobs=1,
            timeout=None,
            purpose="test",
            progress=mock.Mock(),
        )

    def test_a_server_that_stays_stopped_is_a_failure_though_the_bundle_is_complete(self):
        start = mock.Mock(side_effect=errors.CloudError("no host has room"))
        error = self.assertRaises(errors.CloudError, self.export, start)
        for text in ("web01.bundle is complete", "openstack server start s1", "no host has room"):
            self.assertIn(text, str(error))

    def test_one_that_starts_in_the_end_is_none(self):
        self.assertEqual((), self.export(mock.Mock()).left)
