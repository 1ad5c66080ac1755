# SPDX-License-Identifier: Apache-2.0
import functools

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from osc_imagetools import errors
from osc_imagetools.cloud.answers import BadAnswer, NoAnswer, StatusError, may_exist
from osc_imagetools.cloud.connection import _without_userinfo
from osc_imagetools.cloud.volume import get_volume
from osc_imagetools.tests.unit.base import COMPUTE, IMAGE, PROJECT, VOLUME, TestCase


class TestCloud(TestCase):
    def test_where_it_is_without_any_secret(self):
        origin = self.mocked_cloud().cloud.origin
        self.assertEqual(
            ("RegionOne", PROJECT, "demo"), (origin.region, origin.project_id, origin.project_name)
        )
        self.assertNotIn("secret", str(origin))
        self.assertEqual("http://h:5000/v3", _without_userinfo("http://user:secret@h:5000/v3"))

    def test_block_storage_is_there_or_not(self):
        self.assertTrue(self.mocked_cloud().cloud.has_block_storage)
        self.assertFalse(self.mocked_cloud(block_storage=False).cloud.has_block_storage)

    def test_under_its_older_names_too(self):
        for name in ("volumev3", "block-store"):
            self.assertTrue(self.mocked_cloud(block_storage=name).cloud.has_block_storage, name)


class TestRequests(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud(compute=True)
        self.cloud, self.http = self.mocked.cloud, self.mocked.http

    def test_every_page_of_a_list_whatever_the_name_of_its_link(self):
        more = [{"rel": "next", "href": "x"}]
        lists = {
            "volume_types": ("volume_type_links", f"{VOLUME}/types", "block-storage", "/types"),
            "volumes": ("volumes_links", f"{VOLUME}/volumes", "block-storage", "/volumes"),
            "servers": ("servers_links", f"{COMPUTE}/servers", "compute", "/servers"),
        }
        for key, (links, url, service, path) in lists.items():
            pages = [{"json": {key: [{"id": "1"}], links: more}}, {"json": {key: [{"id": "2"}]}}]
            self.http.get(url, pages)
            found = list(self.cloud.list(service, path, key, what="list"))
            self.assertEqual(["1", "2"], [document["id"] for document in found], key)
            assert self.http.last_request is not None
            self.assertEqual(["1"], self.http.last_request.qs["marker"])

    def test_a_link_back_is_none_to_more(self):
        back = [{"rel": "previous", "href": "x"}]
        self.http.get(f"{VOLUME}/volumes", json={"volumes": [{"id": "1"}], "volumes_links": back})
        self.assertEqual(1, len(list(self.cloud.list("block-storage", "/volumes", "volumes", what="list"))))

    def test_a_success_without_its_document_is_an_error_of_ours(self):
        url = f"{VOLUME}/volumes/v1"
        for text in (
            "",
            "<html><h1>Welcome</h1></html>",
            "null",
            "[]",
            "{}",
            '{"volume": 1}',
            '{"volume": {}}',
        ):
            self.http.get(url, text=text)
            error = self.assertRaises(BadAnswer, get_volume, self.cloud, "v1")
            self.assertEqual("cloud-error", error.reference)
            self.assertIn("volume v1", error.message)
            self.http.post(url, text=text, status_code=202)
            posted = functools.partial(
                self.cloud.post, "block-storage", "/volumes/v1", what="v1", key="volume"
            )
            if "{}}" not in text:
                self.assertTrue(may_exist(self.assertRaises(BadAnswer, posted)))
        for text in ("{}", '{"volumes": {}}', '{"volumes": [1]}'):
            self.http.get(f"{VOLUME}/volumes", text=text)
            listed = self.cloud.list("block-storage", "/volumes", "volumes", what="list")
            self.assertRaises(BadAnswer, list, listed)

    def test_what_a_library_says_is_put_into_a_clause(self):
        refused = NewConnectionError("pool", "x")  # type: ignore[arg-type]
        refused.__cause__ = ConnectionRefusedError(111, "Connection refused")
        for exc in (
            requests.ConnectionError(MaxRetryError("pool", "/", refused)),  # type: ignore[arg-type]
            requests.ConnectTimeout(),
        ):
            self.http.get(f"{VOLUME}/volumes/v1", exc=exc)
            error = self.assertRaises(NoAnswer, get_volume, self.cloud, "v1")
            self.assertRegex(error.message, "^volume v1: cannot connect to http://volume.test: [^:]*$")
            self.assertFalse(error.may_exist)

    def test_what_may_have_been_done(self):
        url = f"{VOLUME}/volumes"
        for status, there in (
            (400, False),
            (409, False),
            (429, False),
            (500, True),
            (502, True),
            (504, True),
        ):
            self.http.post(url, status_code=status)
            error = self.assertRaises(
                StatusError, self.cloud.post, "block-storage", "/volumes", what="volume", json={}
            )
            self.assertEqual((status, there), (error.status, error.may_exist))
        self.http.post(url, exc=requests.ReadTimeout)
        late = self.assertRaises(
            NoAnswer, self.cloud.post, "block-storage", "/volumes", what="volume", json={}
        )
        self.assertTrue(late.may_exist)

    def test_a_patch_whose_answer_got_lost_leaves_out_what_is_gone(self):
        self.cloud.retries.first_wait = 0.01
        url = f"{IMAGE}/v2/images/i1"
        self.http.patch(url, [{"status_code": 502}, {"json": {}}])
        self.http.get(url, json={"id": "i1", "a/b": "1"})
        changes = [
            {"op": "remove", "path": "/a~1b"},
            {"op": "remove", "path": "/gone"},
            {"op": "replace", "path": "/name", "value": "x"},
        ]
        self.cloud.patch_image("i1", changes, what="image i1")
        sent = [body for _, body in self.mocked.sent("PATCH")]
        self.assertEqual([changes, [changes[0], changes[2]]], sent)

    def test_what_a_policy_forbids_is_an_answer(self):
        self.http.get(f"{IMAGE}/v2/images", status_code=403)
        self.http.get(f"{VOLUME}/volumes", json={"volumes": []})
        self.cloud.reach("image", "block-storage", "network")
        self.http.get(f"{VOLUME}/volumes", status_code=503)
        self.assertRaises(StatusError, self.cloud.reach, "image", "block-storage")

    def test_the_login_is_refused(self):
        """Also to an application credential whose access rules lack the request: a login does not help."""
        self.http.get(f"{IMAGE}/v2/images", status_code=401)
        error = self.assertRaises(errors.Forbidden, self.cloud.get, "image", "/images", what="images")
        self.assertIn("openstack token issue", str(error.hint))
        self.assertIn("openstack access rule list", str(error.hint))

    def test_a_service_that_is_none(self):
        """Whatever the SDK makes of it, it is told as an error of ours."""
        self.http.get(f"{COMPUTE}", text="<html>")
        self.http.get("http://compute.test/", text="<html>")
        self.http.get(f"{COMPUTE}/servers", text="<html>")
        self.assertRaises(errors.CloudError, self.cloud.get, "compute", "/servers", what="servers")
