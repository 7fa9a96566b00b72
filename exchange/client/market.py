"""Market data: instruments, books, trades."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from exchange.client.books import LocalBook, LocalOrders, book_from
from exchange.client.connection import PAGE_SIZE, Connection, Reconnector, ended_early
from exchange.client.enums import Side
from exchange.client.errors import BookDamaged, CallFailed, Gap, SlowReader
from exchange.client.instruments import Instruments
from exchange.client.market_types import (
    BestPrices,
    Book,
    Candle,
    HourlyIndex,
    Instrument,
    OrdersUpdate,
    PastBestPrices,
    Trade,
    best_prices_from,
    candle_from,
    hour_from,
    past_best_prices_from,
    trade_from,
)
from exchange.client.why_types import OrderExplanation, order_explanation_from
from exchange.units import parse_compute, parse_price
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub

DAMAGES_MAX: Final = 3
"""Subscriptions in a row whose book comes out wrong before a watch gives up."""
RECENT_TRADES_MAX: Final = 1_000
"""Past trades that the exchange keeps for a new subscription."""


class AsyncMarket:
    """Public market data; a key of any role may read it. Reached as `client.market`."""

    def __init__(self, connection: Connection, instruments: Instruments) -> None:
        self._connection = connection
        self._instruments = instruments

    async def instruments(self, *, timeout_s: float | None = None) -> tuple[Instrument, ...]:
        """All instruments, by id, as they are now."""
        return await self._instruments.load(timeout_s)

    async def instrument(self, name: str, *, timeout_s: float | None = None) -> Instrument:
        """One instrument by its name, as it is now.

        Raises:
            NotFound: there is none (UNKNOWN_INSTRUMENT).
        """
        await self._instruments.load(timeout_s)
        return self._instruments.known(name)

    async def book(
        self, instrument: str, *, depth: int = 10, timeout_s: float | None = None
    ) -> Book:
        """One book now.

        Args:
            instrument: Its name.
            depth: Levels per side, 1 to 100.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such instrument.
            BookDamaged: what came does not have its checksum.
        """
        request = pb.GetBookRequest(instrument=instrument, depth=depth)
        stub = self._connection.stub(MarketDataServiceStub)
        answer = await self._connection.call(stub.GetBook, request, timeout_s=timeout_s)
        return book_from(answer.book)

    async def watch_book(self, instrument: str, *, depth: int = 10) -> AsyncGenerator[Book, None]:
        """A book as it changes: each item is the whole book, checked by the exchange's checksum.

        A slow reader gets fewer books, never a wrong one. Broken connections and damaged books are
        mended by subscribing anew. It ends only by an error or when it is not read any more.

        Args:
            instrument: Its name.
            depth: Levels per side, 1 to 100.

        Raises:
            NotFound: there is no such instrument.
            CallFailed: the connection was lost for longer than `RetryPolicy.reconnect_s`.
            BookDamaged: three subscriptions in a row came out wrong.
        """
        request = pb.WatchBookRequest(instrument=instrument, depth=depth)
        reconnector = Reconnector(self._connection.retry)
        damages = 0
        while True:
            call = self._connection.stub(MarketDataServiceStub).WatchBook(request)
            local = LocalBook()
            error: CallFailed = ended_early(f"book {instrument}")
            try:
                async with contextlib.aclosing(self._connection.messages(call)) as messages:
                    async for message in messages:
                        yield local.apply(message)
                        reconnector.alive()
                        if message.WhichOneof("update") == "delta":
                            damages = 0
            except BookDamaged:
                damages += 1
                if damages >= DAMAGES_MAX:
                    raise
                continue
            except CallFailed as failed:
                error = failed
            await reconnector.failed(error)

    async def watch_best_prices(self, instrument: str) -> AsyncGenerator[BestPrices, None]:
        """The best bid and ask of a book, and again whenever they change.

        A slow reader gets fewer, never an old one. Broken connections are mended.

        Args:
            instrument: Its name.

        Raises:
            NotFound: there is no such instrument.
            CallFailed: the connection was lost for longer than `RetryPolicy.reconnect_s`.
        """
        request = pb.WatchBestPricesRequest(instrument=instrument)
        reconnector = Reconnector(self._connection.retry)
        while True:
            call = self._connection.stub(MarketDataServiceStub).WatchBestPrices(request)
            error: CallFailed = ended_early(f"best prices of {instrument}")
            try:
                async with contextlib.aclosing(self._connection.messages(call)) as messages:
                    async for message in messages:
                        yield best_prices_from(message)
                        reconnector.alive()
            except CallFailed as failed:
                error = failed
            await reconnector.failed(error)

    async def watch_orders(self, instrument: str) -> AsyncGenerator[OrdersUpdate, None]:
        """Every order of a continuous book: all that rest, then each event as it happens.

        Events are numbered without a gap. Where the connection breaks, or this reader was too slow,
        another snapshot comes and everything before it is void.

        Args:
            instrument: Its name.

        Raises:
            NotFound: there is no such instrument.
            InvalidRequest: it is a batch book (ORDER_TYPE_UNSUPPORTED).
            CallFailed: the connection was lost for longer than `RetryPolicy.reconnect_s`.
        """
        request = pb.WatchOrdersRequest(instrument=instrument)
        reconnector = Reconnector(self._connection.retry)
        while True:
            call = self._connection.stub(MarketDataServiceStub).WatchOrders(request)
            error: CallFailed = ended_early(f"orders of {instrument}")
            local = LocalOrders()
            try:
                async with contextlib.aclosing(self._connection.messages(call)) as messages:
                    async for message in messages:
                        for update in local.apply(message):
                            yield update
                        reconnector.alive()
            except SlowReader:
                continue
            except CallFailed as failed:
                error = failed
            await reconnector.failed(error)

    async def watch_trades(
        self, instrument: str = "", *, recent: int = 0
    ) -> AsyncGenerator[Trade, None]:
        """Trades as they happen, each once, and none from before the watch but those asked for.

        Survives broken connections and restarts of the exchange, as long as it still remembers the
        last trade before: it keeps 1,000, and without a read model those since its snapshot.

        Args:
            instrument: Its name; empty for all.
            recent: Number of past trades to begin with, at most 1,000.

        Raises:
            NotFound: there is no such instrument.
            CallFailed: the connection was lost for longer than `RetryPolicy.reconnect_s`.
            Gap: trades may have been missed that the exchange does not remember: watch anew.
            ValueError: `recent` is not within its bounds.
        """
        if not 0 <= recent <= RECENT_TRADES_MAX:
            raise ValueError(f"recent must be 0 to {RECENT_TRADES_MAX}")
        reconnector = Reconnector(self._connection.retry)
        told = _ToldTrades(recent)
        # Always all that the exchange has: whatever is in the first answer is no news later.
        request = pb.WatchTradesRequest(instrument=instrument, recent=RECENT_TRADES_MAX)
        while True:
            call = self._connection.stub(MarketDataServiceStub).WatchTrades(request)
            error: CallFailed = ended_early("trades")
            opening = True
            try:
                async with contextlib.aclosing(self._connection.messages(call)) as messages:
                    async for message in messages:
                        trades = [trade_from(t) for t in message.trades]
                        for trade in told.news(trades, opening=opening):
                            yield trade
                        opening = False
                        reconnector.alive()
            except CallFailed as failed:
                error = failed
            await reconnector.failed(error)

    def trades(
        self,
        instrument: str = "",
        *,
        start_time_ns: int = 0,
        end_time_ns: int = 0,
        limit: int | None = None,
    ) -> AsyncIterator[Trade]:
        """Past trades, newest first; pages are fetched as they are needed.

        Args:
            instrument: Its name; empty for all.
            start_time_ns: Only those at or after this; 0 for the first.
            end_time_ns: Only those before this; 0 for now.
            limit: At most this many.
        """

        async def page(token: str) -> tuple[Sequence[Trade], str]:
            request = pb.ListTradesRequest(
                instrument=instrument,
                start_time_ns=start_time_ns,
                end_time_ns=end_time_ns,
                page_size=min(limit or PAGE_SIZE, PAGE_SIZE),
                page_token=token,
            )
            stub = self._connection.stub(MarketDataServiceStub)
            answer = await self._connection.call(stub.ListTrades, request)
            return [trade_from(trade) for trade in answer.trades], answer.next_page_token

        return self._connection.walk(page, limit)

    def best_prices(
        self,
        instrument: str,
        *,
        start_time_ns: int = 0,
        end_time_ns: int = 0,
        limit: int | None = None,
    ) -> AsyncIterator[PastBestPrices]:
        """Past best bids and asks, newest first; pages are fetched as they are needed.

        They are as they stood after the first commit group of each second, where they had changed.

        Args:
            instrument: Its name.
            start_time_ns: Only those at or after this; 0 for the first.
            end_time_ns: Only those before this; 0 for now.
            limit: At most this many.
        """

        async def page(token: str) -> tuple[Sequence[PastBestPrices], str]:
            request = pb.ListBestPricesRequest(
                instrument=instrument,
                start_time_ns=start_time_ns,
                end_time_ns=end_time_ns,
                page_size=min(limit or PAGE_SIZE, PAGE_SIZE),
                page_token=token,
            )
            stub = self._connection.stub(MarketDataServiceStub)
            answer = await self._connection.call(stub.ListBestPrices, request)
            return [past_best_prices_from(one) for one in answer.prices], answer.next_page_token

        return self._connection.walk(page, limit)

    async def candles(
        self,
        instrument: str,
        *,
        width_s: int = 60,
        start_time_ns: int = 0,
        end_time_ns: int = 0,
        limit: int = 100,
        timeout_s: float | None = None,
    ) -> tuple[Candle, ...]:
        """The newest candles of a width, oldest first; an interval without a trade has none.

        Args:
            instrument: Its name.
            width_s: Width of each, seconds: 1, 60, 300, 900, 3600, 14400 or 86400.
            start_time_ns: Only those that begin at or after this; 0 for the first.
            end_time_ns: Only those that begin before this; 0 for now.
            limit: At most this many, up to 1,000.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such instrument.
            InvalidRequest: there is no such width.
        """
        request = pb.ListCandlesRequest(
            instrument=instrument,
            width_s=width_s,
            start_time_ns=start_time_ns,
            end_time_ns=end_time_ns,
            page_size=limit,
        )
        stub = self._connection.stub(MarketDataServiceStub)
        answer = await self._connection.call(stub.ListCandles, request, timeout_s=timeout_s)
        return tuple(candle_from(c) for c in answer.candles)

    async def hourly_index(
        self, instrument: str, *, limit: int = 100, timeout_s: float | None = None
    ) -> tuple[HourlyIndex, ...]:
        """The index of the latest hours that are over, oldest first; idle hours have none.

        Args:
            instrument: Its name.
            limit: At most this many, up to 1,000.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such instrument.
        """
        request = pb.ListHourlyIndexRequest(instrument=instrument, page_size=limit)
        stub = self._connection.stub(MarketDataServiceStub)
        answer = await self._connection.call(stub.ListHourlyIndex, request, timeout_s=timeout_s)
        return tuple(hour_from(hour) for hour in answer.hours)

    async def explain_order(
        self,
        instrument: str,
        side: Side = Side.BID,
        *,
        price: int | str = 0,
        quantity: int | str = 0,
        timeout_s: float | None = None,
    ) -> OrderExplanation:
        """Whether an order would fill now, and if not, what would make it; nothing is placed.

        Args:
            instrument: Its name. On a batch instrument a bid is a job, and an ask a quoted slot.
            side: Bid or ask.
            price: Limit ("$0.0004/CU" or nano-dollars per CU); 0 takes any price.
            quantity: "250 CU" or MFLOP; 0 for the smallest. Of a job its compute budget.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such instrument.
            ValueError: an amount cannot be read.
        """
        request = pb.ExplainOrderRequest(
            instrument=instrument,
            side=side,  # type: ignore[arg-type]
            price_nanos=parse_price(price),
            quantity_mflop=parse_compute(quantity),
        )
        stub = self._connection.stub(MarketDataServiceStub)
        answer = await self._connection.call(stub.ExplainOrder, request, timeout_s=timeout_s)
        return order_explanation_from(answer)


class _ToldTrades:
    """How far a watch of trades has come, over all its subscriptions.

    Trades have one order, and the first message of a subscription holds the last ones in it. So
    what is news there is what comes after the last trade that was there before; everything up to it
    was told, or is older than the watch.

    Args:
        recent: Past trades to begin with.
    """

    def __init__(self, recent: int) -> None:
        self._recent = recent
        self._begun = False
        self._last: tuple[int, int] | None = None

    def news(self, trades: list[Trade], *, opening: bool) -> list[Trade]:
        """Those of a message that are to be told.

        Args:
            trades: Oldest first.
            opening: Whether it is the first message of its subscription.

        Raises:
            Gap: trades may be missing between what was there before and this subscription.
        """
        if opening and self._begun:
            news = trades[self._known(trades) :]
        elif opening:
            news = trades[max(len(trades) - self._recent, 0) :]
        else:
            news = trades
        self._begun = True
        if trades:
            self._last = _trade_key(trades[-1])
        return news

    def _known(self, trades: list[Trade]) -> int:
        """How many of the first ones were there before."""
        if self._last is None:
            # There had been none at all, so all are news, unless the oldest are forgotten by now.
            if len(trades) < RECENT_TRADES_MAX:
                return 0
        else:
            for place in range(len(trades), 0, -1):
                if _trade_key(trades[place - 1]) == self._last:
                    return place
        raise Gap("the exchange does not remember the last trade before: some may be missing")


def _trade_key(trade: Trade) -> tuple[int, int]:
    # Fills and leases are numbered apart, but no instrument has both.
    return trade.instrument_id, trade.trade_id
