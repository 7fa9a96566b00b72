"""Every order of a continuous book as market data: a snapshot, then each event, gap-free.

A reader is sent all or is cut off: what waits for it is bounded. What a commit group did to a book
is made into a message once, by the first reader who takes it, and shared by all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

from exchange.core.commands import TradingState
from exchange.core.exchange import Exchange
from exchange.engine import Engine, Group
from exchange.rpc.convert import enums
from exchange.v1 import market_data_service_pb2 as pb
from matching.packed import EVENT, EVENT_BYTES, Kind
from matching.types import BookState

MESSAGE_ROWS_MAX: Final = 5_000
"""Events, or orders of a snapshot, of one message: it stays far below what a client takes."""
ROWS_BEHIND_MAX: Final = 100_000
"""Events that a reader may be behind before it is cut off."""

_STATES: Final = {
    BookState.OPEN: TradingState.OPEN,
    BookState.AUCTION: TradingState.AUCTION,
    BookState.HALTED: TradingState.HALTED,
}


class Piece:
    """What a book did, as rows and, once somebody wants it, as a message."""

    __slots__ = ("_message", "_now_ns", "_rows")

    def __init__(self, rows: bytes, now_ns: int) -> None:
        self._rows = rows
        self._now_ns = now_ns
        self._message: pb.WatchOrdersResponse | None = None

    def __len__(self) -> int:
        """Its rows."""
        return len(self._rows) // EVENT_BYTES

    def message(self) -> pb.WatchOrdersResponse | None:
        """The message; None where nothing in it is anybody else's business."""
        if self._message is None:
            events = [event(row) for row in EVENT.iter_unpack(self._rows) if row[5]]
            self._message = pb.WatchOrdersResponse(
                sequence=events[-1].sequence if events else 0,
                events=events,
                event_time_ns=self._now_ns,
            )
        return self._message if self._message.events else None


class OrdersReader:
    """What one subscriber has not taken yet. Full is for good: it is cut off."""

    def __init__(self, instrument_id: int) -> None:
        self.instrument_id = instrument_id
        self.overflowed = False
        self._pieces: deque[Piece] = deque()
        self._rows = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        """Rows that were not taken."""
        return self._rows

    def put(self, piece: Piece) -> None:
        """Add a piece, or overflow."""
        if self._rows + len(piece) > ROWS_BEHIND_MAX:
            self.overflowed = True
        else:
            self._rows += len(piece)
            self._pieces.append(piece)
        self._news.set()

    def wake(self) -> None:
        """Let the reader look up."""
        self._news.set()

    def take(self) -> Piece | None:
        """The oldest piece; None where none waits."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._rows -= len(piece)
        return piece

    async def wait(self) -> None:
        """Return at once where something waits, else with the next `put` or `wake`."""
        if not self._pieces and not self.overflowed:
            await self._news.wait()
        self._news.clear()


class OrdersFeed:
    """Hands what books do to those who watch their orders."""

    def __init__(self, engine: Engine) -> None:
        self._core = engine.core
        # Told in order of arrival: that of a set is memory's, another in each process.
        self._readers: dict[int, dict[OrdersReader, None]] = {}
        engine.subscribe(self._on_group)

    def open(self, instrument_id: int) -> OrdersReader:
        """Watch a book from now on; take the snapshot before anything else happens."""
        reader = OrdersReader(instrument_id)
        self._readers.setdefault(instrument_id, {})[reader] = None
        self._core.listen(instrument_id)
        return reader

    def deepest(self) -> int:
        """Rows that the reader has not taken who is furthest behind. O(readers)."""
        readers = (reader for found in self._readers.values() for reader in found)
        return max(map(len, readers), default=0)

    def close(self, reader: OrdersReader) -> None:
        """The reader is not read any more."""
        readers = self._readers[reader.instrument_id]
        readers.pop(reader, None)
        if not readers:
            del self._readers[reader.instrument_id]
            self._core.unlisten(reader.instrument_id)

    def _on_group(self, group: Group) -> None:
        size = MESSAGE_ROWS_MAX * EVENT_BYTES
        for instrument_id, readers in self._readers.items():
            rows = self._core.take_rows(instrument_id)
            for start in range(0, len(rows), size):
                piece = Piece(rows[start : start + size], group.now_ns)
                for reader in readers:
                    reader.put(piece)


def snapshot(core: Exchange, instrument_id: int) -> Iterator[pb.WatchOrdersResponse]:
    """A book's shown orders, as they are at the first step of the iteration. O(orders)."""
    book, now_ns = core.books[instrument_id], core.now_ns
    sequence, rows = book.sequence, book.snapshot()
    size = MESSAGE_ROWS_MAX * EVENT_BYTES
    for start in range(0, len(rows) or 1, size):
        yield pb.WatchOrdersResponse(
            sequence=sequence,
            snapshot=[_order(row) for row in EVENT.iter_unpack(rows[start : start + size])],
            snapshot_end=start + size >= len(rows),
            event_time_ns=now_ns,
        )


def event(row: tuple[int, ...]) -> pb.BookEvent:
    """A public row, without what is its owner's alone: the hidden order, and what it has left."""
    kind, side, _, _, _, sequence, order_id, price, quantity, _, shown, _, _ = row
    if kind == Kind.STATE:
        state = _STATES[BookState(quantity)]
        return pb.BookEvent(
            sequence=sequence, kind=enums.book_event(kind), state=enums.trading_state(state)
        )
    return pb.BookEvent(
        sequence=sequence,
        kind=enums.book_event(kind),
        order_id=0 if kind == Kind.TRADE else order_id,
        side=enums.side(side),
        price_nanos=price,
        quantity_mflop=quantity,
        shown_mflop=quantity if kind == Kind.ADD else shown,
    )


def _order(row: tuple[int, ...]) -> pb.BookOrder:
    return pb.BookOrder(
        order_id=row[6], side=enums.side(row[1]), price_nanos=row[7], quantity_mflop=row[8]
    )
