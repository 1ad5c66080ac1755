# SPDX-License-Identifier: Apache-2.0
"""Runs on many machines: exports as jobs on a TaskFlow jobboard, and the workers that take them."""
