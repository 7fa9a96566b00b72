"""What a contestant has to do, and how Flopex's own engine does it."""

from __future__ import annotations

import sys
from importlib.machinery import FileFinder, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Final, Protocol

from flopex.bench.matching.workloads import CANCEL, COMMAND, IOC, Trade

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

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
    """Whether this process runs a compiled `matching.book`."""
    import matching.book

    return not str(matching.book.__file__).endswith(".py")


class Flopex:
    """The shipped engine: packed rows in, packed L3 rows out, all rules in it."""

    def __init__(self) -> None:
        from matching.book import Book

        self._new_book = Book
        self._books: dict[int, Book] = {}
        self._rows: list[tuple[int, bytes]] = []
        self._events: list[bytes] = []

    def load(self, data: bytes) -> int:
        """See `Engine`."""
        from matching.packed import COMMAND as ROW
        from matching.packed import Op
        from matching.types import SelfTradePrevention, TimeInForce

        place, cancel = int(Op.PLACE), int(Op.CANCEL)
        mode = int(SelfTradePrevention.CANCEL_OLDEST)
        gtc, ioc = int(TimeInForce.GTC), int(TimeInForce.IOC)
        for what, side, book, order_id, price, quantity in COMMAND.iter_unpack(data):
            op = cancel if what == CANCEL else place
            in_force = ioc if what == IOC else gtc
            # Every order is of an account of its own: nobody trades with himself here.
            row = ROW.pack(
                op, side, in_force, mode, 0, order_id, order_id, price, quantity, 0, 0, 0, 0, 0
            )
            self._rows.append((book, row))
            if book not in self._books:
                self._books[book] = self._new_book()
        return len(data) // COMMAND.size

    def run(self, first: int, last: int) -> None:
        """See `Engine`."""
        rows, keep = self._rows, self._events.append
        if len(self._books) == 1:
            apply = self._books[rows[first][0]].apply
            for start in range(first, last, BATCH):
                batch = rows[start : min(start + BATCH, last)]
                keep(apply(b"".join([row for _, row in batch])))
            return
        for start in range(first, last, BATCH):
            # The batch is sorted by book, as a commit group is.
            by_book: dict[int, list[bytes]] = {}
            for book, row in rows[start : min(start + BATCH, last)]:
                by_book.setdefault(book, []).append(row)
            for book, of_book in by_book.items():
                keep(self._books[book].apply(b"".join(of_book)))

    def trades(self) -> list[Trade]:
        """See `Engine`."""
        from matching.packed import EVENT, EVENT_DTYPE, Kind

        trading = {int(Kind.EXECUTE), int(Kind.TRADE)}
        columns = [name for name, _ in EVENT_DTYPE]
        wanted = ("taker_id", "order_id", "price", "quantity")
        taker, maker, price, quantity = (columns.index(name) for name in wanted)
        made = [
            Trade(row[taker], row[maker], row[price], row[quantity])
            for events in self._events
            for row in EVENT.iter_unpack(events)
            if row[0] in trading
        ]
        # Inside a batch the books took turns; an order's id is the number of its command.
        made.sort(key=lambda trade: trade.taker_id)
        return made

    def forget(self) -> None:
        """See `Engine`."""
        self._rows.clear()
        self._events.clear()

    def rows(self) -> list[tuple[int, bytes]]:
        """The prepared commands, (book, packed row) each; may be changed before they run."""
        return self._rows

    def events(self) -> list[bytes]:
        """The packed event rows so far, batch by batch."""
        return self._events
