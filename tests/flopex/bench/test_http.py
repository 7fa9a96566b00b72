"""What `flopex bench http` measures: requests that were answered as they must be."""

from __future__ import annotations

import pytest

from flopex.bench.http import FIGURES, KINDS, Settings, run

pytestmark = pytest.mark.integration


async def test_requests_of_each_kind_are_measured() -> None:
    told: list[str] = []
    result = await run(Settings(rounds=1, seconds=0.5, concurrency=2, tokens=3), told.append)
    for kind in KINDS:
        assert set(result[kind]) == set(FIGURES)
        assert all(0 < least <= middle <= most for middle, least, most in result[kind].values())
    assert len(told) == 1
