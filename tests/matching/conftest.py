"""Fixtures of the matching tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from matching import Book, ClearingGroup
from matching.reference import NaiveBook, NaiveClearingGroup
from tests.matching.floor import Floor, S
from tests.matching.market import Market


@pytest.fixture(params=[Book, NaiveBook])
def market(request: pytest.FixtureRequest) -> Iterator[Market]:
    """A market on each implementation; the test ends by trading the book away (conservation)."""
    market = Market(request.param())
    yield market
    market.empty()


@pytest.fixture(params=[ClearingGroup, NaiveClearingGroup])
def floor(request: pytest.FixtureRequest) -> Iterator[Floor]:
    """A clearing group (k = 1 s) on each implementation; the test ends by emptying it."""
    floor = Floor(request.param(1, S))
    yield floor
    floor.empty()
