# SPDX-License-Identifier: Apache-2.0
"""What makes a run safe: journal, clean-up, deadlines, interrupts, lanes, and the effects on a cloud."""
