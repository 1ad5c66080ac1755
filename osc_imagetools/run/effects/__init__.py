# SPDX-License-Identifier: Apache-2.0
"""The effects on a cloud, each with its clean-up registered first."""
