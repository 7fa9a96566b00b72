"""Settings for the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# No deadline per example: the machines that run this are shared, and a slow example is no defect.
settings.register_profile("default", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("FLOPEX_HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def logs_start_afresh() -> Iterator[None]:
    """A test that sends logs somewhere must not leave a closed file to the next one."""
    yield
    structlog.reset_defaults()
