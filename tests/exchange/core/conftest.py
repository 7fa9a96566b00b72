"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.exchange.core.scenario import Market


@pytest.fixture
def market() -> Iterator[Market]:
    """A market; at the end of the test it must add up and replay to the same digest."""
    market = Market()
    yield market
    market.close()
