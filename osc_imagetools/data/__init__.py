# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way between a cloud and files: fast, resumable and never wrong."""
