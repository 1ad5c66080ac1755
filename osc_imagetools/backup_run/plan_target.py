# SPDX-License-Identifier: Apache-2.0
"""Where the bundles of a policy go: a directory, or a repository and how restic gets in.

Contract: pure; values that can be compared. The URL of a repository may hold a password, so it is on no
command line: :attr:`BackupTarget.words` and :attr:`BackupTarget.environment` are for a command together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from osc_imagetools.bundle.repository.address import USER_INFO
from osc_imagetools.cloud.names import printable

REPOSITORY = "OSC_IMAGETOOLS_REPOSITORY"  # that commands use by default


@dataclass(frozen=True)
class BackupTarget:
    """Either an absolute directory or a repository.

    :param password_file: absolute; without one the password is in restic's own variables.
    :param cloud: in clouds.yaml, whose login restic uses for ``swift:``.
    """

    directory: str = ""
    repository: str = field(default="", repr=False)
    password_file: str | None = None
    cloud: str | None = None

    @property
    def label(self) -> str:
        """For messages: without a password."""
        return self.directory or printable(USER_INFO.sub("***", self.repository))

    @property
    def words(self) -> list[str]:
        """The options of a command that uses the repository; none for a directory."""
        given = (("--password-file", self.password_file), ("--repository-cloud", self.cloud))
        return [word for option, value in given if value for word in (option, value)]

    @property
    def environment(self) -> Mapping[str, str]:
        """What such a command needs in its environment besides."""
        return {REPOSITORY: self.repository} if self.repository else {}
