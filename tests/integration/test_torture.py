"""A few of the kills that `make torture` does by the thousand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.torture import torture

CYCLES = int(os.environ.get("FLOPEX_CYCLES", "20"))
SEED = int(os.environ.get("FLOPEX_SEED", "1"))


@pytest.mark.integration
@pytest.mark.timeout(600 + 60 * CYCLES)
async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    found = await torture(tmp_path, CYCLES, SEED)
    assert found["kills"] == CYCLES
    assert found["orders told"] > 0
    assert found["jobs told"] > 0
