# SPDX-License-Identifier: Apache-2.0
"""Memory is bounded, whatever the sizes are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from osc_imagetools.tests.unit.data.image_server import MIB, ImageServer, TransferTestCase

# Prints by how many MiB the peak grew while three files were fetched at once.
FETCH = """
import resource, sys, threading
from pathlib import Path
from keystoneauth1 import session, token_endpoint
from osc_imagetools.data.download import Downloader
from osc_imagetools.progress.model import NullProgress
from osc_imagetools.data.download_source import DownloadSource
url, size, value, directory = sys.argv[1:]
auth = token_endpoint.Token(url, "token-0")
downloader = Downloader(
    session.Session(auth=auth), jobs=4, progress=NullProgress(), cancelled=threading.Event()
)
source = DownloadSource(url, "image", int(size), "md5", value, None)
def fetch(name):
    downloader.fetch(source, Path(directory) / name, algorithms=frozenset({"md5"}), sparse=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=fetch, args=(name,)) for name in "abc"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


class MemoryTest(TransferTestCase):
    def test_several_files_at_once(self) -> None:
        server: ImageServer = self.serve(bytes(48 * MIB))
        source = server.source(hash_algo="md5")
        arguments = [server.url, str(source.size), str(source.checksum), str(self.directory)]
        answer = subprocess.run(
            [sys.executable, "-c", FETCH, *arguments],
            cwd=Path(__file__).parents[4],
            check=True,
            capture_output=True,
            text=True,
        )
        self.assertLess(int(answer.stdout), 50)
        self.assertEqual({"a", "b", "c", ".a.done", ".b.done", ".c.done"}, self.names())
