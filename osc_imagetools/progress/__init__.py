# SPDX-License-Identifier: Apache-2.0
"""Progress of a run: its model, and how a terminal shows it."""
