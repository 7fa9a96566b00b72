"""A local book, kept from a snapshot and deltas and checked against the exchange's checksum."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from exchange.client.enums import TradingState
from exchange.client.errors import BookDamaged
from exchange.client.market_types import (
    Book,
    BookOrder,
    Level,
    OrdersSnapshot,
    OrdersUpdate,
    auction_from,
    book_event_from,
    book_order_from,
    level_from,
)
from exchange.v1 import market_data_service_pb2 as service_pb
from exchange.v1 import market_pb2 as pb

CHECKSUM_LEVELS: Final = 10
"""The checksum covers this many levels of each side."""


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """CRC-32 of `price:quantity,` for the top bids, then `|`, then the same for the top asks.

    >>> checksum([Level(100, 5, 1)], []) == zlib.crc32(b"100:5,|")
    True
    """
    text = "".join(f"{x.price_nanos}:{x.quantity}," for x in bids[:CHECKSUM_LEVELS])
    text += "|" + "".join(f"{x.price_nanos}:{x.quantity}," for x in asks[:CHECKSUM_LEVELS])
    return zlib.crc32(text.encode())


def book_from(message: pb.Book) -> Book:
    """A whole book of the wire.

    Raises:
        BookDamaged: it does not have its own checksum.
    """
    return _checked(message, _levels(message.bids), _levels(message.asks))


class LocalBook:
    """Applies the messages of one subscription.

    Attributes:
        book: The book now; None before the snapshot.
    """

    def __init__(self) -> None:
        self.book: Book | None = None

    def apply(self, message: service_pb.WatchBookResponse) -> Book:
        """The book after a message.

        Raises:
            BookDamaged: the delta does not follow what is here, or the checksum is another.
        """
        if message.WhichOneof("update") == "snapshot":
            self.book = book_from(message.snapshot)
            return self.book
        book, delta = self.book, message.delta
        if book is None:
            raise BookDamaged("a delta came before the snapshot")
        if message.previous_sequence != book.sequence:
            raise BookDamaged(
                f"a delta follows {message.previous_sequence}, but the book is at {book.sequence}"
            )
        bids = sorted(_merge(book.bids, delta.bids), key=lambda x: -x.price_nanos)
        asks = sorted(_merge(book.asks, delta.asks), key=lambda x: x.price_nanos)
        self.book = _checked(delta, tuple(bids), tuple(asks))
        return self.book


class LocalOrders:
    """Reads the messages of one subscription to a book's orders."""

    def __init__(self) -> None:
        self._snapshot: list[BookOrder] = []
        self._sequence: int | None = None  # of the last event; None before the snapshot is whole

    def apply(self, message: service_pb.WatchOrdersResponse) -> list[OrdersUpdate]:
        """What a message tells.

        Raises:
            BookDamaged: an event is missing.
        """
        if self._sequence is None:
            self._snapshot += [book_order_from(order) for order in message.snapshot]
            if not message.snapshot_end:
                return []
            self._sequence = message.sequence
            return [OrdersSnapshot(message.sequence, tuple(self._snapshot))]
        found: list[OrdersUpdate] = []
        for event in message.events:
            self._sequence += 1
            if event.sequence != self._sequence:
                raise BookDamaged(f"event {event.sequence} came where {self._sequence} was due")
            found.append(book_event_from(event))
        return found


def _checked(message: pb.Book, bids: tuple[Level, ...], asks: tuple[Level, ...]) -> Book:
    found = checksum(bids, asks)
    if found != message.checksum:
        raise BookDamaged(
            f"at {message.sequence} the checksum is {found:#010x} here and "
            f"{message.checksum:#010x} at the exchange"
        )
    return Book(
        message.instrument_id,
        message.sequence,
        message.event_time_ns,
        bids,
        asks,
        message.last_price_nanos,
        message.checksum,
        TradingState(message.state),
        auction_from(message),
    )


def _levels(levels: Iterable[pb.Level]) -> tuple[Level, ...]:
    return tuple(level_from(x) for x in levels)


def _merge(levels: Iterable[Level], changes: Iterable[pb.Level]) -> list[Level]:
    """The levels after changes; one with quantity 0 is gone."""
    merged = {level.price_nanos: level for level in levels}
    for change in changes:
        if change.quantity:
            merged[change.price_nanos] = level_from(change)
        else:
            merged.pop(change.price_nanos, None)
    return list(merged.values())
