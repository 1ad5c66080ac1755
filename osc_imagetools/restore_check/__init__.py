# SPDX-License-Identifier: Apache-2.0
"""Whether what a bundle holds boots: restored as a copy apart, watched, removed."""
