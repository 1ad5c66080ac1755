# SPDX-License-Identifier: Apache-2.0
"""Conversions between images, volumes and snapshots."""
