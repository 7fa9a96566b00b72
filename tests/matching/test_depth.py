"""The visible book: examples, and a naive twin that keeps orders in plain lists."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.client.books import checksum as client_checksum
from exchange.client.market_types import Level as ClientLevel
from matching.depth import (
    CHECKSUM_LEVELS,
    BestPrices,
    BookMismatchError,
    Depth,
    Level,
    LevelChange,
    SequenceGapError,
    Snapshot,
    VisibleOrder,
    levels_checksum,
)
from matching.types import Side


def small_book() -> Depth:
    depth = Depth()
    depth.add(1, 10, Side.BID, 99, 5)
    depth.add(2, 11, Side.ASK, 101, 7)
    return depth


def test_an_empty_book_has_no_prices_and_the_checksum_of_the_bare_line() -> None:
    depth = Depth()
    assert depth.best() == BestPrices(None, None)
    assert depth.levels(Side.BID, 10) == []
    assert depth.checksum() == crc32(b"|")
    depth.check()


def test_the_checksum_is_the_documented_one() -> None:
    assert small_book().checksum() == crc32(b"99:5,|101:7,") == 2460465810


def test_a_client_computes_the_same_checksum() -> None:
    depth = small_book()
    levels = [
        [ClientLevel(*level) for level in depth.levels(side, CHECKSUM_LEVELS)] for side in Side
    ]
    assert client_checksum(*levels) == depth.checksum()


def test_the_checksum_covers_ten_levels_of_each_side() -> None:
    depth = Depth()
    for number in range(CHECKSUM_LEVELS):
        depth.add(2 * number + 1, 2 * number, Side.BID, 99 - number, 1)
        depth.add(2 * number + 2, 2 * number + 1, Side.ASK, 101 + number, 1)
    before = depth.checksum()
    after = 2 * CHECKSUM_LEVELS
    depth.add(after + 1, 500, Side.BID, 99 - CHECKSUM_LEVELS, 1)
    depth.add(after + 2, 501, Side.ASK, 101 + CHECKSUM_LEVELS, 1)
    assert depth.checksum() == before, "the eleventh level is not covered"
    depth.change(after + 3, 2 * CHECKSUM_LEVELS - 2, 2)
    assert depth.checksum() != before, "the tenth level is covered"


def test_changes_are_collected_per_level() -> None:
    depth = small_book()
    depth.add(3, 12, Side.BID, 99, 4)
    assert depth.take_changes() == [
        LevelChange(Side.BID, Level(99, 9, 2)),
        LevelChange(Side.ASK, Level(101, 7, 1)),
    ]
    depth.change(4, 12, 1)
    depth.remove(5, 11)
    assert depth.take_changes() == [
        LevelChange(Side.BID, Level(99, 6, 2)),
        LevelChange(Side.ASK, Level(101, 0, 0)),
    ]
    assert depth.take_changes() == []


def test_a_gap_is_refused_and_changes_nothing() -> None:
    depth = small_book()
    for sequence in (0, 2, 4):
        with pytest.raises(SequenceGapError) as raised:
            depth.skip(sequence)
        assert (raised.value.expected, raised.value.got) == (3, sequence)
    assert depth.snapshot() == small_book().snapshot()


def test_events_that_do_not_fit_are_refused_and_change_nothing() -> None:
    depth = small_book()
    before = depth.snapshot()
    with pytest.raises(BookMismatchError):
        depth.add(3, 10, Side.BID, 98, 1)
    with pytest.raises(BookMismatchError):
        depth.add(3, 12, Side.BID, 98, 0)
    with pytest.raises(BookMismatchError):
        depth.change(3, 12, 1)
    with pytest.raises(BookMismatchError):
        depth.change(3, 10, 0)
    with pytest.raises(BookMismatchError):
        depth.remove(3, 12)
    with pytest.raises(BookMismatchError):
        Depth(Snapshot(1, (VisibleOrder(1, Side.BID, 1, 1), VisibleOrder(1, Side.BID, 2, 1))))
    assert depth.snapshot() == before
    depth.check()


class NaiveDepth:
    """Orders in arrival order; everything else is computed from them each time."""

    def __init__(self) -> None:
        self.orders: list[VisibleOrder] = []

    def side(self, side: Side) -> list[Level]:
        prices = sorted({o.price for o in self.orders if o.side is side}, reverse=side is Side.BID)
        levels = []
        for price in prices:
            here = [o.quantity for o in self.orders if (o.side, o.price) == (side, price)]
            levels.append(Level(price, sum(here), len(here)))
        return levels


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "change", "remove", "requeue", "skip"]),
        st.integers(0, 30),
        st.sampled_from(list(Side)),
        st.integers(1, 8),
        st.integers(1, 9),
    ),
    max_size=80,
)


@given(OPERATIONS)
def test_depth_equals_its_naive_twin(operations: list[tuple[str, int, Side, int, int]]) -> None:
    depth, naive = Depth(), NaiveDepth()
    sequence = 0
    # What a reader of levels alone would hold.
    levels: dict[tuple[Side, int], Level] = {}
    for what, pick, side, price, quantity in operations:
        known = naive.orders[pick % len(naive.orders)] if naive.orders else None
        sequence += 1
        if what == "add" or known is None:
            order = VisibleOrder(1_000 + sequence, side, price, quantity)
            depth.add(sequence, *order)
            naive.orders.append(order)
        elif what == "change":
            depth.change(sequence, known.order_id, quantity)
            at = naive.orders.index(known)
            naive.orders[at] = known._replace(quantity=quantity)
        elif what == "remove":
            depth.remove(sequence, known.order_id)
            naive.orders.remove(known)
        elif what == "requeue":
            # An iceberg's next display: gone, and back at the end of the queue.
            depth.remove(sequence, known.order_id)
            sequence += 1
            depth.add(sequence, *known)
            naive.orders.remove(known)
            naive.orders.append(known)
        else:
            depth.skip(sequence)
        depth.check()
        for change in depth.take_changes():
            levels[change.side, change.level.price] = change.level
    bids, asks = naive.side(Side.BID), naive.side(Side.ASK)
    assert depth.levels(Side.BID, 100) == bids
    assert depth.levels(Side.ASK, 100) == asks
    assert depth.best() == BestPrices(bids[0] if bids else None, asks[0] if asks else None)
    assert depth.checksum() == levels_checksum(bids[:10], asks[:10])
    assert sorted(v for v in levels.values() if v.orders) == sorted(bids + asks)
    snapshot = depth.snapshot()
    assert snapshot.sequence == sequence
    for side in Side:
        want = sorted(
            (o for o in naive.orders if o.side is side),
            key=lambda o: -o.price if o.side is Side.BID else o.price,
        )
        assert [o for o in snapshot.orders if o.side is side] == want
    again = Depth(snapshot)
    again.check()
    assert again.snapshot() == snapshot
    assert again.checksum() == depth.checksum()
