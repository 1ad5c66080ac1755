# SPDX-License-Identifier: Apache-2.0
"""What can be done to a cloud, as values: operations, drafts of resources, quotas, dry runs. Pure."""
