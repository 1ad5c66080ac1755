# SPDX-License-Identifier: Apache-2.0
"""Cinder's NFS driver, with the upload of encrypted volumes to an image.

The stock driver runs qemu-img without the key for these, and fails. The image is what the LVM
and RBD drivers upload: the LUKS container itself, as a raw image. All else is inherited.
"""

import binascii
import contextlib
import os
import tempfile

from castellan import key_manager
from cinder import interface
from cinder.image import image_utils
from cinder.volume import volume_utils
from cinder.volume.drivers import nfs
from oslo_config import cfg


@interface.volumedriver
class NfsDriver(nfs.NfsDriver):
    """The NFS driver that can upload an encrypted volume."""

    def _copy_volume_to_image(self, context, volume, image_service, image_meta, store_id=None):
        if not volume.encryption_key_id:
            return super()._copy_volume_to_image(
                context, volume, image_service, image_meta, store_id
            )
        with self._luks_container(context, volume) as path:
            volume_utils.upload_volume(
                context, image_service, image_meta, path, volume, run_as_root=self._execute_as_root
            )

    @contextlib.contextmanager
    def _luks_container(self, context, volume):
        """The path of a bare LUKS file with the volume's content."""
        folder = self._local_volume_dir(volume)
        path = os.path.join(folder, self.get_active_image_from_info(volume))
        if self._qemu_img_info(path, volume.name).file_format != "qcow2":
            yield path  # a volume made from a snapshot is one already
            return
        key = key_manager.API(cfg.CONF).get(context, volume.encryption_key_id)
        with (
            tempfile.NamedTemporaryFile(dir=volume_utils.image_conversion_dir()) as secret,
            image_utils.temporary_file(suffix=".luks") as container,
        ):
            secret.write(binascii.hexlify(key.get_encoded()))
            secret.flush()
            self._execute(
                "qemu-img",
                "convert",
                "--object",
                f"secret,id=key,file={secret.name}",
                "--image-opts",
                self._source_options(volume, folder, path),
                "-O",
                "luks",
                "-o",
                "key-secret=key",
                container,
                run_as_root=self._execute_as_root,
            )
            yield container

    def _source_options(self, volume, folder, path):
        """The key for the active file and for each file that snapshots put below it."""
        options = ["driver=qcow2", f"file.filename={path}", "encrypt.key-secret=key"]
        info = self._qemu_img_info(path, volume.name)
        layer = ""
        while info.backing_file:
            layer += "backing."
            options.append(f"{layer}encrypt.key-secret=key")
            below = os.path.join(folder, os.path.basename(info.backing_file))
            info = self._qemu_img_info(below, volume.name)
        return ",".join(options)
