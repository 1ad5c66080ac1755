# SPDX-License-Identifier: Apache-2.0
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import RUN
from osc_imagetools.cloud.retries import RetryPhase
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import CreateVolume
from osc_imagetools.run import deadline
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.effects import block_storage, creation, removal, volumes
from osc_imagetools.run.effects.outcome import Results
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.base import (
    IMAGE,
    VOLUME,
    TestCase,
    image_document,
    snapshot_document,
    volume_document,
)


class TestEffects(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud()
        self.http = self.mocked.http
        self.context = RunContext.of(self.mocked.cloud, "test", None)
        self.patch(deadline, "FIRST_PAUSE", 0.001)
        self.http.get(f"{VOLUME}/messages", json={"messages": [{"user_message": "no room"}]})

    def states(self, path, key, document, *states):
        answers = [
            {"status_code": 404} if s is None else {"json": {key: {**document, "status": s}}} for s in states
        ]
        self.http.get(f"{VOLUME}{path}/{document['id']}", answers)

    def made_volume(self, *states):
        snapshot, volume = snapshot_document(), volume_document()
        self.states("/snapshots", "snapshot", snapshot, "creating", "available")
        self.states("/volumes", "volume", volume, *states)
        self.http.post(f"{VOLUME}/volumes", json={"volume": volume})
        return snapshot, volume

    def create_volume(self, snapshot, size, role):
        """A temporary volume of a snapshot, as the interpreter makes one."""
        source = Reference("snapshot", snapshot["id"], "snapshot")
        operation = CreateVolume(source, Reference("volume", None, role, temporary=True), size)
        return volumes.create_volume(self.context, operation, Results({})).resource

    def test_a_volume_is_marked_and_has_the_size_and_no_type(self):
        snapshot, volume = self.made_volume("creating", "available")
        made = self.create_volume(snapshot, 2 * GIB, "volume of 0-vda")
        self.assertEqual(volume["id"], made.id)
        ((_, body),) = self.mocked.sent("POST")
        sent = body["volume"]
        self.assertEqual((snapshot["id"], 2), (sent["snapshot_id"], sent["size"]))
        self.assertEqual(self.context.run.id, sent["metadata"][RUN])
        self.assertTrue(sent["name"].startswith(f"osc-imagetools-{self.context.run.id}-"))
        self.assertNotIn("volume_type", sent)

    def test_a_volume_that_fails_says_what_the_cloud_says_and_is_pending(self):
        snapshot, _ = self.made_volume("creating", "error")
        error = self.assertRaises(errors.CloudError, self.create_volume, snapshot, GIB, "v")
        self.assertIn("no room", str(error))
        self.assertEqual(1, len(self.context.cleanup.pending()))

    def test_an_answer_that_got_lost_is_found_by_name_and_mark(self):
        snapshot, volume = self.made_volume("available", "available", "deleting", None)
        self.http.post(f"{VOLUME}/volumes", status_code=502)
        foreign = volume_document(metadata={})
        ours = {**volume, "metadata": self.context.run.marks()}
        self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": [foreign, ours]})
        made = self.create_volume(snapshot, GIB, "v")
        self.assertEqual((volume["id"], False), (made.id, made.may_exist))
        self.assertEqual(1, len(self.mocked.sent("POST")))
        self.http.delete(f"{VOLUME}/volumes/{volume['id']}", status_code=202)
        self.assertEqual((), self.context.cleanup.unwind())
        self.assertEqual([f"/v3/volumes/{volume['id']}"], [path for path, _ in self.mocked.sent("DELETE")])

    def test_a_success_that_does_not_say_what_was_made_is_searched_for(self):
        snapshot, volume = self.made_volume("available")
        ours = {**volume, "metadata": self.context.run.marks()}
        self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": [ours]})
        for answer in ("<html>Welcome</html>", "{}", '{"volume": {"x": 1}}'):
            self.http.post(f"{VOLUME}/volumes", status_code=202, text=answer)
            made = self.create_volume(snapshot, GIB, "v")
            self.assertEqual(volume["id"], made.id, answer)

    def test_what_nothing_came_of_is_sent_again_and_what_comes_later_is_removed(self):
        snapshot, volume = self.made_volume("available")
        self.patch(creation, "LATEST", 0.01)
        self.patch(creation, "PAUSE", 0.01)
        self.context.cloud.retries.first_wait = 0.01
        answers: list[dict[str, Any]] = [{"status_code": 502}, {"json": {"volume": volume}}]
        self.http.post(f"{VOLUME}/volumes", answers)
        self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": []})
        made = self.create_volume(snapshot, GIB, "v")
        self.assertEqual((volume["id"], 2), (made.id, len(self.mocked.sent("POST"))))
        assert made.entry is not None
        made.entry.keep()
        late = volume_document(metadata=self.context.run.marks())
        both = {"volumes": [{**volume, "metadata": self.context.run.marks()}, late]}
        self.http.get(f"{VOLUME}/volumes/detail", json=both)
        self.states("/volumes", "volume", late, "available", "deleting", None)
        self.http.delete(f"{VOLUME}/volumes/{late['id']}", status_code=202)
        self.assertEqual((), self.context.cleanup.unwind())
        self.assertEqual([f"/v3/volumes/{late['id']}"], [path for path, _ in self.mocked.sent("DELETE")])

    def test_an_answer_that_got_lost_and_nothing_that_appears_is_told(self):
        snapshot, _ = self.made_volume("available")
        self.http.post(f"{VOLUME}/volumes", status_code=504)
        self.patch(removal, "LATEST", 0.01)
        self.patch(creation, "LATEST", 0.01)
        self.context.cloud.retries.limits = dict.fromkeys(RetryPhase, 0.0)
        self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": []})
        self.assertRaises(errors.CloudError, self.create_volume, snapshot, GIB, "v")
        (left,) = self.context.cleanup.unwind()
        self.assertIn("may still appear", left)

    def test_what_was_refused_is_not_told_as_left_behind(self):
        """Not even where the removal would be refused too: a token that is not accepted any more."""
        made = self.context.register("image", "osc-i", removal.remove_image, identifier="i1")
        self.http.post(f"{IMAGE}/v2/images", status_code=401)
        self.http.delete(f"{IMAGE}/v2/images/i1", status_code=401)

        def send():
            return self.context.cloud.post("image", "/images", what="image", json={})["id"]

        self.assertRaises(errors.Forbidden, creation.create, self.context, made, send)
        self.assertEqual("", self.context.cleanup.last_words())
        self.assertEqual((), self.context.cleanup.unwind())
        self.assertEqual([()], [run.pending for run in journaled_runs()])

    def test_a_refusal_leaves_nothing_to_look_for(self):
        snapshot, _ = self.made_volume("available")
        self.http.post(f"{VOLUME}/volumes", status_code=413)
        self.assertRaises(errors.CloudError, self.create_volume, snapshot, GIB, "v")
        self.assertEqual((), self.context.cleanup.unwind())

    def test_what_is_kept_loses_our_mark_everywhere(self):
        """What it hands on to snapshots and servers has no mark from the beginning."""
        volume = volume_document(volume_image_metadata={"os_distro": "x", **self.context.run.marks()})
        self.states("/volumes", "volume", volume, "creating", "available")
        self.http.post(f"{VOLUME}/volumes", json={"volume": volume})
        self.http.post(f"{VOLUME}/volumes/{volume['id']}/action", status_code=200)
        made = block_storage.make_volume(self.context, GIB, {"imageRef": "i1"}, role="root", name="root")
        unset = [body for path, body in self.mocked.sent("POST") if path.endswith("action")]
        keys = {body["os-unset_image_metadata"]["key"] for body in unset}
        self.assertEqual(set(self.context.run.marks()), keys)
        self.http.put(f"{VOLUME}/volumes/{volume['id']}", json={})
        self.http.put(f"{VOLUME}/volumes/{volume['id']}/metadata", json={})
        block_storage.unmark(self.context, made, description="d", metadata={"a": "1"})
        self.assertIn({"metadata": {"a": "1"}}, [body for _, body in self.mocked.sent("PUT")])

    def test_a_volume_that_got_a_new_user_after_its_upload_is_waited_for_no_longer(self):
        volume = volume_document()
        self.states("/volumes", "volume", volume, "uploading", "in-use")
        image = {"os-volume_upload_image": {"image_id": "i1"}}
        self.http.post(f"{VOLUME}/volumes/{volume['id']}/action", json=image)
        self.http.patch(f"{IMAGE}/v2/images/i1", json={})
        self.http.get(f"{IMAGE}/v2/images/i1", json=image_document(id="i1"))
        made = block_storage.upload_volume(self.context, volume["id"], "raw", "image", temporary=False)
        self.assertEqual("i1", made.id)

    def test_what_a_server_holds_is_not_waited_for_without_end(self):
        snapshot, volume = self.made_volume("available", "in-use")
        made = self.create_volume(snapshot, GIB, "v")
        message = "Volume status must be available or error"
        self.http.delete(
            f"{VOLUME}/volumes/{volume['id']}",
            status_code=400,
            json={"badRequest": {"message": message}},
        )
        self.patch(removal, "AT_REST", 0.01)
        (left,) = self.context.cleanup.unwind()
        self.assertIn(message, left)
        self.assertIn(str(made.id), left)

    def test_a_volume_goes_as_soon_as_its_state_allows_it(self):
        snapshot, volume = self.made_volume(
            "available", "uploading", "uploading", "available", "deleting", None
        )
        made = self.create_volume(snapshot, GIB, "v")
        refusals = [{"status_code": 400}, {"status_code": 400}, {"status_code": 202}]
        self.http.delete(f"{VOLUME}/volumes/{volume['id']}", refusals)
        assert made.entry is not None
        made.entry.run()
        self.assertEqual(3, len(self.mocked.sent("DELETE")))
        self.assertEqual((), self.context.cleanup.pending())

    def test_a_volume_that_cannot_be_deleted_is_left_and_told(self):
        snapshot, volume = self.made_volume("available", "available", "error_deleting")
        self.create_volume(snapshot, GIB, "v")
        self.http.delete(f"{VOLUME}/volumes/{volume['id']}", status_code=202)
        (left,) = self.context.cleanup.unwind()
        self.assertIn("error_deleting", left)

    def test_a_deletion_that_is_put_off_is_told_and_not_asked_for_for_ever(self):
        """RBD gives a snapshot back that a volume depends on."""
        snapshot = snapshot_document()
        self.states("/snapshots", "snapshot", snapshot, "available", "available", "deleting", "available")
        self.http.post(f"{VOLUME}/snapshots", json={"snapshot": snapshot})
        block_storage.create_snapshot(self.context, "v1", "s")
        self.http.delete(f"{VOLUME}/snapshots/{snapshot['id']}", status_code=202)
        (left,) = self.context.cleanup.unwind()
        self.assertIn("available again", left)
        self.assertEqual(1, len(self.mocked.sent("DELETE")))

    def upload(self, *image_answers):
        volume, image = volume_document(), image_document()
        self.states("/volumes", "volume", volume, "uploading", "available")
        self.http.post(
            f"{VOLUME}/volumes/{volume['id']}/action",
            json={"os-volume_upload_image": {"image_id": image["id"]}},
        )
        self.http.get(
            f"{IMAGE}/v2/images/{image['id']}",
            [{"status_code": 404} if s is None else {"json": {**image, "status": s}} for s in image_answers],
        )
        return volume, image

    def test_an_image_has_our_mark_from_its_first_moment(self):
        volume, image = self.upload("queued", "saving", "active")
        made = block_storage.upload_volume(self.context, volume["id"], "qcow2", "image of 0-vda")
        self.assertEqual(image["id"], made.id)
        (_, mark), (_, upload) = self.mocked.sent("POST")
        self.assertEqual(self.context.run.id, mark["os-set_image_metadata"]["metadata"][RUN])
        sent = upload["os-volume_upload_image"]
        self.assertEqual(
            ("qcow2", "private", False), (sent["disk_format"], sent["visibility"], sent["force"])
        )

    def test_a_volume_of_the_user_gets_no_mark_but_its_image_does(self):
        volume, image = self.upload("queued", "active")
        self.http.patch(f"{IMAGE}/v2/images/{image['id']}", json={})
        block_storage.upload_volume(self.context, volume["id"], "qcow2", "image web01", temporary=False)
        ((_, upload),) = self.mocked.sent("POST")
        self.assertIn(self.context.run.id, upload["os-volume_upload_image"]["image_name"])
        ((_, changes),) = self.mocked.sent("PATCH")
        self.assertIn({"op": "add", "path": f"/{RUN}", "value": self.context.run.id}, changes)

    def test_an_image_whose_answer_got_lost_is_found_by_its_name(self):
        volume, image = self.upload("active", "active", None)
        self.http.post(f"{VOLUME}/volumes/{volume['id']}/action", status_code=504)
        self.http.patch(f"{IMAGE}/v2/images/{image['id']}", json={})
        name = self.context.run.name("image web01")
        found = {"images": [{**image, "name": name}]}
        self.http.get(f"{IMAGE}/v2/images?name={name}", json=found)
        words = (self.context, volume["id"], "qcow2", "image web01")
        made = block_storage.upload_volume(*words, temporary=False)
        self.assertEqual(image["id"], made.id)
        self.http.delete(f"{IMAGE}/v2/images/{image['id']}", status_code=204)
        self.http.get(f"{IMAGE}/v2/images/{image['id']}", status_code=404)
        self.assertEqual((), self.context.cleanup.unwind())
        self.assertEqual([f"/v2/images/{image['id']}"], [path for path, _ in self.mocked.sent("DELETE")])

    def test_a_failed_upload_shows_as_an_image_that_is_gone(self):
        volume, _ = self.upload("queued", "saving", None)
        error = self.assertRaises(
            errors.CloudError, block_storage.upload_volume, self.context, volume["id"], "raw", "i"
        )
        self.assertIn("is gone", str(error))
        self.assertIn("no room", str(error))

    def test_a_snapshot_is_forced_and_marked(self):
        snapshot = snapshot_document()
        self.states("/snapshots", "snapshot", snapshot, "available")
        self.http.post(f"{VOLUME}/snapshots", json={"snapshot": snapshot})
        block_storage.create_snapshot(self.context, "v1", "snapshot of 0-vda")
        ((_, body),) = self.mocked.sent("POST")
        self.assertIs(True, body["snapshot"]["force"])
        self.assertEqual(self.context.run.id, body["snapshot"]["metadata"][RUN])
