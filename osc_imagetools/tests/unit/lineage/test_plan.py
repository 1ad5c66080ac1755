# SPDX-License-Identifier: Apache-2.0
import dataclasses

from osc_imagetools.lineage.inventory import Lineage, LineageResource, Link
from osc_imagetools.lineage.plan import CLONE, OLD_CLONE, lineage_rows
from osc_imagetools.tests.unit.base import TestCase


def resource(kind, identifier, *links, **changes):
    """A resource with origins: (relation, kind, ID)."""
    origins = tuple(Link(relation, (of, identifier)) for relation, of, identifier in links)
    return LineageResource(
        kind, identifier, f"name of {identifier}", "available", 1, None, origins, **changes
    )


# A server of two volumes, its image, and a server that was made from that.
FAMILY = (
    resource("image", "debian"),
    resource("volume", "root", ("copy", "image", "debian")),
    resource("volume", "data"),
    resource("server", "web", ("attachment", "volume", "root"), ("attachment", "volume", "data")),
    resource("snapshot", "root-snap", ("snapshot", "volume", "root")),
    resource("snapshot", "data-snap", ("snapshot", "volume", "data")),
    resource("image", "backup", ("mapping", "snapshot", "root-snap"), ("mapping", "snapshot", "data-snap")),
    resource("volume", "root2", ("copy", "snapshot", "root-snap")),
    resource("server", "web2", ("boot", "image", "backup"), ("attachment", "volume", "root2")),
    resource("volume", "stranger", ("copy", "image", "debian")),
)


class LineageCase(TestCase):
    def rows(self, kind, identifier, *more, family=FAMILY):
        resources = {r.key: r for r in (*family, *more)}
        return lineage_rows(Lineage((kind, identifier), resources))

    def tree(self, *args, **kwargs):
        """Each row as: two dots for each level, <- or ->, the ID; an asterisk where it is repeated."""
        signs = {"from": "<", "to": ">", None: ""}
        return [
            f"{'..' * r.depth}{signs[r.direction]}{r.resource.id}{'*' if r.repeated else ''}"
            for r in self.rows(*args, **kwargs)
        ]

    def by_id(self, *args, **kwargs):
        return {r.resource.id: r for r in reversed(self.rows(*args, **kwargs))}


class TestTree(LineageCase):
    def test_of_the_image_of_a_server(self):
        expected = [
            "backup",
            *("..<root-snap", "....<root", "......<debian", "......>web"),
            *("..<data-snap", "....<data", "......>web*"),
            "..>web2",
        ]
        self.assertEqual(expected, self.tree("image", "backup"))

    def test_of_a_server(self):
        expected = [
            "web",
            *("..<root", "....<debian", "....>root-snap", "......>backup", "........>web2", "......>root2"),
            "........>web2*",
            *("..<data", "....>data-snap", "......>backup*"),
        ]
        self.assertEqual(expected, self.tree("server", "web"))

    def test_siblings_are_not_of_the_lineage(self):
        self.assertNotIn("stranger", " ".join(self.tree("volume", "root")))
        self.assertIn("..>stranger", self.tree("image", "debian"))

    def test_the_branches(self):
        rows = self.rows("image", "backup")
        self.assertEqual((), rows[0].last)
        self.assertEqual((False, True, False), rows[3].last)
        self.assertEqual((True,), rows[-1].last)
        parents = [row.parent.id for row in rows[1:] if row.parent]
        expected = ["backup", "root-snap", "root", "root", "backup", "data-snap", "data", "backup"]
        self.assertEqual(expected, parents)

    def test_what_was_a_leaf_first_is_followed_later(self):
        family = (
            resource("volume", "v"),
            resource("image", "i", ("mapping", "volume", "v")),
            resource("server", "a", ("boot", "image", "i"), ("attachment", "volume", "v")),
            resource("image", "of-a", ("capture", "server", "a")),
        )
        self.assertEqual(["i", "..<v", "....>a", "..>a", "....>of-a"], self.tree("image", "i", family=family))

    def test_a_circle_ends(self):
        circle = (
            resource("image", "i", ("mapping", "volume", "v")),
            resource("volume", "v", ("copy", "volume", "w")),
            resource("volume", "w", ("copy", "image", "i")),
        )
        expected = ["i", "..<v", "....<w", "......<i*", "..>w", "....>v", "......>i*"]
        self.assertEqual(expected, self.tree("image", "i", family=circle))

    def test_a_second_origin_shows_only_without_the_first(self):
        links = (Link("copy", ("snapshot", "s")), Link("copy", ("image", "debian"), second=True))
        volume = dataclasses.replace(resource("volume", "v"), origins=links)
        there = resource("snapshot", "s")
        self.assertEqual(["v", "..<s"], self.tree("volume", "v", volume, there))
        gone = LineageResource("snapshot", "s", found=False)
        self.assertEqual(["v", "..<s", "..<debian"], self.tree("volume", "v", volume, gone))
        self.assertNotIn("..>v", self.tree("image", "debian", volume, there))
        self.assertIn("..>v", self.tree("image", "debian", volume, gone))


class TestBroken(LineageCase):
    def broken(self, *args):
        return {identifier for identifier, row in self.by_id(*args).items() if row.broken}

    def test_nothing(self):
        self.assertEqual(set(), self.broken("image", "backup"))

    def test_a_snapshot_that_is_gone_breaks_the_images_that_point_at_it(self):
        gone = LineageResource("snapshot", "data-snap", found=False)
        self.assertEqual({"backup", "data-snap"}, self.broken("image", "backup", gone))
        self.assertEqual({"backup"}, self.broken("server", "web", gone))
        self.assertEqual({"backup"}, self.broken("volume", "root", gone))

    def test_what_was_copied_stands_alone(self):
        gone = LineageResource("image", "debian", found=False)
        self.assertEqual({"debian"}, self.broken("volume", "root", gone))

    def test_failed(self):
        failed = dataclasses.replace(FAMILY[4], status="error")
        self.assertEqual({"backup", "root-snap"}, self.broken("image", "backup", failed))

    def test_a_volume_that_failed_takes_its_server_and_its_snapshots_along(self):
        failed = dataclasses.replace(FAMILY[1], status="error")
        self.assertEqual({"root", "web", "root-snap", "backup"}, self.broken("server", "web", failed))

    def test_not_known(self):
        unknown = (LineageResource("snapshot", i, found=None) for i in ("root-snap", "data-snap"))
        rows = self.by_id("image", "backup", *unknown)
        self.assertEqual((None, None, False), tuple(rows[i].broken for i in ("backup", "root-snap", "web2")))


class TestIfDeleted(LineageCase):
    def consequences(self, *args):
        return {i: str(row.if_deleted) for i, row in self.by_id(*args).items() if row.if_deleted}

    def test_a_snapshot(self):
        self.assertEqual(
            {"backup": "loses its data and can no longer be booted", "root2": OLD_CLONE},
            self.consequences("snapshot", "root-snap"),
        )

    def test_a_volume(self):
        consequences = self.consequences("volume", "root")
        self.assertEqual({"web", "root-snap", "backup"}, set(consequences))
        self.assertIn("prevents", consequences["web"])
        self.assertIn("prevents", consequences["root-snap"])
        self.assertIn("once its snapshot is deleted", consequences["backup"])

    def test_an_image(self):
        self.assertEqual(
            {"web2": "stays, but can no longer be rebuilt from the image"},
            self.consequences("image", "backup"),
        )

    def test_an_image_that_storage_may_have_cloned(self):
        self.assertEqual({}, self.consequences("image", "debian"))
        cloned = dataclasses.replace(FAMILY[0], cloned=True)
        self.assertEqual({"root": CLONE, "stranger": CLONE}, self.consequences("image", "debian", cloned))
        booted = dataclasses.replace(FAMILY[6], cloned=True)
        self.assertIn(CLONE, self.consequences("image", "backup", booted)["web2"])

    def test_a_server_takes_volumes_along(self):
        links = (
            Link("attachment", ("volume", "root"), delete_on_termination=True),
            Link("attachment", ("volume", "stranger"), delete_on_termination=True),
            Link("attachment", ("volume", "data")),
        )
        server = dataclasses.replace(FAMILY[3], origins=links)
        consequences = self.consequences("server", "web", server)
        self.assertEqual({"root", "stranger"}, set(consequences))
        self.assertIn("its snapshots prevent", consequences["root"])
        self.assertNotIn("prevent", consequences["stranger"])
