"""Kill -9 at random moments: what was acknowledged is there again, and nothing happens twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from exchange.server.gateway_process import RESTARTS_MAX
from exchange.v1 import job_service_pb2 as jobs_pb
from tests.integration.crash_site import CrashSite
from tests.integration.judging import judge
from tests.waiting import WITHIN_S

KILLS = int(os.environ.get("FLOPEX_KILLS", "25"))  # of each form
SEED = int(os.environ.get("FLOPEX_SEED", "1"))


@pytest.mark.integration
@pytest.mark.timeout(600 + 60 * KILLS)
@pytest.mark.parametrize("form", ["--single-process", "--two-processes"])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, form: str) -> None:
    site = CrashSite(tmp_path, SEED, form)
    try:
        await site.start()
        await site.furnish()
        await site.hire(2)
        async with site.crowd():
            gateway_kills = 0  # of this engine: it gives up where its gateway dies again and again
            for _ in range(KILLS):
                await asyncio.sleep(site.random.uniform(0.05, 0.9))
                gateway_too = form == "--two-processes" and gateway_kills < RESTARTS_MAX
                if gateway_too and site.random.random() < 0.5:
                    await site.kill_gateway()
                    gateway_kills += 1
                else:
                    await site.kill()
                    gateway_kills = 0
                    await asyncio.sleep(site.random.uniform(0, 0.1))
                    await site.start()
            await asyncio.sleep(1)
        await site.all_ended(within_s=10 * WITHIN_S)
        said = await site.invariants(full=True)
        buyer = await site.account("buyer")
    finally:
        await site.stop()

    told = site.told
    assert said.epoch == site.starts
    assert site.kills == KILLS
    paid = sum(paid for _, paid in told.ended.values())
    assert buyer.balance_nanos == 10**12 + sum(told.deposits.values()) - paid
    assert buyer.pending_nanos == 0
    states = Counter(state for state, _ in told.ended.values())
    assert states[jobs_pb.JOB_STATE_SETTLED], f"nothing settled: {states}"
    judge(site.data / "journal", told, said, site.starts - 1)
