# SPDX-License-Identifier: Apache-2.0
"""restic repositories as stores of bundles: an adapter, in which nothing of the storage itself is ours."""
