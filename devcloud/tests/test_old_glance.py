# SPDX-License-Identifier: Apache-2.0
"""The Glance of old: what came later is neither told nor taken, all else passes."""

import io
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "services"))

import old_glance  # noqa: E402

IMAGE = {"id": "some", "os_hidden": False, "os_hash_value": "ff", "stores": "file", "name": "disk"}
OLD_IMAGE = {"id": "some", "name": "disk"}
VERSIONS = [
    {"id": "v2.18", "status": "CURRENT"},
    {"id": "v2.6", "status": "SUPPORTED"},
    {"id": "v2.5", "status": "SUPPORTED"},
]


class Glance:
    """An application that answers one document, and keeps what it was asked."""

    def __init__(self, document, kind="application/json"):
        self.body = json.dumps(document).encode()
        self.kind = kind
        self.asked = None

    def __call__(self, environ, start_response):
        self.asked = environ
        length = str(len(self.body))
        start_response("200 OK", [("Content-Type", self.kind), ("Content-Length", length)])
        return [self.body]


class OldGlanceTest(unittest.TestCase):
    def ask(self, app, method, path, query="", sent=None):
        """Status, length as it is told, and body."""
        body = b"" if sent is None else json.dumps(sent).encode()
        begun = {}
        answer = old_glance.limit(app, "2.6")(
            {
                "REQUEST_METHOD": method,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": "application/json" if body else "",
                "CONTENT_LENGTH": str(len(body)) if body else "",
                "wsgi.input": io.BytesIO(body),
            },
            lambda status, headers, exc_info=None: begun.update(
                status=status[:3], length=int(dict(headers)["Content-Length"])
            ),
        )
        found = b"".join(answer)
        self.assertEqual(len(found), begun["length"])
        return begun["status"], found

    def test_an_image_is_told_without_later_fields(self):
        _, body = self.ask(Glance(IMAGE), "GET", "/v2/images/some")
        self.assertEqual(OLD_IMAGE, json.loads(body))
        _, body = self.ask(Glance({"images": [IMAGE, IMAGE]}), "GET", "/v2/images")
        self.assertEqual({"images": [OLD_IMAGE, OLD_IMAGE]}, json.loads(body))

    def test_versions_end_with_the_limit(self):
        _, body = self.ask(Glance({"versions": VERSIONS}), "GET", "/")
        self.assertEqual(
            [("v2.6", "CURRENT"), ("v2.5", "SUPPORTED")],
            [(found["id"], found["status"]) for found in json.loads(body)["versions"]],
        )

    def test_data_is_not_looked_into(self):
        app = Glance(IMAGE)
        _, body = self.ask(app, "GET", "/v2/images/some/file")
        self.assertEqual(app.body, body)

    def test_later_apis_are_not_there(self):
        for path in ("/v2/info/stores", "/v2/info/usage", "/v2/cache"):
            app = Glance({})
            self.assertEqual("404", self.ask(app, "GET", path)[0])
            self.assertIsNone(app.asked)

    def test_what_is_hidden_is_no_word_of_a_query(self):
        app = Glance({"images": []})
        self.ask(app, "GET", "/v2/images", "name=disk&os_hidden=true")
        self.assertEqual("name=disk&unknown_os_hidden=true", app.asked["QUERY_STRING"])

    def test_an_image_cannot_be_hidden(self):
        app = Glance(IMAGE)
        replace = [{"op": "replace", "path": "/os_hidden", "value": True}]
        self.assertEqual("409", self.ask(app, "PATCH", "/v2/images/some", sent=replace)[0])
        self.assertEqual("400", self.ask(app, "POST", "/v2/images", sent={"os_hidden": True})[0])
        self.assertIsNone(app.asked)

    def test_what_is_sent_otherwise_arrives(self):
        app = Glance(IMAGE)
        self.assertEqual("200", self.ask(app, "POST", "/v2/images", sent={"name": "disk"})[0])
        self.assertEqual({"name": "disk"}, json.load(app.asked["wsgi.input"]))


if __name__ == "__main__":
    unittest.main()
