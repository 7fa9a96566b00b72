"""Both forms of an exchange: all in one process, and with the gateway in one of its own."""

from __future__ import annotations

import pytest

from exchange.testing.in_process import PROCESSES_VARIABLE


@pytest.fixture(params=["1", "2"], ids=["one-process", "two-processes"])
def both_forms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice; for modules that say `usefixtures`."""
    monkeypatch.setenv(PROCESSES_VARIABLE, request.param)
