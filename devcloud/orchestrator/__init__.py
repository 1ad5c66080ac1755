# SPDX-License-Identifier: Apache-2.0
"""The development cloud's orchestrator: plain Python 3.11, standard library only.

It runs before any virtual environment exists, and makes one. The programs that run
inside that environment are in ``services/``; the settings are the same for both.
"""
