# SPDX-License-Identifier: Apache-2.0
import threading
from typing import Any
from unittest import mock

from osc_imagetools.cloud.ownership import STOPPED
from osc_imagetools.run import deadline
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects import removal
from osc_imagetools.run.effects.removal import remove_snapshot, start_server
from osc_imagetools.run.effects.servers import stop_server
from osc_imagetools.tests.unit.base import (
    COMPUTE,
    VOLUME,
    TestCase,
    server_document,
    snapshot_document,
)


class TestSnapshots(TestCase):
    def test_one_at_a_time(self):
        """The second is asked for only when the first is gone, whoever asks."""
        mocked = self.mocked_cloud()
        context = RunContext.of(mocked.cloud, "test", None)
        self.patch(deadline, "FIRST_PAUSE", 0.001)
        documents = [snapshot_document(), snapshot_document()]
        events = []

        def answer(document):
            state = {"asked": 0, "deleted": False}

            def get(request, context):
                state["asked"] += state["deleted"]
                if state["asked"] > 3:
                    events.append(f"gone {document['id']}")
                    context.status_code = 404
                    return {}
                return {"snapshot": {**document, "status": "deleting" if state["deleted"] else "available"}}

            def delete(request, context):
                state["deleted"] = True
                events.append(f"deleted {document['id']}")
                context.status_code = 202
                return {}

            mocked.http.get(f"{VOLUME}/snapshots/{document['id']}", json=get)
            mocked.http.delete(f"{VOLUME}/snapshots/{document['id']}", json=delete)

        for document in documents:
            answer(document)
        threads = [
            threading.Thread(
                target=remove_snapshot, args=(context, CreatedResource("snapshot", "s", id=d["id"]))
            )
            for d in documents
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first = events[0].split()[1]
        (second,) = {d["id"] for d in documents} - {first}
        self.assertEqual([f"{w} {i}" for i in (first, second) for w in ("deleted", "gone")], events)


class TestStoppedServer(TestCase):
    """A server that an export has stopped: it runs again, unless its user wants it otherwise."""

    def setUp(self):
        super().setUp()
        self.patch(deadline, "FIRST_PAUSE", 0.001)
        self.patch(removal, "SETTLE", 0.002)
        self.mocked = self.mocked_cloud(compute=True)
        self.context = RunContext.of(self.mocked.cloud, "test", None)
        self.server: dict[str, Any] = server_document(id="s1", metadata={})
        self.actions = [("start", "req-before"), ("create", "req-first")]
        self.done: list[str] = []
        url = f"{COMPUTE}/servers/s1"
        self.mocked.http.get(url, json=lambda request, context: {"server": self.server})
        self.mocked.http.post(f"{url}/action", json=self.act)
        self.mocked.http.post(f"{url}/metadata", json=self.note)
        self.mocked.http.delete(f"{url}/metadata/{STOPPED}", json=self.forget)
        self.mocked.http.get(f"{url}/os-instance-actions", json=self.history)

    def act(self, request, context):
        context.status_code = 202
        (action,) = request.json()
        self.user({"os-start": "start", "os-stop": "stop"}[action], f"req-{len(self.actions)}")
        self.done.append(action)
        return {}

    def user(self, action, request_id):
        """Somebody starts or stops the server."""
        self.server["status"] = {"start": "ACTIVE", "stop": "SHUTOFF"}[action]
        self.actions.insert(0, (action, request_id))

    def note(self, request, context):
        self.server["metadata"].update(request.json()["metadata"])
        return {"metadata": self.server["metadata"]}

    def forget(self, request, context):
        context.status_code = 204
        del self.server["metadata"][STOPPED]
        return {}

    def history(self, request, context):
        return {"instanceActions": [{"action": a, "request_id": r} for a, r in self.actions]}

    def stopped(self):
        made = stop_server(self.context, "s1")
        mark = f"{self.context.run.id} {self.context.run.process} req-2"
        self.assertEqual({STOPPED: mark}, self.server["metadata"])
        return made

    def ends(self, made, status, *done):
        start_server(self.context, made)
        self.assertEqual((status, {}), (self.server["status"], self.server["metadata"]))
        self.assertEqual(["os-stop", *done], self.done)

    def test_it_is_started_again(self):
        self.ends(self.stopped(), "ACTIVE", "os-start")

    def test_not_before_nova_knows_in_which_file_a_volume_is_after_its_snapshot(self):
        made, waits = self.stopped(), []

        def wait(seconds):
            waits.append((seconds, *self.done))
            return False

        with mock.patch.object(self.context.cleanup_deadline.cancelled, "wait", wait):
            self.ends(made, "ACTIVE", "os-start")
        self.assertIn((removal.SETTLE, "os-stop"), waits)
        self.assertNotIn((removal.SETTLE, "os-stop", "os-start"), waits)

    def test_its_user_starts_it_while_it_waits(self):
        made = self.stopped()

        def wait(seconds):
            if seconds == removal.SETTLE:
                self.user("start", "req-user")
            return False

        with mock.patch.object(self.context.cleanup_deadline.cancelled, "wait", wait):
            self.ends(made, "ACTIVE")

    def test_its_user_has_started_it(self):
        made = self.stopped()
        self.user("start", "req-user")
        self.ends(made, "ACTIVE")

    def test_its_user_has_started_and_stopped_it(self):
        made = self.stopped()
        self.user("start", "req-user")
        self.user("stop", "req-user-too")
        self.ends(made, "SHUTOFF")

    def test_one_that_is_locked_meanwhile_keeps_its_first_mark(self):
        self.mocked.http.post(
            f"{COMPUTE}/servers/s1/metadata", [{"json": self.note}, {"status_code": 409, "json": {}}]
        )
        made = stop_server(self.context, "s1")
        self.ends(made, "ACTIVE", "os-start")

    def test_where_the_cloud_tells_no_actions(self):
        self.mocked.http.get(f"{COMPUTE}/servers/s1/os-instance-actions", status_code=403, json={})
        made = stop_server(self.context, "s1")
        self.assertEqual(2, len(self.server["metadata"][STOPPED].split()))
        self.ends(made, "ACTIVE", "os-start")
