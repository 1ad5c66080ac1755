# SPDX-License-Identifier: Apache-2.0
"""Glance as clients saw it in the release Queens, whose newest version was 2.6: a WSGI wrapper.

What came after that is gone: the fields of ``FIELDS`` in what is read and in what may be sent, the
APIs of ``PATHS``, newer versions. A Glance of that time took an unknown word in a query, such as
``os_hidden``, for the name of a property to look for, and a property of an image had to be text.
"""

import io
import json
from urllib import parse

FIELDS = ("os_hash_algo", "os_hash_value", "os_hidden", "stores")
PATHS = ("/v2/info/stores", "/v2/info/usage", "/v2/cache", "/v2/queued_images")


def limit(app, newest):
    """Wrap Glance's application."""
    newest = _numbers(newest)

    def wrapper(environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith(PATHS):
            return _refuse(start_response, "404 Not Found", "404 Not Found")
        if path == "/v2/images" and method == "GET":
            environ["QUERY_STRING"] = _old_query(environ.get("QUERY_STRING", ""))
        if method in ("POST", "PATCH") and _has_json(environ):
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            refusal = _refusal(body)
            if refusal:
                return _refuse(start_response, *refusal)
        if path.endswith("/file"):
            return app(environ, start_response)
        return _answer(app, environ, start_response, newest)

    return wrapper


def old_document(document, newest):
    """A document of Glance's without what came later."""
    for field in FIELDS:
        document.pop(field, None)
    for image in document.get("images", ()):
        old_document(image, newest)
    if "versions" in document:
        document["versions"] = [
            version for version in document["versions"] if _numbers(version["id"][1:]) <= newest
        ]
        document["versions"][0]["status"] = "CURRENT"
    return document


def _numbers(version):
    return tuple(map(int, version.split(".")))


def _has_json(environ):
    return "json" in environ.get("CONTENT_TYPE", "") and environ.get("CONTENT_LENGTH")


def _old_query(query):
    """With another word that no Glance knows."""
    words = parse.parse_qsl(query, keep_blank_values=True)
    return parse.urlencode(
        [("unknown_os_hidden" if name == "os_hidden" else name, value) for name, value in words]
    )


def _refusal(body):
    """Status and text, if an image with ``os_hidden`` is to be made, or one is to be changed so."""
    try:
        sent = json.loads(body)
    except ValueError:
        return None
    if isinstance(sent, dict):
        sent = [{"op": "add", "path": f"/{name}", "value": value} for name, value in sent.items()]
    for change in sent:
        if change.get("path") != "/os_hidden":
            continue
        if change.get("op") == "replace":
            return "409 Conflict", "Property os_hidden does not exist."
        if not isinstance(change.get("value"), str):
            return (
                "400 Bad Request",
                f"Provided object does not match schema 'image': {change.get('value')!r} is not"
                " of type 'string'",
            )
    return None


def _refuse(start_response, status, text):
    body = text.encode()
    kind = ("Content-Type", "text/html; charset=UTF-8")
    start_response(status, [kind, ("Content-Length", str(len(body)))])
    return [body]


def _answer(app, environ, start_response, newest):
    """The application's answer, with the documents of old."""
    begun = {}

    def keep(status, headers, exc_info=None):
        begun.update(status=status, headers=headers)

    answer = app(environ, keep)
    try:
        body = b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    headers = begun["headers"]
    kind = {name.lower(): value for name, value in headers}.get("content-type", "")
    if "json" in kind and body:
        document = json.loads(body)
        if isinstance(document, dict):
            body = json.dumps(old_document(document, newest)).encode()
            headers = [pair for pair in headers if pair[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
    start_response(begun["status"], headers)
    return [body] if body else []
