# SPDX-License-Identifier: Apache-2.0
"""What interrupted runs have left: listed, confirmed, deleted in order, and told where it is not."""

from __future__ import annotations

import io
import sys
from typing import Any

from osc_imagetools.cloud.ownership import STOPPED
from osc_imagetools.run import identity
from osc_imagetools.run.effects import removal
from osc_imagetools.run.identity import Run
from osc_imagetools.run.journal import Journal, RunLocation, journaled_runs
from osc_imagetools.tests.unit.base import AUTH, COMPUTE, IMAGE, PROJECT, VOLUME
from osc_imagetools.tests.unit.served import ServedCase, each

DEAD = f"{identity._machine()}.999999999.1"
FAR = "0123456789ab.1.1"
HERE = RunLocation(AUTH, "RegionOne", PROJECT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class LeftoverCase(ServedCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_id = Run("test", process=DEAD)

    def leave(self, run: Run | None = None) -> dict[str, dict[str, Any]]:
        """One of each kind, as a killed run leaves them."""
        run = run or self.run_id
        served = self.served
        image = served.add_image(name=run.name("image"), **run.marks())
        user = served.add_volume(name="data01", status="in-use")
        snapshot = served.add_snapshot(user, name=run.name("snapshot"), metadata=run.marks())
        volume = served.add_volume(name=run.name("volume"), metadata=run.marks(), snapshot_id=snapshot["id"])
        attached = [{"id": volume["id"], "delete_on_termination": False}]
        server = served.add_server(
            name="web01", description=f"{run.name('server')} {run.process}",
            **{"os-extended-volumes:volumes_attached": attached},
        )  # fmt: skip
        port = served.add_port(name=run.name("port"), description=run.process, status="DOWN")
        return {"image": image, "snapshot": snapshot, "volume": volume, "server": server, "port": port}

    def stopped(self, status: str = "SHUTOFF", **changes: Any) -> dict[str, Any]:
        """A server of the user's that a killed run has stopped."""
        mark = {STOPPED: f"{self.run_id.id} {DEAD}"}
        return self.served.add_server(name="db01", status=status, metadata=mark, **changes)

    def results(self, *words: str, code: int = 0) -> dict[str, str]:
        """What became of each resource, by its ID."""
        rows = self.rows("leftover", "delete", "--yes", *words, code=code)
        return {row["ID"]: row["Result"] for row in rows}


class TestList(LeftoverCase):
    def test_nothing(self) -> None:
        self.served.add_image(b"x")
        self.assertEqual([], self.rows("leftover", "list"))

    def test_each_kind(self) -> None:
        left = self.leave()
        server = self.stopped()
        rows = self.rows("leftover", "list")
        self.assertEqual({self.run_id.id}, {row["Run"] for row in rows})
        self.assertEqual(
            {(kind, document["id"]) for kind, document in left.items()} | {("stopped-server", server["id"])},
            {(row["Type"], row["ID"]) for row in rows},
        )

    def test_what_could_not_be_read_may_be_more(self) -> None:
        left = self.leave()
        self.http.get(f"{VOLUME}/volumes/detail", status_code=403, json={"forbidden": {"message": "no"}})
        code, out, err = self.run_openstack("leftover", "list", "-f", "value", "-c", "ID")
        self.assertEqual(1, code)
        self.assertIn("There may be more: list of volumes", err)
        self.assertIn(left["image"]["id"], out)

    def test_runs_that_are_active_and_runs_elsewhere(self) -> None:
        alive = Run("image export-full x")
        self.served.add_image(name=alive.name("image"), **alive.marks())
        far = Run("volume export-full y", process=DEAD)
        Journal(far, RunLocation("http://other.test", "R2", "p2")).make("volume", "v", "v1")
        code, out, err = self.run_openstack("leftover", "list", "-f", "value")
        self.assertEqual((0, ""), (code, out.strip()))
        self.assertIn(f"Resources of active runs are not listed: {alive.id}", err)
        self.assertIn(
            f"Run {far.id} (volume export-full y) may have left resources in project p2 at http://other.test,"
            " region R2: log in there to list them",
            err,
        )

    def test_without_block_storage(self) -> None:
        self.serve(block_storage=False)
        image = self.served.add_image(name=self.run_id.name("image"), **self.run_id.marks())
        code, out, err = self.run_openstack("leftover", "list", "-f", "value", "-c", "ID")
        self.assertEqual((0, image["id"]), (code, out.strip()))
        self.assertIn("has no block storage: volumes and snapshots are not searched", err)


class TestDelete(LeftoverCase):
    def test_in_the_order_in_which_it_hangs_together(self) -> None:
        left = self.leave()
        self.stopped()
        results = self.results()
        self.assertEqual({"deleted", "started"}, set(results.values()))
        self.assertEqual({document["id"] for document in left.values()}, results.keys() & {
            document["id"] for document in left.values()})  # fmt: skip
        kinds = [k for k in self.served.kinds() if k.startswith(("DELETE", "POST"))]
        self.assertEqual(
            ["POST servers action os-start", f"DELETE servers metadata {STOPPED}", "DELETE servers",
             "DELETE ports", "DELETE images", "DELETE volumes", "DELETE snapshots"], kinds)  # fmt: skip
        self.assertEqual([], self.rows("leftover", "list"))

    def test_dry_run(self) -> None:
        self.leave()
        steps = self.rows("leftover", "delete", "--dry-run")
        self.assertEqual(
            ["delete server", "delete port", "delete image", "delete volume", "delete snapshot"],
            [step["Action"] for step in steps],
        )
        self.assertEqual([], self.served.changes())

    def test_a_run_that_may_be_active_elsewhere_is_named_or_spared(self) -> None:
        far = Run("test", process=FAR)
        image = self.served.add_image(name=far.name("image"), **far.marks())
        self.assertEqual(
            {
                image[
                    "id"
                ]: f"skipped: the run may still be active elsewhere; if it has ended, use --run {far.id}"
            },
            self.results(),
        )
        self.assertEqual([], self.served.changes())
        self.assertEqual({image["id"]: "deleted"}, self.results("--run", far.id))

    def test_of_one_run_alone(self) -> None:
        other = Run("other", process=DEAD)
        mine = self.served.add_image(name=self.run_id.name("image"), **self.run_id.marks())
        spared = self.served.add_image(name=other.name("image"), **other.marks())
        self.assertEqual({mine["id"]: "deleted"}, self.results("--run", self.run_id.id))
        self.assertEqual([spared["id"]], list(self.served.images))

    def test_a_failure_does_not_stop_the_rest_and_keeps_the_journal(self) -> None:
        left = self.leave()
        Journal(self.run_id, HERE).make("image", "i", left["image"]["id"])
        self.http.delete(each(f"{IMAGE}/v2", "images"), status_code=403, json={"message": "locked"})
        self.http.patch(each(f"{IMAGE}/v2", "images"), status_code=403, json={"message": "locked"})
        results = self.results(code=1)
        self.assertTrue(results[left["image"]["id"]].startswith("failed: "))
        self.assertIn("locked", results[left["image"]["id"]])
        self.assertEqual({"deleted"}, {r for i, r in results.items() if i != left["image"]["id"]})
        self.assertEqual([self.run_id.id], [run.run.id for run in journaled_runs()])

    def test_a_server_that_cannot_be_read_afterwards_does_not_stop_the_rest(self) -> None:
        server, left = self.stopped(), self.leave()

        def started(request: Any, context: Any) -> Any:
            self.http.get(f"{COMPUTE}/servers/{server['id']}", status_code=403)
            context.status_code = 202
            return {}

        metadata = f"{COMPUTE}/servers/{server['id']}/metadata/{STOPPED}"
        self.http.delete(metadata, json=started)
        results = self.results(code=1)
        self.assertTrue(results[server["id"]].startswith("failed: "), results)
        self.assertEqual({"deleted"}, {results[document["id"]] for document in left.values()})

    def test_the_journal_goes_with_the_last_of_its_run(self) -> None:
        left = self.leave()
        Journal(self.run_id, HERE).make("image", "i", left["image"]["id"])
        self.results()
        self.assertEqual([], journaled_runs())

    def test_a_journal_stays_while_something_could_not_be_read(self) -> None:
        left = self.leave()
        Journal(self.run_id, HERE).make("image", "i", left["image"]["id"])
        self.http.get(f"{COMPUTE}/servers/detail", status_code=403)
        results = self.results(code=1)
        self.assertEqual("deleted", results[left["image"]["id"]])
        self.assertEqual(1, len(journaled_runs()))

    def test_a_protected_image_loses_that_first(self) -> None:
        image = self.served.add_image(name=self.run_id.name("image"), protected=True, **self.run_id.marks())

        def delete(request: Any, context: Any) -> Any:
            context.status_code = 403 if image["protected"] else 204
            if not image["protected"]:
                self.served.images.clear()
            return {}

        self.http.delete(f"{IMAGE}/v2/images/{image['id']}", json=delete)
        self.assertEqual({image["id"]: "deleted"}, self.results())
        self.assertEqual(["DELETE images", "PATCH images", "DELETE images"], self.served.kinds())

    def test_a_server_that_is_soft_deleted_goes_at_once(self) -> None:
        description = f"{self.run_id.name('server')} {DEAD}"
        server = self.served.add_server(status="SOFT_DELETED", description=description)

        def act(request: Any, context: Any) -> Any:
            self.served.servers.clear()
            context.status_code = 202
            return {}

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        self.assertEqual({server["id"]: "deleted"}, self.results())
        self.assertEqual(["POST servers action forceDelete"], self.served.kinds())

    def test_a_server_is_waited_for_while_it_goes(self) -> None:
        description = f"{self.run_id.name('server')} {DEAD}"
        server = self.served.add_server(description=description)
        going = {**server, "OS-EXT-STS:task_state": "deleting"}
        answers: list[dict[str, Any]] = [
            *({"json": {"server": s}} for s in (server, going, going, {**going, "status": "DELETED"})),
        ]
        self.http.get(f"{COMPUTE}/servers/{server['id']}", answers)
        self.assertEqual({server["id"]: "deleted"}, self.results())
        self.assertEqual(["DELETE servers"], self.served.kinds())

    def test_a_server_that_runs_again_only_loses_the_mark(self) -> None:
        server = self.stopped("ACTIVE")
        self.assertEqual({server["id"]: "the mark was removed: it ran already"}, self.results())
        self.assertEqual(
            ([f"DELETE servers metadata {STOPPED}"], {}), (self.served.kinds(), server["metadata"])
        )

    def test_a_server_that_is_stopping_still_is_waited_for(self) -> None:
        server = self.stopped()
        busy = {**server, "OS-EXT-STS:task_state": "powering-off"}
        answers: list[dict[str, Any]] = [
            {"json": {"server": s}} for s in (busy, server, server, {**server, "status": "ACTIVE"})
        ]
        self.http.get(f"{COMPUTE}/servers/{server['id']}", answers)
        self.assertEqual({server["id"]: "started"}, self.results())
        self.assertEqual(1, self.served.kinds().count("POST servers action os-start"))

    def test_a_server_that_does_not_start(self) -> None:
        server = self.stopped(fault={"message": "no valid host"})
        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", status_code=202)
        results = self.results(code=1)
        self.assertIn(f"server {server['id']} does not start: no valid host", results[server["id"]])
        starts = self.served.kinds().count("POST servers action os-start")
        self.assertEqual((removal.MOST_STARTS, True), (starts, STOPPED in server["metadata"]))

    def test_a_server_that_is_locked(self) -> None:
        server = self.stopped(locked=True)
        refusal = {"conflictingRequest": {"message": "is locked"}}
        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", status_code=409, json=refusal)
        self.assertIn("is locked", self.results(code=1)[server["id"]])

    def test_a_server_that_somebody_has_deleted_meanwhile(self) -> None:
        server = self.stopped()
        self.http.get(f"{COMPUTE}/servers/{server['id']}", status_code=404)
        self.http.delete(each(COMPUTE, f"servers/{server['id']}/metadata"), status_code=404)
        self.assertEqual({server["id"]: "started"}, self.results())


class TestConfirmation(LeftoverCase):
    def answered(self, text: str) -> Any:
        self.patch_stdin(Terminal(text))
        return self.run_openstack("leftover", "delete", "-f", "value", "-c", "Result")

    def patch_stdin(self, stream: io.StringIO) -> None:
        self.patch(sys, "stdin", stream)

    def test_without_a_terminal(self) -> None:
        self.leave()
        self.patch_stdin(io.StringIO("y\n"))
        err = self.fails("leftover", "delete", "--run", self.run_id.id, code=2)
        self.assertIn("5 resources would be deleted: stdin is not a terminal, so --yes is required", err)
        self.assertIn(f"openstack leftover delete --yes --run {self.run_id.id}", err)
        self.assertEqual([], self.served.changes())

    def test_no(self) -> None:
        left = self.leave()
        for answer in ("n\n", "\n", ""):
            code, out, err = self.answered(answer)
            self.assertEqual((1, ""), (code, out))
            self.assertIn("Delete these 5 resources? [y/N]", err)
            self.assertIn("nothing was deleted", err)
            for document in left.values():
                self.assertIn(document["id"], err)
        self.assertEqual([], self.served.changes())

    def test_yes(self) -> None:
        self.leave()
        code, out, _ = self.answered("YES\n")
        self.assertEqual((0, ["deleted"] * 5), (code, out.split()))
