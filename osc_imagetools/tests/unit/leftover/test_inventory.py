# SPDX-License-Identifier: Apache-2.0
import dataclasses
import pathlib

import fixtures

from osc_imagetools.leftover.execute import removal_summary, remove_leftovers
from osc_imagetools.leftover.inventory import leftover_inventory
from osc_imagetools.progress.model import Progress
from osc_imagetools.run import identity
from osc_imagetools.run.context import location_of
from osc_imagetools.run.identity import Run
from osc_imagetools.run.journal import Journal, RunLocation
from osc_imagetools.tests.unit.base import (
    IMAGE,
    VOLUME,
    TestCase,
    image_document,
    snapshot_document,
    volume_document,
)
from osc_imagetools.tests.unit.progress.test_progress import Notes

DEAD = f"{identity._machine()}.999999999.1"
FAR = "0123456789ab.1.1"


class TestLeftover(TestCase):
    def setUp(self):
        super().setUp()
        mocked = self.mocked_cloud()
        self.cloud, self.http = mocked.cloud, mocked.http
        self.have()

    def have(self, volumes=(), snapshots=(), images=()):
        self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": list(volumes)})
        self.http.get(f"{VOLUME}/snapshots/detail", json={"snapshots": list(snapshots)})
        self.http.get(f"{IMAGE}/v2/images", json={"images": list(images)})

    def found(self):
        return {r.id: r.alive for r in leftover_inventory(self.cloud).resources}

    def test_from_the_marks(self):
        dead, far = Run("test", process=DEAD), Run("test", process=FAR)
        volume = volume_document(metadata=dead.marks())
        image = image_document(name=far.name("image"), **far.marks())
        tagged = image_document(name=dead.name("image"), tags=dead.tags())
        self.have([volume, volume_document()], [snapshot_document()], [image, tagged])
        self.assertEqual({volume["id"]: False, image["id"]: None, tagged["id"]: False}, self.found())

    def test_an_image_that_was_never_marked_is_found_by_its_name(self):
        """Cinder gives the image of a user's volume our name, and the mark comes later."""
        run = Run("test", process=DEAD)
        image = image_document(name=run.name("image"))
        others = [image_document(name=f"of {image['name']}"), image_document(name="osc-imagetools-x")]
        self.have(images=[image, *others])
        self.assertEqual({image["id"]: None}, self.found())

    def test_a_service_that_is_out_hides_nothing_of_the_others(self):
        run = Run("test", process=DEAD)
        image = image_document(name=run.name("image"), tags=run.tags())
        self.have(images=[image])
        for failure in ({"status_code": 403}, {"status_code": 503}, {"text": "<html>"}):
            for path in ("volumes", "snapshots"):
                self.http.get(f"{VOLUME}/{path}/detail", **failure)
            found = leftover_inventory(self.cloud)
            self.assertEqual([image["id"]], [r.id for r in found.resources])
            (told,) = found.unread
            self.assertIn("list of volumes", told)

    def test_marks_that_an_image_has_inherited_are_not_its_own(self):
        """As Nova and Cinder copy the properties of an image to all that is made of it."""
        run = Run("test", process=DEAD)
        images = [
            image_document(name="web01-backup", **run.marks()),
            image_document(name=None, **run.marks()),
            image_document(name=Run("other").name("image"), tags=run.tags()),
        ]
        self.have(images=images)
        self.assertEqual({}, self.found())

    def test_what_an_administrator_sees_of_other_projects_is_theirs(self):
        run = Run("test", process=DEAD)
        self.have(images=[image_document(name=run.name("image"), owner="p2", **run.marks())])
        self.assertEqual({}, self.found())

    def test_a_directory_of_temporary_files(self):
        """It has the size of a disk, and nothing but the journal knows of it."""
        run, place = Run("test", process=DEAD), pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        ours, gone, other = (place / n for n in (".osc-imagetools-1-2", ".osc-imagetools-3", "other"))
        for folder in (ours, other):
            folder.mkdir()
            (folder / "disk").write_bytes(b"x" * 8192)
        journal = Journal(run, location_of(self.cloud))
        for folder in (ours, gone, other):
            journal.make("directory", str(folder), None)
        (found,) = leftover_inventory(self.cloud).resources
        self.assertEqual(("directory", str(ours), "8192 bytes"), (found.kind, found.id, found.status))
        notes = Notes()
        (done,) = remove_leftovers(
            self.cloud, leftover_inventory(self.cloud), [found], timeout=None, progress=Progress(notes)
        )
        self.assertEqual(("deleted", False), (done.result, done.failed))
        self.assertEqual(
            [("1 of 1", f"delete directory {ours.name}")], [(s.line, s.name) for s in notes.steps]
        )
        self.assertEqual("Removed 1 resource in 9 s.", removal_summary([done], 9.0))
        stuck = dataclasses.replace(done, failed=True)
        self.assertEqual("Removed 1 of 2 resources in 9 s.", removal_summary([done, stuck], 9.0))
        self.assertEqual([other], list(place.iterdir()))
        self.assertEqual((), leftover_inventory(self.cloud).journals)

    def test_a_run_that_lives_has_nothing_left_over(self):
        run = Run("test")
        self.have([volume_document(metadata=run.marks())])
        self.assertEqual({}, self.found())
        self.assertEqual((run.id,), leftover_inventory(self.cloud).living)

    def test_a_snapshot_that_nova_made_has_the_name_alone(self):
        run = Run("test", process=DEAD)
        ours = snapshot_document(name=f"snapshot for {run.name('image of web01')}")
        self.have(snapshots=[ours, snapshot_document(name="snapshot for web01")])
        self.assertEqual({ours["id"]: None}, self.found())
        Journal(run, location_of(self.cloud)).make("snapshot", ours["name"], None)
        self.assertEqual({ours["id"]: False}, self.found())

    def test_a_name_alone_makes_no_volume_ours(self):
        self.have([volume_document(name=Run("test").name("volume"))])
        self.assertEqual({}, self.found())

    def test_what_lost_its_mark_is_known_from_the_journal(self):
        run, volume, gone = Run("test", process=DEAD), volume_document(), volume_document()
        journal = Journal(run, location_of(self.cloud))
        for document in (volume, gone):
            journal.make("volume", "v", document["id"])
        self.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
        self.http.get(f"{VOLUME}/volumes/{gone['id']}", status_code=404)
        self.assertEqual({volume["id"]: False}, self.found())

    def test_of_another_project_it_is_told_only(self):
        Journal(Run("test", process=DEAD), RunLocation("http://x", "R", "p")).make("volume", "v", "v1")
        found = leftover_inventory(self.cloud)
        self.assertEqual(((), ()), (found.resources, found.journals))
        self.assertEqual(["p"], [run.place.project_id for run in found.elsewhere])
