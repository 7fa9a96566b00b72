"""Books and trades: the local book against the exchange's own rules, and broken subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.client import (
    Book,
    BookDamaged,
    Gap,
    Level,
    NotFound,
    NotImplementedYet,
    TradingState,
    Unavailable,
)
from exchange.client.books import LocalBook, book_from, checksum
from exchange.rpc import book_view
from exchange.rpc.book_view import BookView
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1 import market_pb2
from tests.exchange.client.scripted import QUICK, Context, connected, fail
from tests.waiting import WITHIN_S

SIDE = st.dictionaries(
    st.integers(min_value=1, max_value=60),
    st.tuples(st.integers(min_value=1, max_value=9), st.integers(min_value=1, max_value=3)),
    max_size=30,
)


def view(
    sequence: int, bids: dict[int, tuple[int, int]], asks: dict[int, tuple[int, int]]
) -> BookView:
    return BookView(
        1,
        sequence,
        sequence * 1_000,
        [(p, *bids[p]) for p in sorted(bids, reverse=True)],
        [(p, *asks[p]) for p in sorted(asks)],
        sequence % 7,
        TradingState.OPEN,
    )


def same(found: Book, wanted: BookView) -> bool:
    return found == Book(
        wanted.instrument_id,
        wanted.sequence,
        wanted.event_time_ns,
        tuple(Level(*x) for x in wanted.bids),
        tuple(Level(*x) for x in wanted.asks),
        wanted.last_price_nanos,
        book_view.checksum(wanted.bids, wanted.asks),
        TradingState.OPEN,
        None,
    )


@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8), st.integers(1, 30))
def test_a_local_book_follows_the_exchanges(
    steps: list[tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]], depth: int
) -> None:
    local = LocalBook()
    views = [view(i + 1, *step) for i, step in enumerate(steps)]
    views = [v._replace(bids=v.bids[:depth], asks=v.asks[:depth]) for v in views]
    assert same(local.apply(book_view.snapshot(views[0])), views[0])
    for before, after in itertools.pairwise(views):
        assert same(local.apply(book_view.delta(before, after)), after)


def test_what_does_not_fit_is_damage() -> None:
    first, second = view(1, {10: (1, 1)}, {}), view(2, {10: (2, 1)}, {})
    with pytest.raises(BookDamaged, match="before the snapshot"):
        LocalBook().apply(book_view.delta(first, second))
    local = LocalBook()
    local.apply(book_view.snapshot(first))
    with pytest.raises(BookDamaged, match="follows 9"):
        local.apply(book_view.delta(first._replace(sequence=9), second))
    wrong = book_view.delta(first, second)
    wrong.delta.checksum ^= 1
    with pytest.raises(BookDamaged, match="checksum"):
        local.apply(wrong)


def test_a_book_knows_its_best_prices() -> None:
    found = book_from(book_view.book(view(1, {10: (1, 1), 9: (1, 1)}, {12: (3, 1)})))
    assert found.best_bid == Level(10, 1, 1)
    assert found.best_ask == Level(12, 3, 1)
    assert found.spread_nanos == 2
    empty = replace(found, bids=(), asks=())
    assert (empty.best_bid, empty.best_ask, empty.spread_nanos) == (None, None, None)
    assert checksum((), ()) == book_view.checksum((), ())


def test_the_documented_checksums() -> None:
    assert checksum((), ()) == 0x8BB1D29A
    bids = [Level(100, 7, 1), Level(99, 1, 4)]
    assert checksum(bids, [Level(103, 4, 1)]) == 0x4A8B05E4


class Market:
    """Each subscription plays the next script and then breaks; None waits for ever."""

    def __init__(
        self,
        books: list[list[pb.WatchBookResponse | None]] | None = None,
        trades: list[list[pb.WatchTradesResponse]] | None = None,
    ) -> None:
        self.books = books or []
        self.trade_scripts = trades or []
        self.recent: list[int] = []
        self.subscriptions = 0

    async def WatchBook(
        self, request: pb.WatchBookRequest, context: Context
    ) -> AsyncIterator[pb.WatchBookResponse]:
        self.subscriptions += 1
        for message in self.books.pop(0):
            if message is None:
                await asyncio.sleep(60)
            else:
                yield message
        await fail(context)

    async def WatchTrades(
        self, request: pb.WatchTradesRequest, context: Context
    ) -> AsyncIterator[pb.WatchTradesResponse]:
        self.recent.append(request.recent)
        for message in self.trade_scripts.pop(0):
            yield message
        if not self.trade_scripts:
            await asyncio.sleep(60)
        await fail(context)

    async def ListInstruments(
        self, request: pb.ListInstrumentsRequest, context: Context
    ) -> pb.ListInstrumentsResponse:
        self.subscriptions += 1
        return pb.ListInstrumentsResponse(
            instruments=[market_pb2.Instrument(instrument_id=3, name="paper", tick_nanos=5)]
        )

    async def GetBook(self, request: pb.GetBookRequest, context: Context) -> pb.GetBookResponse:
        return pb.GetBookResponse(book=book_view.book(view(5, {10: (1, 1)}, {})))


ONE, TWO = view(1, {10: (1, 1)}, {}), view(2, {10: (2, 1)}, {})
THREE = view(3, {10: (2, 1)}, {11: (1, 1)})


async def books_of(market: Market, count: int) -> list[int]:
    async with connected(market) as client:
        found: list[int] = []
        async for book in client.market.watch_book("paper"):
            found.append(book.sequence)
            if len(found) == count:
                break
        return found


async def test_a_book_watch_yields_whole_books() -> None:
    market = Market(
        [[book_view.snapshot(ONE), book_view.delta(ONE, TWO), book_view.delta(TWO, THREE)]]
    )
    assert await books_of(market, 3) == [1, 2, 3]


async def test_a_broken_book_watch_subscribes_anew() -> None:
    market = Market([[book_view.snapshot(ONE)], [], [book_view.snapshot(THREE), None]])
    assert await books_of(market, 2) == [1, 3]


async def test_a_gap_in_a_book_makes_the_watch_subscribe_anew() -> None:
    market = Market(
        [
            [book_view.snapshot(ONE), book_view.delta(TWO, THREE), None],
            [book_view.snapshot(THREE), None],
        ]
    )
    assert await books_of(market, 2) == [1, 3]


async def test_a_book_that_never_fits_is_an_error() -> None:
    wrong = book_view.snapshot(ONE)
    wrong.snapshot.checksum ^= 1
    market = Market([[wrong, None]] * 5)
    with pytest.raises(BookDamaged):
        await books_of(market, 1)
    assert market.subscriptions == 3


def trades(*numbers: int, instrument_id: int = 1) -> pb.WatchTradesResponse:
    return pb.WatchTradesResponse(
        trades=[
            market_pb2.Trade(instrument_id=instrument_id, trade_id=n, price_nanos=n)
            for n in numbers
        ]
    )


def together(*messages: pb.WatchTradesResponse) -> pb.WatchTradesResponse:
    return pb.WatchTradesResponse(trades=[t for m in messages for t in m.trades])


async def told(
    scripts: list[list[pb.WatchTradesResponse]], count: int, recent: int = 0
) -> list[tuple[int, int]]:
    """The first so many trades of a watch: instrument and number of each."""
    market = Market(trades=scripts)
    async with connected(market) as client:
        watch = client.market.watch_trades(recent=recent)
        async with contextlib.aclosing(watch), asyncio.timeout(WITHIN_S):
            found = [await anext(watch) for _ in range(count)]
    assert set(market.recent) == {1_000}
    return [(t.instrument_id, t.trade_id) for t in found]


def numbered(*numbers: int) -> list[tuple[int, int]]:
    return [(1, n) for n in numbers]


OLD = range(1, 31)
"""Trades from before a watch."""


async def test_trades_come_once_over_broken_connections() -> None:
    scripts = [[trades(1, 2)], [trades(1, 2, 3)], [trades(2, 3), trades(4, 5), trades(6)]]
    assert await told(scripts, 6, recent=2) == numbered(1, 2, 3, 4, 5, 6)
    scripts = [[trades(), trades(1), trades(2, 3)], [trades(1, 2, 3, 4)], [trades(4), trades(5)]]
    assert await told(scripts, 5) == numbered(1, 2, 3, 4, 5)


@pytest.mark.parametrize(("recent", "first"), [(0, 31), (1, 30), (2, 29), (30, 1), (1_000, 1)])
async def test_no_broken_connection_makes_old_trades_new(recent: int, first: int) -> None:
    scripts = [[trades(*OLD)], [trades(*OLD)], [trades(*OLD, 31), trades(32)]]
    wanted = range(first, 33)
    assert await told(scripts, len(wanted), recent) == numbered(*wanted)


async def test_what_an_exchange_remembers_again_is_not_news() -> None:
    # It had begun at its snapshot, without a read model; later it has one.
    assert await told([[trades(30)], [trades(*OLD, 31)]], 1) == numbered(31)


async def test_a_watch_that_begins_without_trades_tells_the_first() -> None:
    assert await told([[trades()], [trades()], [trades(1, 2), trades(3)]], 3) == numbered(1, 2, 3)


async def test_a_watch_begins_with_its_first_answer() -> None:
    assert await told([[], [trades(*OLD)], [trades(*OLD, 31)]], 2, recent=1) == numbered(30, 31)


async def test_trades_of_all_instruments_keep_their_order() -> None:
    # A lease and a fill may have one number; the second instrument's old trade is none of the new.
    first = together(trades(8), trades(7, instrument_id=2), trades(9, 10))
    later = together(trades(3, 4, instrument_id=2), first, trades(10, instrument_id=2), trades(11))
    assert await told([[first], [later]], 2) == [(2, 10), (1, 11)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (trades(1), trades(*range(1_000, 2_000))),  # more than it keeps
        (trades(1), trades(3, 4)),  # memory that begins at a snapshot
        (trades(1), trades()),
        (trades(1), trades(1, instrument_id=2)),
        (trades(), trades(*range(1, 1_001))),  # these, or more
    ],
)
async def test_trades_that_may_have_been_missed_are_a_gap(
    before: pb.WatchTradesResponse, after: pb.WatchTradesResponse
) -> None:
    with pytest.raises(Gap, match="missing"):
        await told([[before], [after, trades(2_000)]], 1)


@pytest.mark.parametrize("recent", [-1, 1_001])
async def test_no_watch_begins_with_more_trades_than_are_kept(recent: int) -> None:
    with pytest.raises(ValueError, match="1000"):
        await told([[]], 1, recent)


async def test_instruments_by_name() -> None:
    market = Market()
    async with connected(market) as client:
        found = await client.market.instrument("paper")
        assert (found.instrument_id, found.tick_nanos) == (3, 5)
        assert await client.market.instruments() == (found,)
        with pytest.raises(NotFound, match="UNKNOWN_INSTRUMENT") as caught:
            await client.market.instrument("no such")
        assert caught.value.metadata == {"instrument": "no such"}
        assert (await client.market.book("paper", depth=5)).sequence == 5


async def test_what_is_not_built_says_so() -> None:
    async with connected(Market()) as client:
        with pytest.raises(NotImplementedYet):
            await client.market.candles("paper")


async def test_a_refused_subscription_ends_at_once() -> None:
    class Refusing(Market):
        async def WatchBook(
            self, request: pb.WatchBookRequest, context: Context
        ) -> AsyncIterator[pb.WatchBookResponse]:
            self.subscriptions += 1
            await fail(context, grpc.StatusCode.NOT_FOUND, "UNKNOWN_INSTRUMENT")
            yield pb.WatchBookResponse()

    market = Refusing()
    with pytest.raises(NotFound):
        await books_of(market, 1)
    assert market.subscriptions == 1


async def test_a_market_that_stays_away_is_unavailable() -> None:
    market = Market([[] for _ in range(1_000)])
    async with connected(market, retry=replace(QUICK, reconnect_s=0.2)) as client:
        with pytest.raises(Unavailable):
            await anext(client.market.watch_book("paper"))
