"""Kill -9 at random moments: what was acknowledged is there again, and nothing happens twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from exchange.v1 import job_service_pb2 as jobs_pb
from tests.integration.crash_site import FUNDS, CrashSite
from tests.integration.judging import judge
from tests.integration.torture import torture

KILLS = int(os.environ.get("FLOPEX_KILLS", "10"))
"""Of `flopex serve` as users start it; `make torture` kills a quicker one more often."""
CYCLES = int(os.environ.get("FLOPEX_CYCLES", "20"))
SEED = int(os.environ.get("FLOPEX_SEED", "1"))


@pytest.mark.integration
@pytest.mark.timeout(60 + 20 * KILLS)
async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    site = CrashSite(tmp_path, SEED)
    try:
        await site.start()
        await site.furnish()
        await site.hire(2)
        async with site.crowd():
            for _ in range(KILLS):
                await asyncio.sleep(site.random.uniform(0.05, 0.9))
                await site.kill()
                await asyncio.sleep(site.random.uniform(0, 0.1))
                await site.start()
            await asyncio.sleep(1)
        await site.all_ended(within_s=180)
        said = await site.invariants(full=True)
        buyer = await site.account("buyer")
    finally:
        await site.stop()

    told = site.told
    assert said.epoch == KILLS + 1
    paid = sum(paid for _, paid in told.ended.values())
    assert buyer.balance_nanos == FUNDS + sum(told.deposits.values()) - paid
    assert buyer.pending_nanos == 0
    states = Counter(state for state, _ in told.ended.values())
    assert states[jobs_pb.JOB_STATE_SETTLED] > KILLS / 2, f"hardly anything settled: {states}"
    judge(site.data / "journal", told, said, KILLS)


@pytest.mark.integration
@pytest.mark.timeout(120 + 20 * CYCLES)
async def test_torture(tmp_path: Path) -> None:
    found = await torture(tmp_path, CYCLES, SEED)
    assert found["kills"] == CYCLES
    assert found["orders told"] > CYCLES
    assert found["jobs told"] > 0
