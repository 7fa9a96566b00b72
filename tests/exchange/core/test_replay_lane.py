"""Records carried out as they lie in bytes do what the commands do that they are."""

from __future__ import annotations

import random

import pytest

from exchange.core import commands as c
from exchange.core.events import AnyEvent
from exchange.core.exchange import Exchange
from exchange.core.records import RecordError
from exchange.core.snapshot import load
from tests.exchange.core.chaos import Chaos, OrderChaos
from tests.exchange.core.scenario import Market

GROUP_MAX = 30


@pytest.fixture(autouse=True)
def _as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreted, too, bytes are read and written here as compiled code does it."""
    monkeypatch.setattr("exchange.core.exchange.COMPILED", True)


def replaying(exchange: Exchange) -> Exchange:
    twin = load(exchange.dump())
    twin.tape.digesting = True
    return twin


def group_of(chaos: Chaos, size: int) -> tuple[list[c.Command], list[list[AnyEvent]]]:
    """Commands carried out one by one, as each names what those before it have made."""
    commands: list[c.Command] = []
    results: list[list[AnyEvent]] = []
    for _ in range(size):
        commands.append(chaos.command())
        results += chaos.market.exchange.apply(commands[-1:])
        chaos.saw(results[-1])
    return commands, results


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", [Chaos, OrderChaos])
def test_both_ways_are_one(kind: type[Chaos], seed: int) -> None:
    """Thousands of random commands, refused ones among them: the same events, the same state."""
    market = Market()
    chaos = kind(market, seed)
    twin, other = replaying(market.exchange), replaying(market.exchange)
    chance = random.Random(seed)
    refused = 0
    for _ in range(120):
        commands, results = group_of(chaos, chance.randint(1, GROUP_MAX))
        payload = b"".join([command.encode() for command in commands])
        told = twin.apply_records(payload)
        assert list(told) == results
        assert told.rows == other.apply(commands).rows
        assert twin.sequence == market.exchange.sequence
        refused += sum(type(told[0]).__name__ == "Refused" for told in results)
    assert refused > 100, "this compares no refusals"
    twin.check()
    assert twin.digest() == market.exchange.digest()


def test_ids_of_all_sizes_are_read() -> None:
    """Unsigned fields, whose highest bit is no sign."""
    market = Market()
    twin = replaying(market.exchange)
    most = 2**32 - 1
    for command in (
        c.CancelOrder(most, 2**64 - 1, bytes(16)),
        c.CancelOrder(market.ann, 2**63, bytes(16)),
        market.order(account_id=most),
        market.order(instrument_id=most, side=255, order_type=255, time_in_force=255),
    ):
        results = market.exchange.apply([command])
        assert list(twin.apply_records(command.encode())) == list(results)


def test_damaged_bytes_are_named_as_by_the_decoder() -> None:
    market = Market()
    order = market.order().encode()
    cancel = c.CancelOrder(market.ann, 1, bytes(16)).encode()
    for whole in (order, cancel):
        for damaged in (
            whole[:-1],
            whole[:7],
            b"\xff\xff" + whole[2:],
            whole[:4] + b"\x01" + whole[5:],
        ):
            with pytest.raises(RecordError) as said:
                c.decode(damaged)
            with pytest.raises(RecordError) as found:
                replaying(market.exchange).apply_records(damaged)
            assert str(found.value) == str(said.value)
