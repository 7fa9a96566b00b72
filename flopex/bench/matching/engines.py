"""What a contestant has to do, and how Flopex's own engine does it."""

from __future__ import annotations

import sys
from collections import defaultdict
from importlib.machinery import FileFinder, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Final, Protocol

from flopex.bench.matching.workloads import CANCEL, COMMAND, IOC, Trade

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

ROW_BYTES: Final = 80
"""Of a packed command (`matching.packed.COMMAND_BYTES`)."""
BATCH: Final = 256
"""Commands that Flopex's engine is given at once: what one commit group brings under load."""


class Engine(Protocol):
    """A matching engine that follows a workload."""

    def load(self, data: bytes) -> int:
        """Prepare the rows of a workload, behind any prepared before; their number. Not timed."""

    def run(self, first: int, last: int) -> None:
        """Carry out commands first to last - 1, and keep what they caused. Timed."""

    def trades(self) -> list[Trade]:
        """The trades so far, in order. Not timed."""

    def forget(self) -> None:
        """Let go of prepared commands and of what was kept, but not of the books. Not timed."""


class _SourceOnly(PathFinder):
    """Finds modules of `matching` as source files, past what is compiled beside them."""

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The source of a module of `matching`; None for every other module."""
        if fullname.split(".", maxsplit=1)[0] != "matching":
            return None
        for folder in path if path is not None else sys.path:
            spec = FileFinder(folder, (SourceFileLoader, [".py"])).find_spec(fullname, target)
            if spec is not None:
                return spec
        return None


def interpret_matching() -> None:
    """Let this process import `matching` from source even where it is compiled."""
    sys.meta_path.insert(0, _SourceOnly())


def is_compiled() -> bool:
    """Whether this process runs a compiled `matching`."""
    from matching import COMPILED

    return bool(COMPILED)


class Flopex:
    """The shipped engine: packed rows in, packed L3 rows out, all rules in it.

    Attributes:
        rows: The prepared commands, as the book takes them; may be changed before they run.
        events: The event rows so far, batch by batch.
    """

    def __init__(self) -> None:
        from matching.book import Book

        self._new_book = Book
        self._books: dict[int, Book] = {}
        self.rows = bytearray()
        self.events: list[bytes] = []
        self._book_of: list[int] = []
        self._single: list[bytes] = []

    def load(self, data: bytes) -> int:
        """See `Engine`."""
        from matching.packed import COMMAND as ROW
        from matching.packed import Op
        from matching.types import SelfTradePrevention, TimeInForce

        assert ROW.size == ROW_BYTES
        place, cancel = int(Op.PLACE), int(Op.CANCEL)
        mode = int(SelfTradePrevention.CANCEL_OLDEST)
        gtc, ioc = int(TimeInForce.GTC), int(TimeInForce.IOC)
        for what, side, book, order_id, price, quantity in COMMAND.iter_unpack(data):
            op = cancel if what == CANCEL else place
            in_force = ioc if what == IOC else gtc
            # Every order is of an account of its own: nobody trades with himself here.
            self.rows += ROW.pack(
                op, side, in_force, mode, 0, order_id, order_id, price, quantity, 0, 0, 0, 0, 0
            )
            self._book_of.append(book)
            if book not in self._books:
                self._books[book] = self._new_book()
        if len(self._books) > 1:
            rows = memoryview(self.rows)
            starts = range(0, len(rows), ROW_BYTES)
            self._single = [bytes(rows[at : at + ROW_BYTES]) for at in starts]
            rows.release()
        return len(data) // COMMAND.size

    def run(self, first: int, last: int) -> None:
        """See `Engine`."""
        if len(self._books) == 1:
            self._run_book(first, last)
        else:
            self._run_books(first, last)

    def _run_book(self, first: int, last: int) -> None:
        (book,) = self._books.values()
        apply, keep = book.apply, self.events.append
        rows = memoryview(self.rows)
        for start in range(first, last, BATCH):
            end = min(start + BATCH, last)
            keep(apply(bytes(rows[start * ROW_BYTES : end * ROW_BYTES])))
        rows.release()

    def _run_books(self, first: int, last: int) -> None:
        """Inside a batch, each book gets its commands in one piece, as in a commit group."""
        books, keep = self._books, self.events.append
        for start in range(first, last, BATCH):
            end = min(start + BATCH, last)
            pieces: dict[int, list[bytes]] = defaultdict(list)
            for book, row in zip(self._book_of[start:end], self._single[start:end], strict=True):
                pieces[book].append(row)
            for book, piece in pieces.items():
                keep(books[book].apply(b"".join(piece)))

    def trades(self) -> list[Trade]:
        """See `Engine`."""
        from matching.packed import EVENT, EVENT_DTYPE, Kind

        trading = {int(Kind.EXECUTE), int(Kind.TRADE)}
        columns = [name for name, _ in EVENT_DTYPE]
        wanted = ("taker_id", "order_id", "price", "quantity")
        taker, maker, price, quantity = (columns.index(name) for name in wanted)
        made = [
            Trade(row[taker], row[maker], row[price], row[quantity])
            for events in self.events
            for row in EVENT.iter_unpack(events)
            if row[0] in trading
        ]
        # Inside a batch the books took turns; an order's id is the number of its command.
        made.sort(key=lambda trade: trade.taker_id)
        return made

    def forget(self) -> None:
        """See `Engine`."""
        self.rows = bytearray()
        self.events.clear()
        self._book_of.clear()
        self._single.clear()
