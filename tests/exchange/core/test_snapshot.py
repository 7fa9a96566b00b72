"""An exchange made of another's state is the other: in every attribute, and in all that follows."""

from __future__ import annotations

import hashlib
import random
from typing import Final

import msgspec
import pytest

import matching
from exchange.core import commands as c
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_S, RULES_VERSION
from exchange.core.rules import LIVE_RULES
from exchange.core.snapshot import SnapshotInvalid, load
from exchange.core.state import array_head
from tests.exchange.core.chaos import Chaos
from tests.exchange.core.graph import Comparison
from tests.exchange.core.scenario import Market

NO_STATE: Final = {
    # Whoever is under way, or listens.
    "Exchange": frozenset({"_placed", "tape", "heard", "retry_at_ns"}),
    "OrderDesk": frozenset({"_placed"}),
    "Tape": frozenset({"events", "packed", "written", "listening", "telling_rests"}),
    # Entries that no armed timer stands behind; the armed ones are in `due`.
    "KindTimers": frozenset({"heap"}),
    # Stakes of nothing may be missing; `positions` and `exposure` are in the state, and the orders'
    # own stakes are compared.
    # Orders and holds stand in their lists as others went; `orders` and their own ids have them.
    "Account": frozenset({"stakes", "orders"}),
    "OpenOrder": frozenset({"place"}),
    "Ledger": frozenset({"_holds"}),
    "Hold": frozenset({"place"}),
    "ClientIds": frozenset({"_bounded_at_ns", "_oldest", "_beyond"}),  # computed from the time
    # Only guards against a time that goes back; the exchange's own does that, too.
    # A class without a bid or a quote may be missing; the ladders are reached through the pools.
    "ClearingGroup": frozenset({"now_ns", "_classes"}),
    # What was last computed, and is computed again when it is asked for.
    "ClassBook": frozenset({"wake_ask", "wake_bid_id", "wake_ns", "wake_until_ns"}),
    # Shelves are cut as bids came, and bids that are too late leave when they are met; `check`
    # holds all of it against the group's bids, which are compared.
    "ClassBids": frozenset({"_paying", "_rows", "_tops", "_crests", "_limits"}),
    # Ages count up in the live book and from 1 in the restored; `image` has the order itself.
    "StopOrders": frozenset({"_arrivals", "_asks", "_bids", "_orders"}),
}
"""Attributes that may differ, and why. All others must be equal."""

ORDER_FREE: Final = {
    "IdTable": frozenset({"_by_id"}),  # looked up by key alone
    "Exchange": frozenset({"keys", "quotes"}),
    "KindTimers": frozenset({"due"}),  # the heap decides
    "ClearingGroup": frozenset({"_bids"}),  # every walk sorts
    "OrderIndex": frozenset({"by_id"}),  # the queues have the order
    "BookSide": frozenset({"levels"}),  # and the sorted keys
    "AskLadder": frozenset({"by_pool"}),
    "LegDesk": frozenset({"_orders", "_order_of"}),
    "OrderToTrade": frozenset({"_counts"}),
    "Job": frozenset({"dropped"}),  # told in order once, at entry
    "Worker": frozenset({"quotes"}),  # every walk sorts
}


def populated(seed: int, commands: int = 2_500) -> tuple[Market, Chaos]:
    """A market in which much has happened."""
    market = Market()
    chaos = Chaos(market, seed)
    for _ in range(commands):
        chaos.saw(market.exchange.apply([chaos.command()])[0])
    return market, chaos


def restored(exchange: Exchange) -> Exchange:
    state = exchange.dump()
    twin = load(state)
    twin.check()
    assert twin.dump() == state
    assert twin.digest() == exchange.digest()
    return twin


@pytest.mark.skipif(matching.COMPILED, reason="a compiled class does not show its attributes")
def test_every_attribute_is_in_the_state() -> None:
    """Also of what others add later: a new attribute that no state holds fails here."""
    seen: dict[str, set[str]] = {}
    for seed in (1, 2, 3, 4):
        market, _ = populated(seed)
        comparison = Comparison(NO_STATE, ORDER_FREE)
        comparison.compare("exchange", market.exchange, restored(market.exchange))
        assert not comparison.differences, "\n".join(comparison.differences)
        for kind, names in comparison.seen.items():
            seen.setdefault(kind, set()).update(names)
    wanted = {"Account", "Book", "ClearingGroup", "Conditions", "Guards", "Hold", "Job", "Lease"}
    wanted |= {"Level", "OpenOrder", "OrderToTrade", "Pool", "Quote", "VolatilityGuard", "Worker"}
    assert wanted <= seen.keys(), "the markets of this test lack something"


def test_the_comparison_finds_what_is_missing() -> None:
    """The harness itself: a difference in one attribute of one order is found and named."""
    market, _ = populated(5)
    twin = restored(market.exchange)
    order = next(iter(twin.orders.values()))
    order.posted_nanos += 1
    comparison = Comparison(NO_STATE, ORDER_FREE)
    comparison.compare("exchange", market.exchange, twin)
    assert any("posted_nanos" in difference for difference in comparison.differences) or (
        matching.COMPILED
    )
    assert twin.digest() != market.exchange.digest()


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_both_go_on_alike(seed: int) -> None:
    """Thousands of random commands after a restore have the same events and lead to one state."""
    market, chaos = populated(seed, commands=1_200)
    exchange = market.exchange
    chance = random.Random(seed)
    twin = restored(exchange)
    for number in range(3_000):
        command = chaos.command()
        (events,) = exchange.apply([command])
        assert list(twin.apply([command])) == [events], (number, command)
        chaos.saw(events)
        if number % 250 == 0:
            assert twin.digest() == exchange.digest()
            twin.check()
        if chance.random() < 0.002:
            twin = restored(twin)  # a restored one can be restored again
    assert twin.digest() == exchange.digest()


def test_minimums_keep_their_age() -> None:
    """Of two resting minimums the older has its turn first, though it stands behind in the book."""
    market = Market()
    for price in (100, 110):
        bid = market.conditional(price_nanos=price, quantity_mflop=4, min_quantity_mflop=3)
        market.events(bid)
    twin = restored(market.exchange)
    ask = market.order(account_id=market.bob, side=2, price_nanos=90, quantity_mflop=2)
    more = market.order(account_id=market.bob, side=2, price_nanos=90, quantity_mflop=1)
    assert list(twin.apply([ask, more])) == list(market.exchange.apply([ask, more]))
    assert twin.digest() == market.exchange.digest()


def test_a_client_id_is_remembered_as_long() -> None:
    market = Market()
    order = market.order()
    market.events(order)
    twin = restored(market.exchange)
    for exchange in (market.exchange, twin):
        first, second = exchange.apply([order, msgspec.structs.replace(order, price_nanos=99)])
        assert type(first[0]).__name__ == "Repeated"
        assert type(second[0]).__name__ == "Refused"
    later = c.Advance(market.now_ns + 100_000 * NS_PER_S)
    assert list(twin.apply([later])) == list(market.exchange.apply([later]))
    assert twin.digest() == market.exchange.digest()


def test_an_empty_exchange_too() -> None:
    assert restored(Exchange()).dump() == Exchange().dump()


def test_other_rules_are_refused() -> None:
    tree = msgspec.msgpack.decode(Exchange().dump())
    tree[0] = RULES_VERSION + 1
    with pytest.raises(SnapshotInvalid, match=f"rules {RULES_VERSION + 1}"):
        load(msgspec.msgpack.encode(tree))


def test_nothing_but_a_refusal_comes_of_bytes_that_are_no_state() -> None:
    """Flipped, cut and made-up bytes: an error of one kind, or a state."""
    market, _ = populated(21, commands=600)
    state = market.exchange.dump()
    chance = random.Random(21)
    refused = 0
    for _ in range(400):
        damaged = bytearray(state)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        try:
            load(bytes(damaged))
        except SnapshotInvalid:
            refused += 1
    assert refused > 50
    for nothing in (b"", b"\x90", b"\xc0", b"\x01", b"{}"):
        with pytest.raises(SnapshotInvalid):
            load(nothing)


@pytest.mark.parametrize("commands", [0, 20, 2_500])
def test_the_digest_is_that_of_the_dump(commands: int) -> None:
    exchange = populated(1, commands)[0].exchange
    assert exchange.digest() == hashlib.sha256(exchange.dump()).digest()


def test_arrays_of_every_length_begin_as_messagepack_says() -> None:
    for count in (0, 1, 15, 16, 65_535, 65_536):
        assert msgspec.msgpack.encode([None] * count).startswith(array_head(count))


def test_a_market_under_other_rules_gives_no_snapshot() -> None:
    """It has a digest, but no bytes that a live exchange would take for its own."""
    other = Exchange(LIVE_RULES._replace(batch_period_ns=1))
    assert other.digest() == Exchange().digest()
    with pytest.raises(AssertionError, match="other rules"):
        other.dump()
