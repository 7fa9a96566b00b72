"""Best prices over time: looked at once a second, kept where they have changed. Pure.

A second is looked at by its first commit group, in the state after it. So a change is told by the
first group of a later second, whatever happened in between, and the same journal always gives the
same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from exchange.core.limits import NS_PER_S

if TYPE_CHECKING:
    from exchange.core.exchange import Exchange


class BestPrices(NamedTuple):
    """The best level of each side; 0 where a side is empty."""

    bid_nanos: int
    bid_quantity: int
    ask_nanos: int
    ask_quantity: int


NOTHING = BestPrices(0, 0, 0, 0)


class Sampler:
    """Finds what has changed from second to second.

    Args:
        now_ns: Journal time: its second was looked at.
        latest: What is known of each instrument; nothing is the same as an empty book.
    """

    def __init__(self, now_ns: int, latest: dict[int, BestPrices]) -> None:
        self._second = now_ns // NS_PER_S
        self._latest = latest
        self._sequences: dict[int, int] = {}

    def look(self, core: Exchange) -> Iterator[tuple[int, BestPrices]]:
        """The instruments whose best prices have changed, if a second has begun. O(instruments)."""
        second = core.now_ns // NS_PER_S
        if second == self._second:
            return
        self._second = second
        for instrument_id in core.instruments:
            book = core.books.get(instrument_id)
            if book is not None:
                # Most books have not moved, and looking at a number is cheaper than at a book.
                if self._sequences.get(instrument_id) == book.sequence:
                    continue
                self._sequences[instrument_id] = book.sequence
            bids, asks = core.depth(instrument_id, 1)
            found = BestPrices(
                *(bids[0][:2] if bids else (0, 0)),
                *(asks[0][:2] if asks else (0, 0)),
            )
            if found != self._latest.get(instrument_id, NOTHING):
                self._latest[instrument_id] = found
                yield instrument_id, found
