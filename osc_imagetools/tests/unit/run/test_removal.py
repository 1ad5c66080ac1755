# SPDX-License-Identifier: Apache-2.0
import threading

from osc_imagetools.run import deadline
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects.removal import remove_snapshot
from osc_imagetools.tests.unit.base import VOLUME, TestCase, snapshot_document


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
