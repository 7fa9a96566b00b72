"""Seeded torture: nothing that fits a record may raise, and what is refused changes nothing."""

from __future__ import annotations

import pytest

from exchange.core.events import Refused
from tests.exchange.core import sizes
from tests.exchange.core.chaos import Chaos
from tests.exchange.core.ledger_model import LedgerModel
from tests.exchange.core.scenario import Market, unchanged_but_for_sequence

SEEDS = range(sizes.FIRST_SEED, sizes.FIRST_SEED + sizes.TORTURE_SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_raises_and_a_refusal_changes_nothing(seed: int) -> None:
    market = Market()
    model = LedgerModel(market.exchange)
    chaos = Chaos(market, seed)
    for _ in range(sizes.TORTURE_COMMANDS):
        command = chaos.command()
        before = market.exchange.state_tree()
        events = market.events(command)
        if isinstance(events[0], Refused):
            assert len(events) == 1
            assert unchanged_but_for_sequence(before, market.exchange.state_tree()), command
        chaos.saw(events)
        model.saw(command, events)
        model.compare()
    market.close()
