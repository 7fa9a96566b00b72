"""Settings for the whole suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

import matching
from tests.reruns import pytest_sessionfinish, pytest_terminal_summary

__all__ = ["pytest_sessionfinish", "pytest_terminal_summary"]

ROOT = Path(__file__).resolve().parent.parent

# The machines that run this are shared: that an example is slow, or slow to be drawn, is no defect.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("explore")
# A red run belongs to the change that it ran on, so by default it draws no new luck.
settings.register_profile("default", derandomize=True)
settings.register_profile("ci", derandomize=True)
settings.register_profile("nightly", max_examples=2_000)
settings.load_profile(os.environ.get("FLOPEX_HYPOTHESIS_PROFILE", "default"))


def pytest_report_header() -> str:
    """Say which form of the engine and the core is tested."""
    return f"engine: {'compiled' if matching.COMPILED else 'interpreted (or: make compile)'}"


def pytest_configure() -> None:
    """Refuse to test compiled modules that are older than their sources."""
    # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for folder in ("matching", "exchange/core", "exchange/metering", "exchange/rpc/convert", "sim"):
        for module in (ROOT / folder).glob("*.so"):
            source = module.with_name(f"{module.name.split('.')[0]}.py")
            if not source.exists() or module.stat().st_mtime < source.stat().st_mtime:
                raise pytest.UsageError(f"{module} is not of the present source: run make compile")


@pytest.fixture(autouse=True)
def logs_start_afresh() -> Iterator[None]:
    """A test that sends logs somewhere must not leave a closed file to the next one."""
    yield
    structlog.reset_defaults()
