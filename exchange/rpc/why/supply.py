"""What there is to buy in a batch instrument, and what a batch would do with one more bid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Final, NamedTuple

from exchange.core.exchange import Exchange
from matching.slots import StandingQuote

LEVELS_MAX: Final = 100
"""Levels of a side that are looked at: what everybody may see of a book."""
NS_PER_MS: Final = 10**6

Level = tuple[int, int, int]
"""(price, quantity, orders)."""


class Supply(NamedTuple):
    """The slots that are quoted in a batch instrument.

    Attributes:
        best_ask_nanos: The cheapest free slot; 0 where none is free.
        free: Slots that are free.
        slots: Slots that are quoted, free or not.
        freed_by_ns: Where none is free: when one is at the latest; 0 where that is not known.
    """

    best_ask_nanos: int
    free: int
    slots: int
    freed_by_ns: int


def quotes_on(core: Exchange, instrument_id: int) -> list[StandingQuote]:
    """The standing quotes of a batch instrument. O(quotes of its clearing group)."""
    group = core.groups[core.instruments[instrument_id].clearing_group_id]
    return [quote for quote in group.quotes() if quote.instrument_id == instrument_id]


def supply(core: Exchange, instrument_id: int) -> Supply:
    """What there is to buy now. O(quotes of its clearing group)."""
    quotes = quotes_on(core, instrument_id)
    free = sum(quote.free_slots() for quote in quotes)
    return Supply(
        min((ask for quote in quotes if (ask := quote.ask()) is not None), default=0),
        free,
        sum(_sold(quote) for quote in quotes),
        0 if free else _freed_by_ns(core, quotes),
    )


def _sold(quote: StandingQuote) -> int:
    """Slots that a quote has a price for."""
    return min(quote.pool.slots, len(quote.prices))


def _freed_by_ns(core: Exchange, quotes: Iterable[StandingQuote]) -> int:
    """When the first lease must have ended whose end gives one of these quotes a slot."""
    # A pool that is over-full, since it shrank, needs more than one end.
    pools = {q.pool.pool_id for q in quotes if q.pool.in_use == _sold(q)}
    workers = {core.pools[pool_id].worker_id for pool_id in pools}
    leases = [core.leases[i] for worker_id in workers for i in core.workers[worker_id].lease_ids]
    return min((lease.settle_by_ns for lease in leases if lease.pool_id in pools), default=0)


def ahead(levels: Iterable[Level], price: int, sign: int, *, ties: bool) -> int:
    """Orders at better prices than this one; with `ties` those at the same price, too.

    Args:
        levels: One side.
        price: Of the order.
        sign: 1 for bids, -1 for asks.
        ties: Whether those at the same price count.
    """
    least = sign * price + (0 if ties else 1)
    return sum(orders for at, _, orders in levels if sign * at >= least)


def batch_price(asks: Iterable[Level], bids: Iterable[Level], bid_nanos: int) -> int:
    """The price at which one more bid would get a slot in the next batch; 0 where it would not.

    As if the instrument cleared alone: slots that are quoted elsewhere, too, and jobs that may run
    elsewhere, can make it otherwise.
    """
    slots = chain.from_iterable(repeat(price, free) for price, free, _ in asks)
    got = False
    price = 0
    for bid, own in _turns(bids, bid_nanos):
        ask = next(slots, None)
        if ask is None:
            # Refused for want of a slot: the best of these sets a price.
            return max(price, bid) if got else 0
        if ask > bid:
            return price if got else 0
        price = ask
        got |= own
    return price


def _turns(bids: Iterable[Level], own_nanos: int) -> Iterator[tuple[int, bool]]:
    """Bids from the highest; the one more comes last of those at its price."""
    told = False
    for price, jobs, _ in bids:
        if price < own_nanos and not told:
            told = True
            yield own_nanos, True
        yield from repeat((price, False), jobs)
    if not told:
        yield own_nanos, True


def dollars(nanos: int) -> str:
    """An amount, exact.

    >>> dollars(1_700), dollars(2_500_000_000)
    ('$0.0000017', '$2.50')
    """
    whole, rest = divmod(nanos, 10**9)
    digits = f"{rest:09}".rstrip("0")
    return f"${whole}.{digits:0<2}"


def seconds(duration_ns: int) -> str:
    """A duration, to the millisecond.

    >>> seconds(1_250_000_000), seconds(60 * 10**9)
    ('1.25 s', '60 s')
    """
    return f"{duration_ns // NS_PER_MS / 1_000:g} s"
