"""The clock beside tests: the machine's, but for the time in which this process stood still."""

from __future__ import annotations

import asyncio

import pytest

from exchange.testing import PatientClock, clock
from exchange.testing.clock import STEP_MAX_NS
from tests.waiting import WITHIN_S


class Machine:
    """Takes the place of module `time`."""

    def __init__(self) -> None:
        self.passed_ns = 0

    def time_ns(self) -> int:
        return clock.START_NS

    def monotonic_ns(self) -> int:
        return self.passed_ns


def test_what_passes_between_two_looks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(clock, "time", machine)
    patient = PatientClock()
    for passed_ns, counted_ns in (
        (0, 0),
        (7, 7),
        (STEP_MAX_NS, STEP_MAX_NS),
        (10**10, STEP_MAX_NS),
    ):
        before = patient.now_ns()
        machine.passed_ns += passed_ns
        assert patient.now_ns() - before == counted_ns


async def test_it_runs_while_it_is_looked_at() -> None:
    patient = PatientClock()
    before = patient.now_ns()
    ticking = asyncio.create_task(patient.tick())
    async with asyncio.timeout(WITHIN_S):
        while patient._now_ns < before + 3 * STEP_MAX_NS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    ticking.cancel()
