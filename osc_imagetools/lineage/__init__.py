# SPDX-License-Identifier: Apache-2.0
"""What a resource was made from, and what was made from it."""
