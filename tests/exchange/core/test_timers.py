"""Timers against a naive twin: a dict of what is armed."""

from __future__ import annotations

import random

import pytest

from exchange.core.timers import COMPACT_AT_LEAST, TimerKind, Timers

KINDS = (TimerKind.LEASE_STEP, TimerKind.JOB_INFEASIBLE, TimerKind.JOB_FORGET)
Armed = dict[tuple[TimerKind, int], int]


def first(armed: Armed) -> tuple[int, TimerKind, int] | None:
    """What fires next: by time, then kind, then id."""
    return min(((due_ns, *key) for key, due_ns in armed.items()), default=None)


@pytest.mark.parametrize("seed", range(6))
def test_they_fire_as_their_naive_twin(seed: int) -> None:
    rng = random.Random(seed)
    timers, armed = Timers(), Armed()
    now_ns = 1
    for _ in range(3_000):
        kind, ident = rng.choice(KINDS), rng.choice((1, 2, 3, rng.randrange(1, 10**12)))
        match rng.randrange(4):
            case 0 | 1:
                # Few times, so that many fire at once; a move may bring one forward or put it off.
                due_ns = now_ns + rng.randrange(1, 40)
                timers.set(kind, ident, due_ns)
                armed[kind, ident] = due_ns
            case 2:
                ident = rng.choice([i for _, i in armed] or [ident])
                timers.cancel(kind, ident)
                armed.pop((kind, ident), None)
            case _:
                now_ns += rng.randrange(4)
                while (key := timers.pop_due(now_ns)) is not None:
                    assert (armed[key], *key) == first(armed)
                    del armed[key]
        twin = first(armed)
        assert timers.next_ns() == (twin[0] if twin else None)
        assert twin is None or twin[0] > now_ns or timers.pop_due(twin[0] - 1) is None
        assert timers.due_ns(kind, ident) == armed.get((kind, ident))
    timers.check()
    restored = Timers()
    restored.restore(timers.state())
    restored.check()
    assert (restored.state(), restored.next_ns()) == (timers.state(), timers.next_ns())


def test_moving_all_of_a_kind_moves_the_first() -> None:
    timers = Timers()
    for ident in (1, 2):
        timers.set(TimerKind.LEASE_STEP, ident, 10 * ident)
        timers.set(TimerKind.JOB_FORGET, ident, 30 * ident)
    timers.extend(frozenset({TimerKind.LEASE_STEP}), 25)
    timers.check()
    assert [timers.pop_due(100) for _ in range(4)] == [
        (TimerKind.JOB_FORGET, 1),
        (TimerKind.LEASE_STEP, 1),
        (TimerKind.LEASE_STEP, 2),
        (TimerKind.JOB_FORGET, 2),
    ]


def test_the_heap_stays_near_what_is_armed() -> None:
    timers = Timers()
    for ident in range(3 * COMPACT_AT_LEAST):
        timers.set(TimerKind.LEASE_SETTLE, ident, 10**18 + ident)
        if ident % 3:
            timers.cancel(TimerKind.LEASE_SETTLE, ident)
    timers.check()
    assert len(timers._kinds[TimerKind.LEASE_SETTLE].heap) <= 2 * COMPACT_AT_LEAST
