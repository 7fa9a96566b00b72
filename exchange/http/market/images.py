"""What the shared streams have said so far: from it a newcomer is told what he must know first.

An image takes each message of its stream. What it tells then is at the sequence of the last one, so
the next message of the stream follows it for a newcomer as for everybody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1 import market_pb2

ORDERS_OF_MESSAGE_MAX: Final = 1_000
"""Orders of one message of a snapshot: writing one is quick enough to hold nobody up."""


class Image(Protocol):
    """The state of one stream.

    Attributes:
        sequence: Of the last message: the journal's; of orders that of the book's event, of trades
            the trade's id.
        complete: Whether newcomers can be told; at the latest with the first few messages.
    """

    sequence: int
    complete: bool

    def take(self, message: Any) -> None:
        """The stream's next message."""
        ...

    def begin(self, recent: int) -> Iterator[Message]:
        """What a newcomer is told first; it stays as it is now, however late it is iterated.

        Args:
            recent: How many past trades he wants, of trades.
        """
        ...


class BookImage:
    """The levels of a book, from a snapshot and deltas."""

    def __init__(self) -> None:
        self.sequence = 0
        self.complete = False
        self._bids: dict[int, market_pb2.Level] = {}
        self._asks: dict[int, market_pb2.Level] = {}
        self._last = market_pb2.Book()

    def take(self, message: pb.WatchBookResponse) -> None:
        """See `Image`. O(levels)."""
        if message.WhichOneof("update") == "snapshot":
            self._bids.clear()
            self._asks.clear()
            book = message.snapshot
        else:
            assert message.previous_sequence == self.sequence
            book = message.delta
        for levels, changes in ((self._bids, book.bids), (self._asks, book.asks)):
            for level in changes:
                if level.quantity:
                    levels[level.price_nanos] = level
                else:
                    levels.pop(level.price_nanos, None)
        self._last = book
        self.sequence = book.sequence
        self.complete = True

    def begin(self, recent: int) -> Iterator[Message]:  # noqa: ARG002 - of trades
        """See `Image`: one snapshot. O(levels log levels)."""
        book = market_pb2.Book()
        book.CopyFrom(self._last)
        del book.bids[:], book.asks[:]
        book.bids.extend(self._bids[price] for price in sorted(self._bids, reverse=True))
        book.asks.extend(self._asks[price] for price in sorted(self._asks))
        return iter([pb.WatchBookResponse(snapshot=book)])


class BestImage:
    """The best prices: each message is whole."""

    def __init__(self) -> None:
        self.sequence = 0
        self.complete = False
        self._last = pb.WatchBestPricesResponse()

    def take(self, message: pb.WatchBestPricesResponse) -> None:
        """See `Image`."""
        self._last = message
        self.sequence = message.sequence
        self.complete = True

    def begin(self, recent: int) -> Iterator[Message]:  # noqa: ARG002 - of trades
        """See `Image`: the last message."""
        return iter([self._last])


class TradesImage:
    """The latest trades."""

    def __init__(self, size_max: int = 1_000) -> None:
        self.sequence = 0
        self.complete = False
        self._trades: deque[market_pb2.Trade] = deque(maxlen=size_max)

    def take(self, message: pb.WatchTradesResponse) -> None:
        """See `Image`."""
        self._trades.extend(message.trades)
        if message.trades:
            self.sequence = message.trades[-1].trade_id
        self.complete = True

    def begin(self, recent: int) -> Iterator[Message]:
        """See `Image`: the last trades, oldest first; nothing where none are asked for."""
        if not recent:
            return iter(())
        return iter([pb.WatchTradesResponse(trades=list(self._trades)[-recent:])])


class OrdersImage:
    """All shown orders of a book, in the order in which they came to their prices."""

    def __init__(self) -> None:
        self.sequence = 0
        self.complete = False
        self._orders: dict[int, pb.BookOrder] = {}
        self._time_ns = 0

    def take(self, message: pb.WatchOrdersResponse) -> None:
        """See `Image`. O(orders or events in it)."""
        for order in message.snapshot:
            self._orders[order.order_id] = order
        for event in message.events:
            self._apply(event)
        self.sequence = message.sequence
        self._time_ns = message.event_time_ns
        self.complete = self.complete or message.snapshot_end

    def _apply(self, event: pb.BookEvent) -> None:
        orders, order_id = self._orders, event.order_id
        if event.kind == pb.BOOK_EVENT_KIND_ADDED:
            orders.pop(order_id, None)
            orders[order_id] = pb.BookOrder(
                order_id=order_id,
                side=event.side,
                price_nanos=event.price_nanos,
                quantity_mflop=event.shown_mflop,
            )
        elif event.kind == pb.BOOK_EVENT_KIND_DELETED:
            orders.pop(order_id, None)
        elif event.kind in (pb.BOOK_EVENT_KIND_EXECUTED, pb.BOOK_EVENT_KIND_REDUCED):
            if event.shown_mflop:
                shown = pb.BookOrder()
                shown.CopyFrom(orders[order_id])
                shown.quantity_mflop = event.shown_mflop
                orders[order_id] = shown
            else:
                orders.pop(order_id, None)

    def begin(self, recent: int) -> Iterator[Message]:  # noqa: ARG002 - of trades
        """See `Image`: bids, then asks, as they would trade. O(orders log orders), then lazily."""
        bids = [o for o in self._orders.values() if o.side == market_pb2.SIDE_BID]
        asks = [o for o in self._orders.values() if o.side == market_pb2.SIDE_ASK]
        # Sorting is stable: within a price they stay as they came.
        bids.sort(key=lambda order: -order.price_nanos)
        asks.sort(key=lambda order: order.price_nanos)
        return _snapshot(bids + asks, self.sequence, self._time_ns)


def _snapshot(
    orders: list[pb.BookOrder], sequence: int, time_ns: int
) -> Iterator[pb.WatchOrdersResponse]:
    size = ORDERS_OF_MESSAGE_MAX
    for start in range(0, len(orders) or 1, size):
        yield pb.WatchOrdersResponse(
            sequence=sequence,
            snapshot=orders[start : start + size],
            snapshot_end=start + size >= len(orders),
            event_time_ns=time_ns,
        )
