# SPDX-License-Identifier: Apache-2.0
"""What restic is given, and that no secret is anywhere else."""

from __future__ import annotations

import pathlib

import fixtures
import testtools

from osc_imagetools import errors
from osc_imagetools.bundle.repository.address import repository_address

PASSWORD = {"RESTIC_PASSWORD": "very secret"}
CLOUDS = """
clouds:
  plain:
    auth: {auth_url: "http://identity.test/v3", username: bob, password: topsecret, project_name: p,
           user_domain_name: Default, project_domain_name: Default}
    region_name: RegionOne
  application:
    auth_type: v3applicationcredential
    auth: {auth_url: "http://identity.test/v3", application_credential_id: a1,
           application_credential_secret: topsecret}
    cacert: /etc/ca.pem
  token:
    auth_type: v3token
    auth: {auth_url: "http://identity.test/v3", token: topsecret}
  careless:
    auth: {auth_url: "https://identity.test/v3", username: bob, password: topsecret}
    verify: false
"""


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        clouds = self.dir / "clouds.yaml"
        clouds.write_text(CLOUDS)
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(clouds)))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLOUD"))

    def refused(self, url: str = "/r", **options: object) -> str:
        options = {"environment": PASSWORD, **options}
        error = self.assertRaises(errors.UsageError, repository_address, url, **options)
        return str(error)


class Environment(TestCase):
    def test_variables_are_passed_on(self) -> None:
        given = {**PASSWORD, "AWS_ACCESS_KEY_ID": "k", "PATH": "/bin", "RESTIC_REPOSITORY_FILE": "/elsewhere"}
        found = repository_address("s3:host/bucket", environment=given).environment
        self.assertEqual(
            {**given, "RESTIC_REPOSITORY": "s3:host/bucket"},
            {**found, "RESTIC_REPOSITORY_FILE": "/elsewhere"},
        )
        self.assertNotIn("RESTIC_REPOSITORY_FILE", found)

    def test_the_password_file_wins(self) -> None:
        file = self.dir / "password"
        file.write_text("x")
        given = {**PASSWORD, "RESTIC_PASSWORD_COMMAND": "cat x"}
        found = repository_address("/r", environment=given, password_file=file).environment
        self.assertEqual({"RESTIC_PASSWORD_FILE": str(file), "RESTIC_REPOSITORY": "/r"}, dict(found))

    def test_without_a_password_restic_is_not_started(self) -> None:
        self.assertIn("RESTIC_PASSWORD_FILE", self.refused(environment={}))
        self.assertIn("RESTIC_PASSWORD_FILE", self.refused(environment={"RESTIC_PASSWORD": ""}))

    def test_password_files_that_are_none(self) -> None:
        (self.dir / "empty").write_text("")
        self.assertIn("cannot be read", self.refused(password_file=self.dir / "nothing"))
        self.assertIn("is empty", self.refused(password_file=self.dir / "empty"))

    def test_paths_mean_the_same_from_every_directory(self) -> None:
        given = {"RESTIC_PASSWORD_FILE": "p", "RESTIC_CACHE_DIR": "/c"}
        found = repository_address("r", environment=given).environment
        here = pathlib.Path.cwd()
        wanted = {
            "RESTIC_REPOSITORY": f"{here}/r",
            "RESTIC_PASSWORD_FILE": f"{here}/p",
            "RESTIC_CACHE_DIR": "/c",
        }
        self.assertEqual(wanted, dict(found))
        self.assertEqual(f"local:{here}/r", repository_address("local:r", environment=given).url)
        for url in ("sftp:host:r", "rest:https://host/", "swift:c:/", "s3:host/b", "rclone:a:b"):
            self.assertEqual(url, repository_address(url, environment=given).url)

    def test_urls_that_are_none(self) -> None:
        for url in ("", "a\nb", "a\0b"):
            self.assertIn("--repository", self.refused(url))


class Cloud(TestCase):
    URL = "swift:bundles:/"

    def login(self, cloud: str, **environment: str) -> tuple[dict[str, str], tuple[str, ...]]:
        address = repository_address(self.URL, environment={**PASSWORD, **environment}, cloud=cloud)
        return {n: v for n, v in address.environment.items() if n.startswith(("OS_", "ST_"))}, address.flags

    def test_a_password(self) -> None:
        wanted = {
            "OS_AUTH_URL": "http://identity.test/v3",
            "OS_USERNAME": "bob",
            "OS_PASSWORD": "topsecret",
            "OS_PROJECT_NAME": "p",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": "RegionOne",
        }
        self.assertEqual((wanted, ()), self.login("plain"))

    def test_an_application_credential_and_a_certificate(self) -> None:
        found, flags = self.login("application")
        self.assertEqual("topsecret", found["OS_APPLICATION_CREDENTIAL_SECRET"])
        self.assertNotIn("OS_PASSWORD", found)
        self.assertEqual(("--cacert", "/etc/ca.pem"), flags)

    def test_nothing_of_another_cloud_is_mixed_in(self) -> None:
        found, _ = self.login("application", OS_PASSWORD="of another", OS_TENANT_ID="t", ST_KEY="k")
        self.assertNotIn("of another", found.values())
        self.assertFalse({"OS_TENANT_ID", "ST_KEY"} & found.keys())

    def test_unverified(self) -> None:
        self.assertEqual(("--insecure-tls",), self.login("careless")[1])

    def test_refused(self) -> None:
        self.assertIn("v3token", self.refused(self.URL, cloud="token"))
        self.assertIn("no-such", self.refused(self.URL, cloud="no-such"))
        self.assertIn("swift:", self.refused("s3:host/bucket", cloud="plain"))


class Secrets(TestCase):
    def test_none_is_shown(self) -> None:
        url = "rest:https://bob:hunter2@host:8000/r"
        given = {**PASSWORD, "AWS_SECRET_ACCESS_KEY": "abcd/efg", "B2_ACCOUNT_KEY": "12345"}
        address = repository_address(url, environment=given)
        self.assertEqual("rest:https://***@host:8000/r", address.label)
        said = f"Fatal: {url}: very secret, abcd/efg, 12345 and hunter2"
        for secret in ("hunter2", "very secret", "abcd/efg", "12345"):
            self.assertNotIn(secret, address.redact(said))
            self.assertNotIn(secret, repr(address))

    def test_a_password_may_hold_an_at_sign(self) -> None:
        address = repository_address("rest:https://bob:hunt@er2@host/r", environment=PASSWORD)
        self.assertEqual("rest:https://***@host/r", address.label)
        self.assertNotIn("er2", address.redact("Fatal: https://bob:hunt@er2@host/r: hunt@er2"))

    def test_a_name_alone_is_no_secret(self) -> None:
        address = repository_address("sftp://bob@host/r", environment=PASSWORD)
        self.assertEqual("sftp://bob@host/r", address.label)
