# SPDX-License-Identifier: Apache-2.0
"""Exports of images, volumes, snapshots and servers into a bundle."""
