# SPDX-License-Identifier: Apache-2.0
from osc_imagetools.tests.unit.base import MockedCloud, TestCase


class TestBlockStorage(TestCase):
    def test_whatever_the_catalog_calls_it(self):
        """Also beside its older versions, in any order."""
        for names in (
            ("block-storage",),
            ("volumev3",),
            ("volume", "volumev2", "volumev3"),
            ("volumev3", "volumev2", "volume"),
            ("volumev2", "block-storage"),
        ):
            mocked = self.useFixture(MockedCloud(block_storage=False))
            for name in names:
                version = {"volumev2": "v2", "volume": "v1"}.get(name, "v3")
                url = f"http://volume.test/{version}"
                mocked.token.add_service(name).add_standard_endpoints(public=url, region="RegionOne")
                if version != "v3":
                    mocked.http.get(f"{url}/", status_code=300, json={})
            self.assertTrue(mocked.cloud.has_block_storage)
            self.assertEqual("http://volume.test/v3/x", mocked.cloud.url("block-storage", "/x"), str(names))
            self.assertEqual("3.64", mocked.cloud.microversion("block-storage", "3.64"))
