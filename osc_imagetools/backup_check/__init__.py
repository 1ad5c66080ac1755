# SPDX-License-Identifier: Apache-2.0
"""Checks whether servers can be backed up and whether their backups are usable."""
