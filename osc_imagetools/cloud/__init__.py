# SPDX-License-Identifier: Apache-2.0
"""What a cloud says: the connection, and the readers that give frozen values."""
