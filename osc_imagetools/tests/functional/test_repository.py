# SPDX-License-Identifier: Apache-2.0
"""Bundles in restic repositories: there and back, kept by rules, and whole whatever is cut off."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import fixtures
import openstack
import testtools

from osc_imagetools.bundle.keep_rules import Candidate, KeepRules, Span, decide
from osc_imagetools.bundle.records import BOOTED, RESTORE_CHECK, BundleRecord, read_records, write_record
from osc_imagetools.bundle.repository import bundle_writer
from osc_imagetools.bundle.repository.address import LOGIN, repository_address
from osc_imagetools.bundle.repository.catalog import find_bundle
from osc_imagetools.bundle.repository.reader import open_file
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.stored_records import stored_records
from osc_imagetools.restore.bundle_place import RepositoryPlace
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.certificates import Authority
from osc_imagetools.tests.functional.cloud_proxy import CloudProxy
from osc_imagetools.tests.functional.processes import descendants
from osc_imagetools.tests.functional.repository import (
    PASSWORD,
    RepositoryCase,
    SshServer,
    processes,
    restics,
    until,
)
from osc_imagetools.tests.unit.bundle import samples

SEED = int(os.environ.get("OSC_IMAGETOOLS_SEED", "1"))
KILLS = int(os.environ.get("OSC_IMAGETOOLS_KILLS", "4"))
OTHER_ID = "8a2e1b7c-0000-4000-8000-000000000002"

PROOF = BundleRecord(RESTORE_CHECK, "2026-02-01T03:04:05Z", BOOTED, {"seconds": 12})


class ThereAndBack(RepositoryCase):
    def test_copy_list_show_verify_and_back(self) -> None:
        bundle = self.make_bundle()
        told = self.copy_in(bundle)
        size = 24000 + 200 * 1024
        self.assertEqual((2, size, 0), (told["disks"], told["bytes"], told["bytes_reused"]))
        (row,) = self.rows("bundle", "list", "--long")
        self.assertEqual(
            (told["bundle"], "complete", "image", "web01", size, samples.IMAGE_ID),
            tuple(row[key] for key in ("Bundle", "State", "Kind", "Name", "Size", "ID")),
        )
        for text in (told["bundle"], told["bundle"][:8], "web01", samples.IMAGE_ID):
            shown = self.in_repository("bundle", "show", text, "-f", "json").json
            self.assertEqual(
                (told["bundle"], True, size), (shown["bundle"], shown["complete"], shown["bytes"])
            )
        here = self.openstack("bundle", "verify", bundle, "-f", "json", cloud=None).json
        self.assertEqual(here, self.rows("bundle", "verify", "web01"))
        output = self.dir / "back"
        self.in_repository("bundle", "copy", "web01", "--output", output)
        self.same_files(bundle, output)
        self.sums_hold(output)
        self.openstack("bundle", "verify", output, cloud=None)
        self.no_locks()
        self.restic("check", "--read-data")

    def test_restic_alone_brings_the_directory_back(self) -> None:
        """By the very lines of the guide."""
        bundle = self.make_bundle("original.bundle")
        told = self.copy_in(bundle)
        other = self.make_bundle("other.bundle", subject=OTHER_ID)
        self.copy_in(other)
        guide = (base.ROOT / "doc" / "source" / "user" / "repository.rst").read_text()
        lines = re.findall(
            r"^   [$>] (.*)", guide.partition("proves itself:\n")[2].partition("\n\nDo")[0], re.M
        )
        self.assertIn("sha512sum -c SHA512SUMS", lines)
        script = "\n".join(("set -e", *lines)).replace("<ID>", told["bundle"])
        script = script.replace("sftp:backup@host:/bundles", self.url)
        environment = {**os.environ, "RESTIC_PASSWORD_FILE": str(self.password)}
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.dir, env=environment, capture_output=True, text=True
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn("disks/1-vdb.qcow2: OK", done.stdout)
        output = self.dir / "web01.bundle"
        self.same_files(bundle, output)
        self.sums_hold(output)

    def test_a_relative_path(self) -> None:
        bundle = self.make_bundle()
        before = pathlib.Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.dir)
        words = ("--repository", pathlib.Path(self.url).name, "--password-file", self.password.name)
        self.openstack("bundle", "copy", bundle.name, *words, cloud=None)
        self.openstack("bundle", "verify", "web01", *words, cloud=None)

    def test_tags(self) -> None:
        told = self.copy_in(self.make_bundle())
        common = {"osc-imagetools", f"bundle={told['bundle']}", "kind=image", f"subject={samples.IMAGE_ID}"}
        found = sorted((set(s["tags"]) - common, len(set(s["tags"]) & common)) for s in self.snapshots())
        self.assertEqual([(set(), 4), (set(), 4), ({"complete"}, 4)], sorted(found, key=lambda f: len(f[0])))

    def test_a_second_copy_of_the_same_data_stores_next_to_nothing(self) -> None:
        first = self.copy_in(self.make_bundle("a", mebibytes=8))
        again = self.make_bundle("b", mebibytes=8)
        for file in ("disks/0-vda.raw", "disks/1-vdb.raw"):
            (again / file).write_bytes((self.dir / "a" / file).read_bytes())
        document = {**samples.load(self.dir / "a"), "created_at": "2026-01-09T00:00:00Z"}
        samples.reseal(again, document)
        second = self.copy_in(again)
        self.assertNotEqual(first["bundle"], second["bundle"])
        self.assertGreater(first["bytes_added"], 16 * base.MIB - 1)
        self.assertLess(second["bytes_added"], 100_000)

    def test_twice(self) -> None:
        bundle = self.make_bundle()
        self.copy_in(bundle)
        before = self.snapshots()
        result = self.in_repository("bundle", "copy", bundle, code=1)
        self.assertIn("[output-exists]", result.err)
        self.assertEqual(before, self.snapshots())

    def test_dry_runs_have_no_effect(self) -> None:
        bundle = self.make_bundle()
        steps = self.rows("bundle", "copy", bundle, "--dry-run")
        self.assertEqual(["copy disk", "copy disk", "complete bundle"], [step["Action"] for step in steps])
        self.assertEqual([], self.snapshots())
        self.copy_in(bundle)
        self.rows("bundle", "copy", "web01", "--output", self.dir / "back", "--dry-run")
        self.assertFalse((self.dir / "back").exists())

    def test_the_default_of_the_environment(self) -> None:
        bundle = self.make_bundle()
        self.useFixture(fixtures.EnvironmentVariable("OSC_IMAGETOOLS_REPOSITORY", self.url))
        self.useFixture(fixtures.EnvironmentVariable("RESTIC_PASSWORD", PASSWORD))
        self.openstack("bundle", "copy", bundle, cloud=None)
        self.assertEqual(1, len(self.openstack("bundle", "list", "-f", "json", cloud=None).json))
        self.assertEqual(1, len(self.openstack("bundle", "list", self.dir, "-f", "json", cloud=None).json))
        shown = self.openstack("bundle", "show", "web01", "-f", "json", cloud=None).json
        self.assertIn("bundle", shown)
        self.assertNotIn("bundle", self.openstack("bundle", "show", bundle, "-f", "json", cloud=None).json)

    def test_the_newest_and_the_newest_before(self) -> None:
        ids = [self.copy_in(self.make_bundle(f"b{day}", day=day))["bundle"] for day in (3, 1, 2)]

        def shown(*words: str) -> str:
            return str(self.in_repository("bundle", "show", "web01", *words, "-f", "json").json["bundle"])

        self.assertEqual(ids[0], shown())
        self.assertEqual(ids[2], shown("--at", "2026-01-03"))
        self.assertEqual(ids[1], shown("--at", "2026-01-01T03:04:05Z"))
        self.in_repository("bundle", "show", "web01", "--at", "2026-01-01", code=1)

    def test_a_name_of_two_resources(self) -> None:
        self.copy_in(self.make_bundle("a"))
        self.copy_in(self.make_bundle("b", subject=OTHER_ID))
        error = self.in_repository("bundle", "show", "web01", code=1).err
        self.assertIn("[resource-ambiguous]", error)
        self.assertIn(OTHER_ID, error)
        self.in_repository("bundle", "show", OTHER_ID)


class Backends(RepositoryCase):
    def round_trip(self, url: str, *words: Any) -> None:
        bundle = self.make_bundle()
        self.in_repository("bundle", "copy", bundle, *words, url=url)
        verified = self.in_repository("bundle", "verify", "web01", *words, "-f", "json", url=url).json
        self.assertEqual({"ok"}, {row["Result"] for row in verified})
        self.in_repository("bundle", "copy", "web01", "--output", self.dir / "back", *words, url=url)
        self.same_files(bundle, self.dir / "back")
        self.in_repository("bundle", "forget", "--keep-last", "1", "--prune", *words, url=url)

    def test_sftp(self) -> None:
        server = self.useFixture(SshServer(self.dir / "ssh"))
        self.round_trip(self.new_repository(server.url(self.dir / "over-ssh")))

    def object_store(self) -> None:
        """Swift is not in every cloud that these tests run on."""
        session: Any = self.connection().session
        access = session.auth.get_access(session)
        services = {entry["type"] for entry in access.service_catalog.catalog}
        if "object-store" not in services:
            raise testtools.TestCase.skipException("this cloud has no object store")

    def test_swift_with_the_password_of_a_cloud(self) -> None:
        self.object_store()
        self.swift("devcloud-demo")

    def test_swift_with_an_application_credential(self) -> None:
        self.object_store()
        connection: Any = self.connection("devcloud-demo")
        user = connection.current_user_id
        made = connection.identity.create_application_credential(user, self.name)
        self.addCleanup(connection.identity.delete_application_credential, user, made.id)
        config = openstack.config.OpenStackConfig()
        clouds = config.cloud_config["clouds"]
        login = {
            "auth_url": connection.config.config["auth"]["auth_url"],
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }
        more = {"auth_type": "v3applicationcredential", "auth": login, "region_name": "RegionOne"}
        path = self.dir / "clouds.yaml"
        path.write_text(json.dumps({"clouds": {**clouds, "backup": more}}))  # which is YAML too
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(path)))
        self.swift("backup")

    def swift(self, cloud: str) -> None:
        """There and back; restic has the login in its environment alone."""
        auth = self.connection(cloud).config.config["auth"]
        login = {LOGIN[key]: str(auth[key]) for key in LOGIN if auth.get(key)}
        url = self.new_repository(f"swift:{self.name}:/", **login, OS_REGION_NAME="RegionOne")
        self.addCleanup(self.remove_container, "devcloud-demo")
        secret = auth.get("password") or auth["application_credential_secret"]
        seen: set[tuple[str, str]] = set()
        over = threading.Event()
        watcher = threading.Thread(target=self.watch_restics, args=(seen, over), daemon=True)
        watcher.start()
        try:
            self.round_trip(url, "--repository-cloud", cloud)
        finally:
            over.set()
            watcher.join()
        self.assertGreater(len(seen), 3)
        for line, environment in seen:
            for private in (secret, PASSWORD, url):
                self.assertNotIn(private, line)
            self.assertIn(f"={secret}\0", environment)

    def watch_restics(self, seen: set[tuple[str, str]], over: threading.Event) -> None:
        """The command lines and environments of all processes of restic."""
        while not over.wait(0.02):
            for child in descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    place = pathlib.Path(f"/proc/{child}")
                    line, environment = ((place / name).read_text() for name in ("cmdline", "environ"))
                    if self.name in environment and line.partition("\0")[0].endswith("restic"):
                        seen.add((line, environment))

    def test_s3(self) -> None:
        """Over TLS, as S3 is used: over plain HTTP restic signs each piece of what it stores, which Swift
        checks only where Keystone gives it the secrets of users.
        """
        self.object_store()
        connection = self.connection("devcloud-demo")
        project, user = connection.current_project_id, connection.current_user_id
        credential = connection.identity.post(
            f"/users/{user}/credentials/OS-EC2", json={"tenant_id": project}
        )
        self.assertEqual(201, credential.status_code, credential.text)
        key = credential.json()["credential"]
        path = f"/users/{user}/credentials/OS-EC2/{key['access']}"
        self.addCleanup(lambda: connection.identity.delete(path))
        authority = Authority(self.dir)
        services = self.useFixture(CloudProxy(self.dir, tls=authority.server_context()))
        endpoint = services.rewritten(str(connection.object_store.get_endpoint())).split("/v1/")[0]
        for name, value in (
            ("AWS_ACCESS_KEY_ID", key["access"]),
            ("AWS_SECRET_ACCESS_KEY", key["secret"]),
            ("SSL_CERT_FILE", str(authority.path)),
        ):
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        self.addCleanup(self.remove_container, "devcloud-demo")
        self.round_trip(self.new_repository(f"s3:{endpoint}/{self.name}"))

    def remove_container(self, cloud: str) -> None:
        store = self.connection(cloud).object_store
        for item in list(store.objects(self.name)):
            store.delete_object(item, container=self.name)
        store.delete_container(self.name, ignore_missing=True)


class Refusals(RepositoryCase):
    """Each a clear error."""

    def error(self, reference: str, *words: Any, code: int = 1, **more: Any) -> str:
        error = self.in_repository(*words, code=code, **more).err
        self.assertIn(f"[{reference}]", error)
        self.assertNotIn(PASSWORD, error)
        return error

    def test_no_repository(self) -> None:
        url = str(self.dir / "nothing")
        self.assertIn("restic -r", self.error("repository-absent", "bundle", "list", url=url))
        self.error("repository-absent", "bundle", "copy", self.make_bundle(), url=url)
        self.assertFalse(pathlib.Path(url).exists())

    def test_no_secret_in_a_log(self) -> None:
        with fixtures.EnvironmentVariable("RESTIC_PASSWORD", PASSWORD):
            words = ("--debug", "bundle", "copy", self.make_bundle(), "--repository", self.url)
            result = self.openstack(*words, cloud=None)
            self.assertIn("bundle copy", result.err)
            self.assertNotIn(PASSWORD, result.err + result.out)

    def test_another_password(self) -> None:
        self.password.write_text("another")
        self.error("repository-password", "bundle", "list")
        self.error("repository-password", "bundle", "copy", self.make_bundle())

    def test_no_restic(self) -> None:
        with fixtures.EnvironmentVariable("PATH", str(self.dir)):
            process = self.started("bundle", "list")
            _, error = process.communicate()
        self.assertEqual(1, process.returncode)
        self.assertIn("[restic-absent]", error)

    def test_an_old_restic(self) -> None:
        programs = self.dir / "bin"
        programs.mkdir()
        (programs / "restic").write_text("#!/bin/sh\necho restic 0.13.1 compiled with go1.18\n")
        (programs / "restic").chmod(0o755)
        with fixtures.EnvironmentVariable("PATH", f"{programs}:{os.environ['PATH']}"):
            process = self.started("bundle", "list")
            _, error = process.communicate()
        self.assertEqual(1, process.returncode)
        self.assertIn("[restic-too-old]", error)
        self.assertIn("0.13.1", error)

    def test_wrong_bytes(self) -> None:
        bundle = self.make_bundle(mebibytes=8)
        with (bundle / "disks" / "1-vdb.raw").open("r+b") as file:
            file.seek(5 * base.MIB)
            file.write(b"wrong")
        self.assertIn("disks/1-vdb.raw", self.error("bundle-refused", "bundle", "copy", bundle))
        self.assertNotIn(["/disks/1-vdb.raw"], [s["paths"] for s in self.snapshots()])
        self.no_locks()
        self.restic("check")

    def test_a_bundle_that_is_not_whole(self) -> None:
        bundle = self.make_bundle()
        (bundle / "disks" / "more").write_text("x")
        self.error("bundle-refused", "bundle", "copy", bundle)
        (bundle / "disks" / "more").unlink()
        (bundle / "manifest.json").unlink()
        self.error("bundle-refused", "bundle", "copy", bundle)
        self.assertEqual([], self.snapshots())

    def test_no_room(self) -> None:
        small = self.dir / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(small)], check=True)
        url = self.new_repository(str(small / "repository"))
        self.error("repository-full", "bundle", "copy", self.make_bundle(mebibytes=16), url=url)
        self.restic("check", url=url)

    def test_a_backend_that_is_cut_off(self) -> None:
        server = self.useFixture(SshServer(self.dir / "ssh"))
        path = self.dir / "over-ssh"
        url = self.new_repository(server.url(path))
        bundle = self.make_bundle(mebibytes=64)
        process = self.started("bundle", "copy", bundle, url=url)
        until(lambda: stored(path) > 20 * base.MIB)
        server.stop()
        _, error = process.communicate()
        self.assertEqual(1, process.returncode, error)
        self.assertIn("[repository-failed]", error)
        self.assertNotIn("Traceback", error)
        # The lock of what died stays, and is not in the way of going on; restic checks the rest.
        self.in_repository("bundle", "copy", bundle, url=str(path))
        self.in_repository("bundle", "forget", "--keep-last", "1", "--prune", url=str(path))
        self.restic("check", "--read-data", url=str(path))

    def test_locks_of_another_machine(self) -> None:
        """They are named and left alone, although their process on this machine is dead."""
        self.copy_in(self.make_bundle())
        bundle = self.make_bundle("another", day=3)
        self.useFixture(fixtures.MonkeyPatch(f"{bundle_writer.__name__}.LOCK_PATIENCE", 1))
        for words, refused in (
            (("backup", "--stdin"), ("bundle", "forget", "--keep-last", "1", "--prune")),
            (("check", "--read-data", "--limit-download", "1"), ("bundle", "copy", bundle)),
        ):
            self.elsewhere(*words)
            locks = self.restic("list", "locks", "--no-lock")
            self.assertEqual(1, len(locks.split()))
            error = self.error("repository-locked", *refused)
            self.assertRegex(error, r"by PID \d+ on elsewhere")
            self.assertIn(f"restic -r {self.url} unlock", error)
            self.assertEqual(locks, self.restic("list", "locks", "--no-lock"))
            if words[0] == "check":  # an exclusive one is in the way of readers as well
                self.error("repository-locked", "bundle", "verify", "web01")
            self.restic("unlock", "--remove-all")
        self.assertEqual(1, len(self.rows("bundle", "list")))

    def elsewhere(self, *words: str) -> None:
        """restic on a machine of another name, killed when it has its lock."""
        command = ["restic", "-r", self.url, "--password-file", str(self.password), *words]
        program = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh", *command]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            until(lambda: self.restic("list", "locks", "--no-lock"))
            process.kill()

    def test_nothing_secret_is_on_a_command_line(self) -> None:
        bundle = self.make_bundle(mebibytes=48)
        process = self.started("bundle", "copy", bundle)
        seen: set[str] = set()
        while process.poll() is None:
            for child in list(descendants(process.pid)):
                try:
                    seen.add(pathlib.Path(f"/proc/{child}/cmdline").read_text())
                except (FileNotFoundError, ProcessLookupError):
                    continue
            time.sleep(0.02)
        lines = [line for line in seen if "restic" in line.split("\0")[0] or "guard" in line]
        self.assertGreater(len(lines), 2)
        for line in lines:
            self.assertNotIn(self.url, line)
            self.assertNotIn(str(self.password), line)


class Hostile(RepositoryCase):
    """The manifest of a repository is trusted no more than any other."""

    def store(self, manifest: Any, *tags: str, disks: bool = True) -> str:
        """Stores what claims to be a bundle, with restic alone."""
        bundle = self.make_bundle(f"forged-{random.randrange(1 << 32)}")
        if manifest is not None:
            samples.reseal(bundle, manifest)
        identifier = "8a2e1b7c-0000-4000-8000-00000000000f"
        common = f"osc-imagetools,bundle={identifier},kind=image,subject={samples.IMAGE_ID}"
        for file in (bundle / "disks").iterdir() if disks else ():
            words = ("backup", "-q", "--tag", common, "--stdin", "--stdin-filename", f"disks/{file.name}")
            command = ["restic", "-r", self.url, "--password-file", str(self.password), *words]
            subprocess.run(command, input=file.read_bytes(), check=True)
        last = ("backup", "-q", "--tag", ",".join((common, "complete", *tags)), ".")
        command = ["restic", "-r", self.url, "--password-file", str(self.password), *last]
        subprocess.run(command, cwd=bundle, check=True)
        return identifier

    def manifest(self, **changes: Any) -> dict[str, Any]:  # type: ignore[override]
        path = self.make_bundle("honest")
        document = {**samples.load(path), "bundle_id": "8a2e1b7c-0000-4000-8000-00000000000f", **changes}
        return document

    def refused(self, identifier: str) -> None:
        states = {row["State"] for row in self.rows("bundle", "list")}
        self.assertEqual({"broken"}, states)
        self.in_repository("bundle", "show", identifier, code=1)
        result = self.in_repository("bundle", "verify", identifier, "-f", "json", code=3)
        self.assertNotEqual({"ok"}, {row["Result"] for row in result.json})
        self.in_repository("bundle", "copy", identifier, "--output", self.dir / "out", code=1)
        self.assertFalse((self.dir / "out").exists())

    def test_broken_json(self) -> None:
        self.refused(self.store(b'{"a": 1, "a": 2}'))

    def test_a_path_that_leaves_the_bundle(self) -> None:
        document = self.manifest()
        document["disks"][0]["file"] = "disks/../../etc/passwd"
        self.refused(self.store(document))

    def test_the_manifest_of_another(self) -> None:
        self.refused(self.store(self.manifest(bundle_id=OTHER_ID)))

    def test_disks_that_are_not_there(self) -> None:
        self.refused(self.store(self.manifest(), disks=False))

    def test_a_disk_of_other_bytes(self) -> None:
        document = self.manifest()
        document["disks"][0]["hash"]["value"] = "0" * 128
        identifier = self.store(document)
        result = self.in_repository("bundle", "verify", identifier, "-f", "json", code=3)
        self.assertIn((samples.FIRST, "changed"), [(r["File"], r["Result"]) for r in result.json])
        self.in_repository("bundle", "copy", identifier, "--output", self.dir / "out", code=1)
        self.assertFalse((self.dir / "out" / samples.FIRST).exists())
        self.assertFalse((self.dir / "out" / "manifest.json").exists())


class CutOff(RepositoryCase):
    """Killed at any moment, a repository is sound and the next run completes."""

    def test_copies_killed_at_random_moments(self) -> None:
        dice = random.Random(SEED)
        bundle = self.make_bundle(mebibytes=48)
        started = time.monotonic()
        self.in_repository("bundle", "copy", bundle, url=self.new_repository())
        whole = time.monotonic() - started
        for _ in range(KILLS):
            process = self.started("bundle", "copy", bundle, "--jobs", "2")
            time.sleep(dice.uniform(0.5, 1.5 * whole))
            process.kill()
            process.communicate()
            until(lambda: not guards() and not restics(self.url))
            self.no_locks()
            self.restic("check")
            for snapshot in self.snapshots():
                (path, *_) = snapshot["paths"]
                if path.startswith("/disks/"):  # whole, or not there
                    words = ("--password-file", str(self.password), "dump", snapshot["id"], path)
                    command = ["restic", "-r", self.url, *words]
                    data = subprocess.run(command, capture_output=True, check=True).stdout
                    self.assertEqual((bundle / path.lstrip("/")).read_bytes(), data)
        if "complete" not in {row["State"] for row in self.rows("bundle", "list")}:
            self.copy_in(bundle)
        self.in_repository("bundle", "copy", "web01", "--output", self.dir / "back")
        self.same_files(bundle, self.dir / "back")

    def test_interrupted(self) -> None:
        bundle = self.make_bundle(mebibytes=96)
        process = self.started("bundle", "copy", bundle)
        until(lambda: stored(pathlib.Path(self.url)) > 20 * base.MIB)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
        self.assertEqual(130, process.returncode, error)
        self.assertNotIn("Traceback", error)
        self.no_locks()
        self.assertNotIn("complete", [tag for s in self.snapshots() for tag in s["tags"]])

    def test_copies_out_killed_at_random_moments(self) -> None:
        dice = random.Random(SEED)
        bundle = self.make_bundle(mebibytes=48)
        self.copy_in(bundle)
        started, killed = time.monotonic(), 0
        self.in_repository("bundle", "copy", "web01", "--output", self.dir / "whole")
        whole = time.monotonic() - started
        for number in range(KILLS):
            output = self.dir / f"back-{number}"
            process = self.started("bundle", "copy", "web01", "--output", output)
            time.sleep(dice.uniform(0.3, 1.0) * whole)
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            until(lambda: not restics(self.url))
            self.no_locks()
            if (output / "manifest.json").exists():
                self.sums_hold(output)
            else:
                self.in_repository("bundle", "copy", "web01", "--output", output)
            self.same_files(bundle, output)
        self.assertLess(0, killed)

    def test_interrupted_while_restic_does_not_end(self) -> None:
        """All of the disk has come, and restic hangs: Ctrl-C ends both."""
        programs, hangs = self.dir / "bin", self.dir / "hangs"
        programs.mkdir()
        restic = shutil.which("restic")
        (programs / "restic").write_text(
            f'#!/bin/sh\ncase "$*" in *disks/*) cat > {hangs}.part; mv {hangs}.part {hangs}; exec sleep 600;;'
            f' esac\nexec {restic} "$@"\n'
        )
        (programs / "restic").chmod(0o755)
        with fixtures.EnvironmentVariable("PATH", f"{programs}:{os.environ['PATH']}"):
            process = self.started("bundle", "copy", self.make_bundle(mebibytes=1), "--jobs", "1")
        until(hangs.exists)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        self.assertEqual(130, process.returncode, error)
        self.assertNotIn("Traceback", error)
        until(lambda: not restics(self.url))
        self.no_locks()

    def test_a_disk_that_is_not_read_to_its_end(self) -> None:
        """restic is ended in the middle of a disk, and leaves no lock, whoever ends it."""
        self.copy_in(self.make_bundle(mebibytes=48))
        restic = Restic(repository_address(self.url, environment=os.environ, password_file=self.password))
        snapshot = find_bundle(restic, "web01").stored.disks["disks/0-vda.raw"].id
        with open_file(restic, snapshot, "disks/0-vda.raw") as reader:
            self.assertEqual(base.MIB, len(reader.read(base.MIB)))
            self.assertNotEqual("", self.restic("list", "locks", "--no-lock"))
        self.no_locks()
        for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
            output = self.dir / f"stopped-{number}"
            process = self.started("bundle", "copy", "web01", "--output", output, "--jobs", "1")
            until(lambda place=output: any(f.stat().st_size for f in place.glob("disks/.*")))
            process.send_signal(number)
            _, error = process.communicate()
            self.assertEqual(code, process.returncode, error)
            until(lambda: not restics(self.url))
            self.no_locks()
        self.restic("check")

    def test_forget_killed_at_random_moments(self) -> None:
        dice = random.Random(SEED)
        for day in range(1, 5):
            self.copy_in(self.make_bundle(f"b{day}", day=day))
        newest, killed = self.rows("bundle", "list")[-1]["Bundle"], 0
        for _ in range(KILLS):
            process = self.started("bundle", "forget", "--keep-last", "1", "--prune")
            time.sleep(dice.uniform(0.5, 4))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            until(lambda: not restics(self.url))
            self.no_locks()
            self.restic("check")
            self.in_repository("bundle", "verify", newest)
        self.assertLess(0, killed)
        self.in_repository("bundle", "forget", "--keep-last", "1", "--incomplete", "--prune")
        (row,) = self.rows("bundle", "list")
        self.assertEqual(newest, row["Bundle"])
        self.assertEqual(3, len(self.snapshots()))
        self.restic("check", "--read-data")

    def test_what_a_killed_copy_has_stored_is_not_stored_again(self) -> None:
        bundle = self.make_bundle(mebibytes=32)
        process = self.started("bundle", "copy", bundle, "--jobs", "1")
        until(lambda: self.snapshots())
        process.kill()
        process.communicate()
        (row,) = self.rows("bundle", "list")
        self.assertEqual(("incomplete", None), (row["State"], row["Size"]))
        self.assertEqual(32 * base.MIB, self.copy_in(bundle)["bytes_reused"])

    def test_an_incomplete_one_is_forgotten(self) -> None:
        bundle = self.make_bundle(mebibytes=32)
        process = self.started("bundle", "copy", bundle, "--jobs", "1")
        until(lambda: self.snapshots())
        process.kill()
        process.communicate()
        until(lambda: not guards())
        identifier = self.rows("bundle", "list")[0]["Bundle"]
        self.in_repository("bundle", "verify", identifier, code=3)
        rows = self.rows("bundle", "forget", "--incomplete", "--dry-run")
        self.assertEqual(["would be removed"], [row["Result"] for row in rows])
        self.rows("bundle", "forget", "--incomplete")
        self.assertEqual([], self.snapshots())

    def test_a_lock_of_our_own_dead_process_goes(self) -> None:
        self.copy_in(self.make_bundle("a", day=1))
        self.copy_in(self.make_bundle("b", day=2))
        self.leave_lock()
        self.assertNotEqual("", self.restic("list", "locks", "--no-lock"))
        self.rows("bundle", "forget", "--keep-last", "1")
        self.no_locks()

    def leave_lock(self) -> None:
        words = ("backup", "--stdin", "--stdin-filename", "x")
        command = ["restic", "-r", self.url, "--password-file", str(self.password), *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            until(lambda: self.restic("list", "locks", "--no-lock"))
            process.kill()


class SideBySide(RepositoryCase):
    def test_two_writers(self) -> None:
        bundles = [self.make_bundle(f"b{n}", mebibytes=24, day=n) for n in (1, 2)]
        processes = [self.started("bundle", "copy", bundle) for bundle in bundles]
        for process in processes:
            _, error = process.communicate()
            self.assertEqual(0, process.returncode, error)
        for row in self.rows("bundle", "list"):
            self.assertEqual("complete", row["State"])
            self.in_repository("bundle", "verify", row["Bundle"])
        self.restic("check")

    def test_forget_while_a_copy_is_written(self) -> None:
        for day in (1, 2):
            self.copy_in(self.make_bundle(f"b{day}", day=day))
        before = len(self.snapshots())
        process = self.started("bundle", "copy", self.make_bundle("large", mebibytes=96, day=3))
        until(lambda: self.restic("list", "locks", "--no-lock"))
        # restic 0.14 tries for 45 s to read a lock that goes while it looks: the copy would be over then.
        process.send_signal(signal.SIGSTOP)
        error = self.in_repository("bundle", "forget", "--keep-last", "1", "--incomplete", code=1).err
        process.send_signal(signal.SIGCONT)
        self.assertIn("[repository-locked]", error)
        self.assertRegex(error, r"locked by PID \d+ on ")
        self.assertGreaterEqual(len(self.snapshots()), before)
        _, error = process.communicate()
        self.assertEqual(0, process.returncode, error)
        self.assertEqual({"complete"}, {row["State"] for row in self.rows("bundle", "list")})
        self.rows("bundle", "forget", "--keep-last", "1")
        self.assertEqual(1, len(self.rows("bundle", "list")))


class Keeping(RepositoryCase):
    def test_by_rules_and_by_records(self) -> None:
        made = [self.copy_in(self.make_bundle(f"b{day}", day=day))["bundle"] for day in (1, 2, 3, 4)]
        other = self.copy_in(self.make_bundle("other", subject=OTHER_ID, day=1))["bundle"]
        self.tag(made[0], "monthly")
        self.record(made[1])
        words = ("bundle", "forget", "--keep-last", "1", "--keep-tag", "monthly,x", "--keep-tag", "monthly")
        planned = self.rows(*words, "--dry-run")
        of_other = self.rows(*words, "--dry-run", "--long", "--resource", OTHER_ID)
        self.assertEqual([(other, OTHER_ID)], [(row["Bundle"], row["ID"]) for row in of_other])
        done = {row["Bundle"]: (row["Result"], row["Reason"]) for row in self.rows(*words)}
        wanted = {
            made[3]: ("kept", "last, newest complete"),
            made[2]: ("removed", "no rule keeps it"),
            made[1]: ("kept", "newest with a successful restore check"),
            made[0]: ("kept", "tagged monthly"),
            other: ("kept", "last, newest complete"),
        }
        self.assertEqual(wanted, done)
        self.assertEqual([row["Reason"] for row in planned], [reason for _, reason in done.values()])
        self.assertEqual(
            {made[0], made[1], made[3], other}, {r["Bundle"] for r in self.rows("bundle", "list")}
        )
        shown = self.in_repository("bundle", "show", made[1], "-f", "json").json
        self.assertIn("restore-check: booted", shown["records"][0])

    def tag(self, bundle: str, tag: str) -> None:
        (last,) = self.snapshots("--tag", f"bundle={bundle},complete")
        self.restic("tag", "--add", tag, last["id"])

    def record(self, bundle: str) -> None:
        restic = Restic(repository_address(self.url, environment=os.environ, password_file=self.password))
        RepositoryPlace(restic, find_bundle(restic, bundle)).keep_record(PROOF)
        self.assertEqual([PROOF], stored_records(restic, find_bundle(restic, bundle)))

    def test_records_go_with_a_copy(self) -> None:
        here, back = self.make_bundle(), self.dir / "back"
        write_record(here, PROOF)
        self.copy_in(here)
        (row,) = self.rows("bundle", "list")
        shown = self.in_repository("bundle", "show", row["Bundle"], "-f", "json").json
        self.assertIn("restore-check: booted", shown["records"][0])
        self.in_repository("bundle", "copy", row["Bundle"], "--output", back)
        self.assertEqual([PROOF], read_records(back))
        self.assertEqual(0, self.openstack("bundle", "verify", back, cloud=None).code)

    def test_space_is_given_back(self) -> None:
        for day in (1, 2):
            self.copy_in(self.make_bundle(f"b{day}", mebibytes=8, day=day))
        self.assertGreater(stored(pathlib.Path(self.url)), 30 * base.MIB)
        told = self.in_repository("-v", "bundle", "forget", "--keep-last", "1", "--prune").err
        self.assertRegex(told, r"packs.* \(of \d+\)")  # how far restic is
        self.assertLess(stored(pathlib.Path(self.url)), 20 * base.MIB)
        self.restic("check", "--read-data")

    def test_rules_that_keep_nothing(self) -> None:
        self.copy_in(self.make_bundle())
        for words in ((), ("--keep-last", "0"), ("--keep-tag", "never"), ("--prune",)):
            self.in_repository("bundle", "forget", *words, code=2)
        self.assertEqual(1, len(self.rows("bundle", "list")))

    def test_as_restic_itself_decides(self) -> None:
        """restic's own ``forget`` keeps the same of snapshots made at the same times."""
        dice = random.Random(SEED)
        newest = datetime(2026, 3, 3, 22, 15, tzinfo=UTC)
        times = sorted(
            {newest - timedelta(minutes=dice.randrange(60 * 24 * 500)) for _ in range(10)} | {newest}
        )
        times += [moment - timedelta(minutes=20) for moment in times[-6:]]
        for moment in times:
            self.restic(
                "backup",
                "-q",
                "--force",
                "--time",
                f"{moment:%Y-%m-%d %H:%M:%S}",
                str(self.password),
                TZ="UTC",
            )
        candidates = [Candidate(moment, moment) for moment in times]
        for rules in (
            KeepRules(last=3),
            KeepRules(hourly=4, daily=2),
            KeepRules(daily=3, weekly=4, monthly=2),
            KeepRules(monthly=20),
            KeepRules(weekly=5, yearly=2),
            KeepRules(within=Span(months=4, days=3)),
            KeepRules(within=Span(years=1), hourly=2),
        ):
            words = [
                f"--keep-{n}={getattr(rules, n)}"
                for n in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
                if getattr(rules, n)
            ]
            words += [f"--keep-within={rules.within}"] if rules.within else []
            (group,) = json.loads(self.restic("forget", "--dry-run", "--json", *words, TZ="UTC"))
            theirs = sorted(datetime.fromisoformat(s["time"]).astimezone(UTC) for s in group["keep"])
            ours = sorted(d.what for d in decide(candidates, rules, now=datetime.now(UTC)) if d.reasons)
            self.assertEqual(theirs, ours, str(rules))


def stored(path: pathlib.Path) -> int:
    """Bytes of a repository's data."""
    return sum(f.stat().st_size for f in (path / "data").rglob("*") if f.is_file())


def guards() -> list[str]:
    """Processes that still see to the end of a killed command's restic."""
    return processes("repository/guard.py")
