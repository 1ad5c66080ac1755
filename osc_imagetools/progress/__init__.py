# SPDX-License-Identifier: Apache-2.0
"""The progress of a run: its model, and its display in a terminal."""
