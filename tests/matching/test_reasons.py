"""A bid that does not trade is told the true reason: each reason is tried out, on the twin.

What a reason claims is a counterfactual: with a slot, with a higher price, with the class open it
would be otherwise. So every claim is put to the test on a copy of the market with that one change,
in which the bid stands alone.
"""

from __future__ import annotations

import random

from matching import Bid, NoTradeReason, SlotPool, StandingQuote
from matching.reference import NaiveClearingGroup
from tests.matching.clearing_twins import CLASSES, GROUPS, Twins, World, group_of, random_command
from tests.matching.sizes import REASONS

R = NoTradeReason


def without_bids(group: NaiveClearingGroup) -> NaiveClearingGroup:
    """A copy with pools of its own, and no demand."""
    made, pools = NaiveClearingGroup(group.group_id, group.k_ns), {}
    for quote in group.quotes():
        old = quote.pool
        if old.pool_id not in pools:
            pools[old.pool_id] = SlotPool(old.pool_id, old.account_id, old.slots)
            pools[old.pool_id].in_use = old.in_use
        args = quote.quote_id, quote.instrument_id, pools[old.pool_id], quote.prices
        made.set_quote(StandingQuote(*args, quote.sequence))
    halted = group.state()[2]
    for instrument_id in CLASSES:
        made.set_open(instrument_id, instrument_id not in halted)
    return made


class Alone:
    """A copy of a world in which one bid is all the demand, and which can be changed."""

    def __init__(self, world: World, bid: Bid, now_ns: int) -> None:
        group = world.groups[group_of(bid.classes[0].instrument_id)]
        assert isinstance(group, NaiveClearingGroup)
        self.group = without_bids(group)
        self.bid = bid
        self.now_ns = now_ns
        self.named = [c.instrument_id for c in bid.classes]
        self.in_time = [c.instrument_id for c in bid.classes if c.latest_start_ns >= now_ns]

    def trades(self, **changes: object) -> bool:
        """Whether the bid leaves at once: with a slot, or as a self-trade."""
        group = without_bids(self.group)
        group.add_bid(self.bid._replace(**changes))  # type: ignore[arg-type]
        done = group.uncross(self.now_ns)
        return bool(done.fills or done.self_trades)

    def open_all(self) -> None:
        for instrument_id in CLASSES:
            self.group.set_open(instrument_id, True)

    def close(self, instrument_ids: list[int]) -> None:
        for instrument_id in instrument_ids:
            self.group.set_open(instrument_id, False)

    def add_slots(self) -> None:
        """A slot for next to nothing in every class."""
        for instrument_id in self.named:
            pool = SlotPool(900 + instrument_id, 900, 1)
            quote_id = 900 + instrument_id
            self.group.set_quote(StandingQuote(quote_id, instrument_id, pool, (1,), quote_id))

    def free_all(self) -> None:
        """End the leases on every pool that is quoted in an open class it can start in."""
        for quote in self.group.quotes():
            quote.pool.slots = max(1, quote.pool.slots)
            quote.pool.in_use = 0

    def quotes(self) -> list[StandingQuote]:
        halted = self.group.state()[2]
        usable = [i for i in self.in_time if i not in halted]
        return [quote for quote in self.group.quotes() if quote.instrument_id in usable]


HIGH = {"density": 10**9, "cap": 10**9, "flat": True}
"""The changes that make a bid pay all that can be asked."""


def check_reason(world: World, bid: Bid, now_ns: int) -> NoTradeReason | None:
    """Put what a bid is told to the test; returns it."""
    group = world.groups[group_of(bid.classes[0].instrument_id)]
    told = group.why_not(bid.bid_id, now_ns)
    alone = Alone(world, bid, now_ns)
    if told is None:
        assert alone.trades()
        return None
    assert not alone.trades()
    assert told.bid_price == bid.price(now_ns, group.k_ns)
    assert (told.best_ask is not None) == (told.reason == R.PRICE_BELOW_ASK)
    if told.reason == R.TOO_LATE:
        # Whatever is offered to it, and whatever it pays.
        alone.open_all()
        alone.add_slots()
        assert not alone.trades(**HIGH)
    elif told.reason == R.HALTED:
        alone.add_slots()
        assert not alone.trades(**HIGH)
        alone.open_all()
        assert alone.trades(**HIGH)
    elif told.reason == R.NO_ASKS:
        assert not alone.quotes()
        alone.free_all()
        assert not alone.trades(**HIGH)
        alone.add_slots()
        assert alone.trades(**HIGH)
    elif told.reason == R.NO_FREE_SLOT:
        assert alone.quotes()
        assert not alone.trades(**HIGH)
        alone.free_all()
        assert alone.trades(**HIGH)
    else:
        # One step of price decides, whether it comes from the bid or from the ask.
        ask = told.best_ask
        assert ask is not None
        assert alone.trades(density=ask, cap=ask, flat=True)
        assert ask == 1 or not alone.trades(density=ask - 1, cap=ask - 1, flat=True)
    return told.reason


def test_every_reason_is_true() -> None:
    rng, met, left = random.Random(3), dict.fromkeys(R, 0), REASONS
    while left > 0:
        twins, top = Twins(), rng.choice((8, 60, 100_000))
        for _ in range(60):
            random_command(twins, rng, top, 0.0)
        twins.uncross(*GROUPS)
        naive = twins.worlds[1]
        for group_id in GROUPS:
            for bid in naive.groups[group_id].bids():
                reason = check_reason(naive, bid, twins.now_ns)
                # Whoever could still trade has traded.
                assert reason is not None
                met[reason] += 1
                left -= 1
    assert min(met.values()) > REASONS // 100, met


def test_a_bid_that_can_trade_is_told_nothing() -> None:
    rng, able = random.Random(4), 0
    while able < REASONS // 20:
        twins, top = Twins(), rng.choice((8, 60, 100_000))
        for _ in range(60):
            random_command(twins, rng, top, 0.0)
        naive = twins.worlds[1]
        for group_id in GROUPS:
            for bid in naive.groups[group_id].bids():
                able += check_reason(naive, bid, twins.now_ns) is None
