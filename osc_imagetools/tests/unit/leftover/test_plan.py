# SPDX-License-Identifier: Apache-2.0
from hypothesis import given, settings
from hypothesis import strategies as st

from osc_imagetools.leftover.inventory import Leftover
from osc_imagetools.leftover.plan import may_remove, removal_order, removal_steps
from osc_imagetools.tests.unit.base import TestCase


def left(kind, identifier, *parents, alive=False, run="r1"):
    return Leftover(kind, identifier, "", "", run, None, frozenset(parents), alive)


class TestOrder(TestCase):
    def order(self, *resources):
        return [f"{r.kind} {r.id}" for r in removal_order(resources)]

    def test_what_depends_comes_first(self):
        resources = (
            left("snapshot", "s", "user-volume"),
            left("volume", "v", "s"),
            left("snapshot", "s2", "v"),
            left("image", "i"),
            left("server", "m", "v"),
            left("port", "p"),
            left("stopped-server", "u"),
        )
        expected = [
            "stopped-server u",
            "server m",
            "port p",
            "image i",
            "snapshot s2",
            "volume v",
            "snapshot s",
        ]
        self.assertEqual(expected, self.order(*resources))
        self.assertEqual(expected, self.order(*reversed(resources)))

    def test_a_volume_before_the_image_that_it_was_made_from(self):
        """It may be a clone; an image that was made from a volume goes first all the same."""
        resources = (left("image", "i"), left("volume", "v", "i"), left("image", "j"), left("volume", "w"))
        expected = ["image j", "volume v", "image i", "volume w"]
        self.assertEqual(expected, self.order(*resources))
        self.assertEqual(expected, self.order(*reversed(resources)))

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
    @settings(max_examples=50, deadline=None)
    def test_no_parent_before_its_child(self, pairs):
        resources = [
            left("volume", str(n), *(str(b) for a, b in pairs if a == n and b < a)) for n in range(10)
        ]
        places = {r.id: place for place, r in enumerate(removal_order(resources))}
        for resource in resources:
            for parent in resource.parents:
                self.assertLess(places[resource.id], places[parent])

    def test_a_circle_does_not_hang(self):
        self.assertEqual(2, len(self.order(left("volume", "a", "b"), left("volume", "b", "a"))))

    def test_only_of_runs_that_are_over(self):
        for alive, runs, expected in (
            (False, [], True),
            (True, [], False),
            (None, [], False),
            (None, ["r1"], True),
            (None, ["r2"], False),
        ):
            self.assertEqual(expected, may_remove(left("image", "i", alive=alive), runs))

    def test_the_steps(self):
        steps = removal_steps([left("image", "i"), left("stopped-server", "u")])
        self.assertEqual(["start server", "delete image"], [s.action for s in steps])
        self.assertEqual([False, True], [s.temporary for s in steps])
