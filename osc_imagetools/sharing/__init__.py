# SPDX-License-Identifier: Apache-2.0
"""Sharing images with projects, and checking who can boot them."""
