"""One price per class always exists: the interval it must lie in is never empty.

    highest accepted ask, best bid refused there for want of a slot <= price <= lowest accepted bid

The parts are taken afresh from what an uncross did, from the bids that are left and from their
turns, not from what the group computed on the way.
"""

from __future__ import annotations

import random

from matching import Bid, ClassBid, ClearingGroup, SlotPool, StandingQuote, Uncross
from tests.matching.sizes import CLASS_CLEARS

K_NS = 1_000
CLASSES = (1, 2, 3)


def random_group(rng: random.Random) -> tuple[ClearingGroup, list[SlotPool]]:
    """Pools quoted in several classes, and more bids than slots or fewer."""
    group = ClearingGroup(1, K_NS)
    top = rng.choice((5, 40, 10_000))
    pools = [SlotPool(n, n, rng.randint(1, 3)) for n in range(rng.randint(1, 5))]
    for pool in pools:
        pool.in_use = rng.randint(0, pool.slots)
        for instrument_id in rng.sample(CLASSES, rng.randint(1, 3)):
            prices = tuple(sorted(rng.randint(1, top) for _ in range(rng.randint(1, 4))))
            quote_id = 10 * pool.pool_id + instrument_id
            group.set_quote(StandingQuote(quote_id, instrument_id, pool, prices, quote_id))
    for bid_id in range(100, 100 + rng.randint(1, 14)):
        starts = sorted((rng.randint(-100, 3_000), c) for c in rng.sample(CLASSES, 2))
        classes = tuple(ClassBid(c, at) for at, c in starts[: rng.randint(1, 2)])
        density, cap = rng.randint(1, 2 * top), rng.choice((10**9, rng.randint(1, 2 * top)))
        account, flat = rng.choice((bid_id, rng.randrange(5))), rng.random() < 0.5
        latest = classes[-1].latest_start_ns
        group.add_bid(Bid(bid_id, account, density, cap, latest, bid_id, classes, flat))
    return group, pools


def refused_for_want_of_a_slot(
    instrument_id: int, before: list[Bid], done: Uncross, pools: list[SlotPool]
) -> int:
    """What the first bid that was refused in a class paid, if it found no slot there; 0 if it did.

    That bid is the first in turn of those that are left. The slots it found taken are those of the
    fills before it: a bid for which a free slot is too dear sets no price, nor does any after it.
    """
    turns = {b.bid_id: (-b.price(0, K_NS), b.latest_start_ns, b.sequence) for b in before}
    gone = {fill.bid_id for fill in done.fills} | set(done.self_trades)
    left = [
        turns[bid.bid_id]
        for bid in before
        if bid.bid_id not in gone and turns[bid.bid_id][0] < 0
        if any(named == instrument_id and until >= 0 for named, until in bid.classes)
    ]
    if not left:
        return 0
    first = min(left)
    for pool in pools:
        taken_later = sum(f.pool_id == pool.pool_id for f in done.fills if turns[f.bid_id] > first)
        in_use = pool.in_use - taken_later
        for quote in pool.quotes:
            sold = min(pool.slots, len(quote.prices))
            if quote.instrument_id == instrument_id and in_use < sold:
                return 0
    return -first[0]


def test_the_interval_of_every_class_price_holds_a_price() -> None:
    rng, clears, from_refused = random.Random(15), 0, 0
    while clears < CLASS_CLEARS:
        group, pools = random_group(rng)
        before = group.bids()
        done = group.uncross(0)
        for instrument_id, price in done.prices.items():
            fills = [fill for fill in done.fills if fill.instrument_id == instrument_id]
            refused = refused_for_want_of_a_slot(instrument_id, before, done, pools)
            low = max(refused, *(fill.ask_price for fill in fills))
            assert low <= min(fill.bid_price for fill in fills)
            assert price == low
            assert {fill.price for fill in fills} == {price}
            clears += 1
            from_refused += refused == low
    assert from_refused > clears // 20
