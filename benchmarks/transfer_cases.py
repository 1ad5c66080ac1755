# SPDX-License-Identifier: Apache-2.0
"""What ``transfer.py`` measures: the commands that move images, and those that one would type otherwise."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedded_cloud import PROGRAMS, Cloud
from measurement import openstack

MIB, GIB = 1 << 20, 1 << 30
DISKS = 4

START = "openstack token issue"
EXPORT = "openstack image export-full"
SAVE = "openstack image save"
SAVE_LARGE = "openstack image save, 1 MiB chunks"
GLANCE = "glance image-download"
CURL = "curl"
SUM = "sha512sum"
AT_ONCE = f"image export-full, {DISKS} disks at once"
IN_A_ROW = f"image export-full, {DISKS} in a row"
DURABLE = "dd, written durably"
HASHES = "sha512sum, on all processors"
CURLS = f"curl, {DISKS} at once"
IMPORT = "openstack image import-full"
IMPORT_RAW = "import-full --disk-format raw"
CREATE = "openstack image create --file"
CREATE_RAW = "qemu-img convert, image create --file"
CONVERT = "image convert --disk-format raw"
BY_HAND = "save, qemu-img convert, create"
VERIFY = "openstack bundle verify"
SUMS = "sha512sum -c"


@dataclass(frozen=True)
class Case:
    """Something to measure: the commands that write to a folder, and how many bytes they write."""

    name: str
    commands: Callable[[pathlib.Path], Sequence[Sequence[str]]]
    bytes: int = 0


def downloads(cloud: Cloud, image: str, data: pathlib.Path) -> list[Case]:
    """All ways to have the data of an image in a file."""
    size = data.stat().st_size

    def save(*words: str) -> Callable[[pathlib.Path], list[list[str]]]:
        return lambda output: [openstack("image", "save", *words, "--file", f"{output}/disk", image)]

    glance = [str(PROGRAMS / "glance"), "image-download", image, "--file"]

    def curl(output: pathlib.Path) -> list[list[str]]:
        words = ["-sS", "-f", "-H", f"@{cloud.header()}", "-o", f"{output}/disk"]
        return [["curl", *words, cloud.file(image)]]

    return [
        Case(START, lambda output: [openstack("token", "issue", "-f", "value", "-c", "id")]),
        Case(EXPORT, lambda output: [export(image, output)], size),
        Case(SAVE, save(), size),
        Case(SAVE_LARGE, save("--chunk-size", str(MIB)), size),
        Case(GLANCE, lambda output: [[*glance, f"{output}/disk"]], size),
        Case(CURL, curl, size),
        Case(SUM, lambda output: [["sha512sum", str(data)]]),
    ]


def export(image: str, output: pathlib.Path) -> list[str]:
    return openstack("image", "export-full", image, "--output", f"{output}/{image}.bundle", "-f", "json")


@dataclass(frozen=True)
class Disks:
    """Four disks behind one image of 0 bytes, and the four images."""

    server: str
    images: Sequence[str]
    data: pathlib.Path

    @classmethod
    def add(cls, cloud: Cloud, data: pathlib.Path, store: str) -> Disks:
        images = [cloud.add(data, store) for _ in range(DISKS)]
        mapping = [
            {
                "source_type": "image",
                "destination_type": "volume",
                "image_id": image,
                "boot_index": 0 if number == 0 else -1,
                "device_name": f"/dev/vd{'abcd'[number]}",
                "volume_size": -(-data.stat().st_size // GIB),
            }
            for number, image in enumerate(images)
        ]
        properties = {"bdm_v2": "True", "root_device_name": "/dev/vda"}
        server = cloud.add(None, store, block_device_mapping=json.dumps(mapping), **properties)
        return cls(server, images, data)

    def exports(self, cloud: Cloud) -> list[Case]:
        """The exports, and what bounds them."""
        size = DISKS * self.data.stat().st_size
        data = shlex.quote(str(self.data))

        def each(
            command: str, words: Sequence[str], processes: int
        ) -> Callable[[pathlib.Path], list[list[str]]]:
            """The command for each word, which it sees as $0, in a folder that it sees as $1."""
            several = ["xargs", "-P", str(processes), "-I", "{}", "sh", "-ec", command, "{}"]
            feed = "printf '%s\\n' " + " ".join(map(shlex.quote, words))
            return lambda output: [["sh", "-c", f"{feed} | {shlex.join([*several, str(output)])}"]]

        files = [cloud.file(image) for image in self.images]
        header = shlex.quote(f"@{cloud.header()}")
        curl = f'curl -sS -f -H {header} -o "$1/$(basename "${{0%/file}}")" "$0"'
        write = f'dd if={data} of="$1/$0" bs=1M conv=fdatasync status=none'
        numbers = [str(number) for number in range(DISKS)]
        return [
            Case(AT_ONCE, lambda output: [export(self.server, output)], size),
            Case(IN_A_ROW, lambda output: [export(image, output) for image in self.images], size),
            Case(DURABLE, each(write, numbers, DISKS), size),
            Case(HASHES, each(f"sha512sum {data}", numbers, os.cpu_count() or 1)),
            Case(CURLS, each(curl, files, DISKS), size),
        ]


def verifications(bundle: pathlib.Path) -> list[Case]:
    """Both ways to prove a bundle."""
    return [
        Case(VERIFY, lambda output: [openstack("bundle", "verify", str(bundle), "-f", "json")]),
        Case(SUMS, lambda output: [["env", "-C", str(bundle), "sha512sum", "--quiet", "-c", "SHA512SUMS"]]),
    ]


def _create(output: pathlib.Path, data: pathlib.Path) -> list[str]:
    formats = ["--disk-format", "raw", "--container-format", "bare"]
    return openstack("image", "create", "--file", str(data), *formats, output.name)


def uploads(bundle: pathlib.Path, qcow2: pathlib.Path, data: pathlib.Path) -> list[Case]:
    """All ways to make an image of a file; it gets the name of the folder. ``qcow2``: a bundle of a qcow2."""

    def restore(source: pathlib.Path, *words: str) -> Callable[[pathlib.Path], list[list[str]]]:
        return lambda output: [
            openstack("image", "import-full", str(source), "--name", output.name, *words, "-f", "json")
        ]

    def by_hand(output: pathlib.Path) -> list[list[str]]:
        (disk,) = (qcow2 / "disks").iterdir()
        return [_to_raw(disk, output / "raw"), _create(output, output / "raw")]

    return [
        Case(IMPORT, restore(bundle)),
        Case(IMPORT_RAW, restore(qcow2, "--disk-format", "raw")),
        Case(CREATE, lambda output: [_create(output, data)]),
        Case(CREATE_RAW, by_hand),
    ]


def _to_raw(source: pathlib.Path, target: pathlib.Path) -> list[str]:
    return ["qemu-img", "convert", "-O", "raw", str(source), str(target)]


def conversions(image: str) -> list[Case]:
    """Both ways to make a raw image of a qcow2 image."""

    def convert(output: pathlib.Path) -> list[list[str]]:
        words = ["--to", "image", "--disk-format", "raw", "--name", output.name, "-f", "json"]
        return [openstack("image", "convert", image, *words)]

    def by_hand(output: pathlib.Path) -> list[list[str]]:
        save = openstack("image", "save", "--file", f"{output}/qcow2", image)
        return [save, _to_raw(output / "qcow2", output / "raw"), _create(output, output / "raw")]

    return [Case(CONVERT, convert), Case(BY_HAND, by_hand)]
