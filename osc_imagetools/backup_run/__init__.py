# SPDX-License-Identifier: Apache-2.0
"""Backups of many servers, as often as one likes: what is fresh is left alone."""
