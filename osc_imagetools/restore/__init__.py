# SPDX-License-Identifier: Apache-2.0
"""Imports of images, volumes and servers from a bundle."""
