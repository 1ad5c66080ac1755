# SPDX-License-Identifier: Apache-2.0
"""Unit tests. No test judges time: a busy machine is no defect."""

from hypothesis import HealthCheck, settings

settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
