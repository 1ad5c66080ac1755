# SPDX-License-Identifier: Apache-2.0
"""A real restic and real repositories, quick enough for unit tests.

``restic init`` makes a key that takes half a second to derive, in each process that opens the repository.
The key of these repositories is one of restic's own but for the parameters of scrypt: it protects nothing,
and takes no time.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any

import fixtures

from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.bundle.repository.address import repository_address
from osc_imagetools.bundle.repository.restic import Restic, restic_program
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.served import ServedCase

PASSWORD = "a password of the tests"
KEY = {
    "created": "2026-01-01T00:00:00Z",
    "username": "tests",
    "hostname": "tests",
    "kdf": "scrypt",
    "N": 2,
    "r": 1,
    "p": 1,
    "salt": ("zsfMFXE9mCWKf8Ekptwki6HF2JNfyHVwoGVb3L7ICDDzaq466LA/s0vEs1CZJVNtK6JOrIKXEXZb+jX3GWLgXw=="),
    "data": (
        "tvqHpkh4ZQHVvvsj1tYWeVU1cj0f8IExYrZ5ivWVIrIs/6i4EaMPWIIkjKzuv4Fn6UHxcKFzOMpIyNnVYYJIFDWINB"
        "MCB7gGevf8MNHiiIGRlrFc1vCcZfPFVXiEEuAzDxCJn1m4vPbDgc52+N+PhqeNF0+jLp+9nYdMU+izdCcjD/+H7lXp"
        "yxVLFGljnZj3+HR1d9fNFUITr9A5LCembw=="
    ),
}
CONFIG = (
    "RX6wCOtSDJcAOzsM+TuKDkg/Jda0b0tB37mnvlTzKk1H6yRpvb5PPSk31ye8p/tn2h0vxGsKgqX2k7T7zi2fArTrnt"
    "LRKd3bmpQ3ZfUJ4CKeOMbXQro7o4i+m4r4XQXFAZA85oIV1C3Iolr4KQQ2Tf4aOmBH9qwPEZEPFp22cymrJqXOA/rq"
    "Sm6XRGMDogwZDIxuWpTk2U9uBXQ="
)

# The repositories that tests of this process have filled, by what is in them.
MADE: dict[tuple[tuple[int, str], ...], tuple[pathlib.Path, list[str]]] = {}


class RepositoryCase(ServedCase):
    """Each test has an empty repository of its own, ``self.url``, and ``self.restic`` for it."""

    def setUp(self) -> None:
        super().setUp()
        for name in [name for name in os.environ if name.startswith("RESTIC_")]:
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable("XDG_CACHE_HOME", str(self.dir / "cache")))
        self.addCleanup(restic_program.cache_clear)
        self.password = self.dir / "password"
        self.password.write_text(PASSWORD)
        self.url = str(self.new_repository("repository"))
        self.restic = Restic(
            repository_address(self.url, environment=os.environ, password_file=self.password)
        )

    def new_repository(self, name: str) -> pathlib.Path:
        """An empty repository."""
        path = self.dir / name
        for folder in ("keys", "data", "index", "snapshots", "locks"):
            (path / folder).mkdir(parents=True)
        (path / "config").write_bytes(base64.b64decode(CONFIG))
        key = json.dumps(KEY)
        (path / "keys" / hashlib.sha256(key.encode()).hexdigest()).write_text(key)
        return path

    def by_restic(self, *words: str, data: bytes = b"") -> str:
        """restic alone, as a user types it."""
        command = ["restic", "-r", self.url, "--password-file", str(self.password), *words]
        done = subprocess.run(command, capture_output=True, input=data, cwd=self.dir, check=True)
        return done.stdout.decode()

    def snapshots(self, *words: str) -> list[dict[str, Any]]:
        """The snapshots, as restic lists them."""
        return json.loads(self.by_restic("snapshots", "--json", *words)) or []

    def no_locks(self) -> None:
        """Nothing is left in the way of others."""
        self.assertEqual("", self.by_restic("list", "locks", "--no-lock"))

    def there(self, *words: Any) -> tuple[Any, ...]:
        """The words of a command, with the repository."""
        return (*words, "--repository", self.url, "--password-file", self.password)

    def made(self, name: str = "web01.bundle", *, day: int = 2, subject: str = samples.IMAGE_ID,
             resource: str = "web01") -> pathlib.Path:  # fmt: skip
        """The sample bundle in a directory, as if it were of this day of January and of this image."""
        path = samples.make_bundle(self.dir / name)
        document = {**samples.load(path), "created_at": f"2026-01-{day:02}T03:04:05Z"}
        document["resource"] = {"id": subject, "name": resource}
        samples.reseal(path, format_manifest(document))
        return path

    def copied(self, *bundles: tuple[int, str]) -> list[str]:
        """The IDs of bundles that were copied into the repository: (day, ID of the image) of each.

        They are copied once in a process; other tests get a copy of that repository.
        """
        bundles = bundles or ((2, samples.IMAGE_ID),)
        if bundles not in MADE:
            folder = pathlib.Path(tempfile.mkdtemp())
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            ids = []
            for day, subject in bundles:
                bundle = self.made("bundle", day=day, subject=subject)
                ids.append(self.rows(*self.there("bundle", "copy", bundle))["bundle"])
                shutil.rmtree(bundle)
            shutil.copytree(self.url, folder / "repository")
            MADE[bundles] = folder / "repository", ids
        path, ids = MADE[bundles]
        shutil.rmtree(self.url)
        shutil.copytree(path, self.url)
        return list(ids)


def content(path: pathlib.Path) -> dict[str, bytes]:
    """The files below a directory."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
