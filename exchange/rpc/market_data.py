"""MarketDataService: instruments, books and trades for everyone with a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from exchange.core.reasons import Reason
from exchange.engine import Group
from exchange.readmodel import queries
from exchange.readmodel.candles import WIDTHS_S
from exchange.readmodel.queries import NEWEST
from exchange.rpc import book_orders, book_view
from exchange.rpc.book_orders import OrdersFeed
from exchange.rpc.book_view import BookView
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.convert import market, paging, past
from exchange.rpc.errors import draining, invalid, refusal, slow_reader
from exchange.rpc.history import RECENT_TRADES_MAX, TRADES_BEHIND_MAX
from exchange.rpc.services import Services
from exchange.rpc.streams import Queue
from exchange.rpc.why.orders import explain_order
from exchange.v1 import market_data_service_pb2 as pb

DEPTH_DEFAULT: Final = 10
DEPTH_MAX: Final = 100
BOOK_INTERVAL_S: Final = 0.02
"""Least time between two messages of one book subscription: what happens meanwhile is conflated."""
MESSAGE_TRADES_MAX: Final = 1_000
"""Trades of one message."""
CANDLE_WIDTH_DEFAULT_S: Final = 60


class BookFeed:
    """Wakes those who watch books, and computes each book once per commit group."""

    def __init__(self, services: Services) -> None:
        self._core = services.core
        self._drain = services.drain
        self._changed = asyncio.Event()
        self._watchers = 0
        self._views: dict[int, BookView] = {}
        services.engine.subscribe(self._on_group)

    def view(self, instrument_id: int, levels: int) -> BookView:
        """The book now."""
        found = self._views.get(instrument_id)
        if found is None or found.sequence != self._core.sequence:
            found = book_view.view(self._core, instrument_id, DEPTH_MAX)
            self._views[instrument_id] = found
        return found._replace(bids=found.bids[:levels], asks=found.asks[:levels])

    async def changed_since(self, sequence: int) -> bool:
        """True once something was sequenced after this, False when the exchange drains."""
        self._watchers += 1
        try:
            with self._drain.calls(self._wake):
                while self._core.sequence == sequence and not self._drain.active:
                    await self._changed.wait()
        finally:
            self._watchers -= 1
        return not self._drain.active

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _on_group(self, _: Group) -> None:
        if self._watchers:
            self._wake()


class MarketDataServicer:
    """Public market data."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._books = BookFeed(services)
        self._orders = OrdersFeed(services.engine)
        services.queues["book_orders"] = Queue(self._orders.deepest, book_orders.ROWS_BEHIND_MAX)
        services.queues["trades"] = Queue(services.history.deepest, TRADES_BEHIND_MAX)

    async def ListInstruments(
        self, request: pb.ListInstrumentsRequest, context: Context
    ) -> pb.ListInstrumentsResponse:
        """See the service's definition."""
        found = self._services.core.instruments.values()
        return pb.ListInstrumentsResponse(instruments=[market.instrument(i) for i in found])

    async def GetBook(self, request: pb.GetBookRequest, context: Context) -> pb.GetBookResponse:
        """See the service's definition."""
        instrument = market.find_instrument(self._services.core, request.instrument)
        found = self._books.view(instrument.instrument_id, _depth(request.depth))
        return pb.GetBookResponse(book=book_view.book(found))

    async def WatchBook(
        self, request: pb.WatchBookRequest, context: Context
    ) -> AsyncIterator[pb.WatchBookResponse]:
        """See the service's definition.

        Each subscriber is compared with what it was sent last, so one that reads slowly holds
        nothing up and costs no memory.
        """
        levels = _depth(request.depth)
        instrument = market.find_instrument(self._services.core, request.instrument)
        sent = self._books.view(instrument.instrument_id, levels)
        seen = sent.sequence
        yield book_view.snapshot(sent)
        while await self._books.changed_since(seen):
            now = self._books.view(instrument.instrument_id, levels)
            seen = now.sequence
            if not now.same_market(sent):
                yield book_view.delta(sent, now)
                sent = now
            await asyncio.sleep(BOOK_INTERVAL_S)
        raise draining()

    async def WatchBestPrices(
        self, request: pb.WatchBestPricesRequest, context: Context
    ) -> AsyncIterator[pb.WatchBestPricesResponse]:
        """See the service's definition. As `WatchBook` with one level, but whole each time."""
        instrument = market.find_instrument(self._services.core, request.instrument)
        sent = self._books.view(instrument.instrument_id, 1)
        seen = sent.sequence
        yield book_view.best_prices(sent)
        while await self._books.changed_since(seen):
            now = self._books.view(instrument.instrument_id, 1)
            seen = now.sequence
            if not now.same_market(sent):
                yield book_view.best_prices(now)
                sent = now
            await asyncio.sleep(BOOK_INTERVAL_S)
        raise draining()

    async def WatchOrders(
        self, request: pb.WatchOrdersRequest, context: Context
    ) -> AsyncIterator[pb.WatchOrdersResponse]:
        """See the service's definition."""
        core = self._services.core
        instrument_id = market.find_instrument(core, request.instrument).instrument_id
        if instrument_id not in core.books:
            raise refusal(Reason.ORDER_TYPE_UNSUPPORTED, "a batch book holds no orders")
        reader = self._orders.open(instrument_id)
        last = core.books[instrument_id].sequence
        try:
            with self._services.drain.calls(reader.wake):
                for message in list(book_orders.snapshot(core, instrument_id)):
                    yield message
                while not self._services.drain.active:
                    piece = reader.take()
                    if piece is not None:
                        found = piece.message()
                        if found is not None:
                            last = found.sequence
                            yield found
                    elif reader.overflowed:
                        raise slow_reader(
                            "the orders were read too slowly; subscribe again",
                            {"last_sequence": last},
                        )
                    else:
                        await reader.wait()
        finally:
            self._orders.close(reader)
        raise draining()

    async def WatchTrades(
        self, request: pb.WatchTradesRequest, context: Context
    ) -> AsyncIterator[pb.WatchTradesResponse]:
        """See the service's definition."""
        if request.recent > RECENT_TRADES_MAX:
            raise invalid("recent", f"must be at most {RECENT_TRADES_MAX}")
        instrument_id = self._instrument_id(request.instrument)
        history = self._services.history
        watcher = history.watch_trades(instrument_id)
        last = 0
        try:
            with self._services.drain.calls(watcher.wake):
                recent = history.trades(instrument_id, request.recent)
                if recent:
                    last = recent[-1].sequence
                if request.recent:
                    # Even where there are none: who asked knows then where he begins.
                    yield pb.WatchTradesResponse(trades=past.trades(recent))
                while not self._services.drain.active:
                    trades = watcher.take(MESSAGE_TRADES_MAX)
                    if trades:
                        last = trades[-1].sequence
                        yield pb.WatchTradesResponse(trades=past.trades(trades))
                    elif watcher.overflowed:
                        raise slow_reader(
                            "the trades were read too slowly; subscribe again with `recent`",
                            {"last_sequence": last},
                        )
                    else:
                        await watcher.wait()
        finally:
            history.unwatch(watcher)
        raise draining()

    async def ListCandles(
        self, request: pb.ListCandlesRequest, context: Context
    ) -> pb.ListCandlesResponse:
        """See the service's definition."""
        instrument = market.find_instrument(self._services.core, request.instrument)
        width_s = request.width_s or CANDLE_WIDTH_DEFAULT_S
        if width_s not in WIDTHS_S:
            raise invalid("width_s", f"must be one of {', '.join(map(str, WIDTHS_S))}")
        size = paging.page_size(request.page_size)
        start_ns, end_ns = _times(request)
        end_ns = min(end_ns, paging.decode_token(request.page_token) or NEWEST)
        answer = await self._services.ask(
            lambda database: queries.candles(
                database, instrument.instrument_id, width_s, size + 1, start_ns, end_ns
            )
        )
        page, last = paging.cut(answer.found, size)
        return pb.ListCandlesResponse(
            candles=[past.candle(candle) for candle in reversed(page)],
            next_page_token=paging.encode_token(last.start_time_ns if last else 0),
            sequence=answer.sequence,
        )

    async def ListTrades(
        self, request: pb.ListTradesRequest, context: Context
    ) -> pb.ListTradesResponse:
        """See the service's definition."""
        instrument_id = self._instrument_id(request.instrument)
        size = paging.page_size(request.page_size)
        start_ns, end_ns = _times(request)
        before = paging.decode_token(request.page_token) or NEWEST
        answer = await self._services.ask(
            lambda database: queries.trades(
                database, instrument_id, size + 1, before, start_ns, end_ns
            )
        )
        page, last = paging.cut(answer.found, size)
        return pb.ListTradesResponse(
            trades=past.trades(page),
            next_page_token=paging.encode_token(last.number if last else 0),
            sequence=answer.sequence,
        )

    async def ListBestPrices(
        self, request: pb.ListBestPricesRequest, context: Context
    ) -> pb.ListBestPricesResponse:
        """See the service's definition."""
        instrument = market.find_instrument(self._services.core, request.instrument)
        size = paging.page_size(request.page_size)
        start_ns, end_ns = _times(request)
        end_ns = min(end_ns, paging.decode_token(request.page_token) or NEWEST)
        answer = await self._services.ask(
            lambda database: queries.best_prices(
                database, instrument.instrument_id, size + 1, start_ns, end_ns
            )
        )
        page, last = paging.cut(answer.found, size)
        return pb.ListBestPricesResponse(
            prices=[past.best_prices(prices) for prices in page],
            next_page_token=paging.encode_token(last.event_time_ns if last else 0),
            sequence=answer.sequence,
        )

    async def ListHourlyIndex(
        self, request: pb.ListHourlyIndexRequest, context: Context
    ) -> pb.ListHourlyIndexResponse:
        """See the service's definition."""
        instrument = market.find_instrument(self._services.core, request.instrument)
        size = paging.page_size(request.page_size)
        before_ns = paging.decode_token(request.page_token) or NEWEST
        answer = await self._services.ask(
            lambda database: queries.hourly_index(
                database, instrument.instrument_id, size + 1, before_ns
            )
        )
        page, last = paging.cut(answer.found, size)
        return pb.ListHourlyIndexResponse(
            hours=[past.hour(hour) for hour in reversed(page)],
            next_page_token=paging.encode_token(last.start_time_ns if last else 0),
            sequence=answer.sequence,
        )

    async def ExplainOrder(
        self, request: pb.ExplainOrderRequest, context: Context
    ) -> pb.ExplainOrderResponse:
        """See the service's definition."""
        return explain_order(self._services.core, request)

    def _instrument_id(self, name: str) -> int:
        """The id of an instrument by its name; 0, which stands for all, where none is named."""
        if not name:
            return 0
        return market.find_instrument(self._services.core, name).instrument_id


def _depth(asked: int) -> int:
    if asked > DEPTH_MAX:
        raise invalid("depth", f"must be at most {DEPTH_MAX}")
    return asked or DEPTH_DEFAULT


def _times(
    request: pb.ListTradesRequest | pb.ListCandlesRequest | pb.ListBestPricesRequest,
) -> tuple[int, int]:
    """The first time that is asked for and the first one after, nanoseconds since the epoch."""
    return max(0, request.start_time_ns), request.end_time_ns or NEWEST
