# SPDX-License-Identifier: Apache-2.0
"""The bundle: its format, and a directory as its store."""
