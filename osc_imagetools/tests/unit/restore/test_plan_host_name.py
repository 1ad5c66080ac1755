# SPDX-License-Identifier: Apache-2.0
import testtools

from osc_imagetools.restore.plan_host_name import derived, host_name, server_name
from osc_imagetools.restore.plan_server_options import ImportNotes


class TestHostName(testtools.TestCase):
    def asked(self, hostname, version="2.100", *, name="web01", renamed=False):
        self.found = ImportNotes()
        return host_name({"hostname": hostname}, name, renamed, version, self.found)

    def test_what_nova_makes_of_the_name_is_not_asked_for(self):
        """What it shows it would refuse: letters outside ASCII."""
        for name, host in (
            ("web01", "web01"),
            ("wéb-server 1", "wéb-server-1"),
            ("Web_01.example.org", "web-01-example-org"),
            ("-.lead", "lead"),
            ("名前x", "x"),
            ("a" * 255, "a" * 63),
            ("a/b:c", "abc"),
        ):
            self.assertEqual(host, derived(name))
            self.assertIsNone(self.asked(host, name=name))
            self.assertEqual([], self.found.lost)

    def test_one_of_a_server_whose_name_has_no_letter_for_it(self):
        self.assertIsNone(self.asked("Server-9f30a159-1550-43dd-b262-87f4e3a5f7ff", name="名前"))
        self.assertEqual([], self.found.lost)

    def test_what_each_cloud_takes(self):
        for host, before, between, since in (
            ("db-1", False, True, True),
            ("x", False, False, True),
            ("db.example.org", False, False, True),
            ("-db", False, False, True),
            ("wéb", False, False, False),
            ("a" * 64, False, False, True),
            ("a" * 256, False, False, False),
        ):
            for versions, taken in (
                ((None, "2.89"), before),
                (("2.90", "2.93"), between),
                (("2.94", "2.100"), since),
            ):
                for version in versions:
                    self.assertEqual(host if taken else None, self.asked(host, version), f"{host} {version}")
                    self.assertEqual(
                        [] if taken else [f"host name {host}"], [e.what for e in self.found.lost]
                    )

    def test_a_server_of_another_name_gets_its_own(self):
        self.assertIsNone(self.asked("db-1", renamed=True))
        self.assertEqual([], self.found.lost)


class TestServerName(testtools.TestCase):
    def test_what_nova_takes(self):
        for original, name in (("  web 01 ", "web 01"), (" ", "server"), ("x" * 300, "x" * 255)):
            found = ImportNotes()
            self.assertEqual(name, server_name({"name": original}, None, found))
            self.assertEqual([f"name {original!r} -> {name!r}"], found.mapped)
        for original in ("-web", ".web", "wéb", "名前", "a:b", "x" * 255):
            found = ImportNotes()
            self.assertEqual(original, server_name({"name": original}, None, found))
            self.assertEqual([], found.mapped)
        self.assertEqual("copy", server_name({"name": " x"}, "copy", ImportNotes()))
