"""What leases took beyond their promise, from a record written by hand."""

from __future__ import annotations

import pytest

from exchange.core.exchange import Exchange
from flopex.live.overhead import Overhead
from tests.sim.records import Hand


def test_leases_are_held_against_their_promise() -> None:
    hand = Hand()
    for beyond_ms in (5, 15):
        hand.job()
        # 100 tokens in and 50 out are promised in six seconds; a millisecond went to the start.
        hand.settle(hand.start(), tokens=50, after_ms=6_000 + beyond_ms - 1)
    overhead, core = Overhead(), Exchange()
    for commands in hand.recorder.groups:
        overhead.see(core, commands, core.apply(commands))
    told = overhead.summary()
    assert told["accept_p50_ms"] == pytest.approx(1)
    assert told["beyond_promise_p50_ms"] == pytest.approx(10)
    assert Overhead().summary()["accept_p95_ms"] == 0
