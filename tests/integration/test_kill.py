"""Kill -9 at random moments: what was acknowledged is there again, and nothing happens twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from exchange.core import commands as c
from exchange.core import events as e
from exchange.core.commands import decode
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import read_journal
from exchange.v1 import job_service_pb2 as jobs_pb
from tests.integration.crash_site import CrashSite

KILLS = int(os.environ.get("FLOPEX_KILLS", "50"))
SEED = int(os.environ.get("FLOPEX_SEED", "1"))


@pytest.mark.integration
@pytest.mark.timeout(60 + 20 * KILLS)
@pytest.mark.parametrize("form", ["--single-process", "--two-processes"])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, form: str) -> None:
    site = CrashSite(tmp_path, SEED, form)
    try:
        await site.start()
        await site.furnish()
        await site.hire(2)
        async with site.crowd():
            for _ in range(KILLS):
                await asyncio.sleep(site.random.uniform(0.05, 0.9))
                if form == "--two-processes" and site.random.random() < 0.5:
                    await site.kill_gateway()
                else:
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
    assert said.failure == ""
    assert said.ledger_imbalance_nanos == said.overspend_nanos == 0
    assert said.epoch == site.starts
    assert site.kills == KILLS
    paid = sum(paid for _, paid in told.ended.values())
    assert buyer.balance_nanos == 10**12 + sum(told.deposits.values()) - paid
    assert buyer.pending_nanos == 0
    states = Counter(state for state, _ in told.ended.values())
    assert states[jobs_pb.JOB_STATE_SETTLED] > KILLS / 2, f"hardly anything settled: {states}"

    core, seen = _replay(site.data / "journal")
    assert core.epoch == site.starts
    for ident, job_id in told.jobs.items():
        assert seen.jobs[ident] == job_id
    for ident, order_id in told.orders.items():
        assert seen.orders[ident] == order_id
    for ident, amount in told.deposits.items():
        assert seen.deposits[ident] == amount
    assert max(seen.posted_leases.values(), default=0) <= 1, "a lease was paid twice"
    assert max(seen.granted_slots.values(), default=0) <= 2, "a slot was sold twice"


class _Seen:
    """What the journal did."""

    def __init__(self) -> None:
        self.jobs: dict[bytes, int] = {}
        self.orders: dict[bytes, int] = {}
        self.deposits: dict[bytes, int] = {}
        self.posted_leases: Counter[int] = Counter()
        self.granted_slots: dict[int, int] = {}


def _replay(directory: Path) -> tuple[Exchange, _Seen]:
    """Apply the journal anew; each accepted client id must appear once."""
    core, seen = Exchange(), _Seen()
    for record in read_journal(directory, rules_version=RULES_VERSION):
        commands = decode(record.payload)
        for command, events in zip(commands, core.apply(commands), strict=True):
            first = events[0]
            if isinstance(command, c.SubmitJob) and isinstance(first, e.JobQueued):
                assert command.client_job_id not in seen.jobs
                seen.jobs[command.client_job_id] = first.job_id
            elif isinstance(command, c.PlaceOrder) and isinstance(first, e.OrderAccepted):
                assert command.client_order_id not in seen.orders
                seen.orders[command.client_order_id] = first.order_id
            elif isinstance(command, c.Deposit) and isinstance(first, e.Posted):
                assert command.request_id not in seen.deposits
                seen.deposits[command.request_id] = command.amount_nanos
            for event in events:
                if isinstance(event, e.Posted) and event.kind == e.EntryKind.LEASE:
                    seen.posted_leases[event.reference_id] += 1
        for worker in core.workers.values():
            held = max(worker.in_use)
            seen.granted_slots[worker.worker_id] = max(
                held, seen.granted_slots.get(worker.worker_id, 0)
            )
    core.check()
    return core, seen
