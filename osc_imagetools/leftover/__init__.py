# SPDX-License-Identifier: Apache-2.0
"""Resources left in the cloud by interrupted runs."""
