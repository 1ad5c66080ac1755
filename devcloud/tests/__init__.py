# SPDX-License-Identifier: Apache-2.0
"""Tests of the orchestrator's pure parts. Run: python3 -m unittest discover -s devcloud/tests"""
