"""Engines from PyPI, driven the way their documents show.

An adapter keeps what any user of the package has to keep: the package's own order or its id for
each of the user's ids. Prices go in as the package wants them; where it wants `Decimal`, they are
made once per price. None of these packages knows immediate-or-cancel with a limit, so that is a
limit order and a cancel of its rest. These modules are imported by the interpreter in which the
peers are installed, which need not have anything else of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from flopex.bench.matching.workloads import BID, CANCEL, COMMAND, IOC, Command, Trade


class Peer(ABC):
    """Follows a workload command by command; the subclasses say how."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._made: list[Trade] = []

    def load(self, data: bytes) -> int:
        """Prepare the rows of a workload."""
        self._commands += [Command(*row) for row in COMMAND.iter_unpack(data)]
        return len(data) // COMMAND.size

    def run(self, first: int, last: int) -> None:
        """Carry out some commands."""
        place, cancel = self.place, self.cancel
        for what, side, book, order_id, price, quantity in self._commands[first:last]:
            if what == CANCEL:
                cancel(book, order_id)
            else:
                place(book, order_id, side, price, quantity, what == IOC)

    def trades(self) -> list[Trade]:
        """The trades so far."""
        return self._made

    def forget(self) -> None:
        """Let go of the prepared commands and the trades."""
        self._commands.clear()
        self._made.clear()

    @abstractmethod
    def place(
        self, book: int, order_id: int, side: int, price: int, quantity: int, immediate: bool
    ) -> None:
        """Enter an order."""

    @abstractmethod
    def cancel(self, book: int, order_id: int) -> None:
        """Cancel a live order."""


class LightMatchingEngine(Peer):
    """lightmatchingengine. Its ids are numbers in the order of entry."""

    def __init__(self) -> None:
        super().__init__()
        from lightmatchingengine.lightmatchingengine import LightMatchingEngine as Engine

        self._engine = Engine()
        self._theirs: dict[int, int] = {}
        self._ours: dict[int, int] = {}

    def place(
        self, book: int, order_id: int, side: int, price: int, quantity: int, immediate: bool
    ) -> None:
        """See `Peer`."""
        order, trades = self._engine.add_order(book, price, quantity, side)
        self._theirs[order_id] = order.order_id
        self._ours[order.order_id] = order_id
        for trade in trades:
            # It reports each trade from both sides, the taker's for a whole level at once.
            if trade.order_id != order.order_id:
                maker = self._ours[trade.order_id]
                self._made.append(Trade(order_id, maker, trade.trade_price, trade.trade_qty))
        if immediate and order.leaves_qty:
            self._engine.cancel_order(order.order_id, book)

    def cancel(self, book: int, order_id: int) -> None:
        """See `Peer`."""
        self._engine.cancel_order(self._theirs[order_id], book)


class PyOrderBook(Peer):
    """pyorderbook. Its ids are random UUIDs, its prices Decimals that it makes from text."""

    def __init__(self) -> None:
        super().__init__()
        from pyorderbook import Book, ask, bid

        self._engine = Book()
        self._bid, self._ask = bid, ask
        self._theirs: dict[int, Any] = {}
        self._ours: dict[Any, int] = {}

    def place(
        self, book: int, order_id: int, side: int, price: int, quantity: int, immediate: bool
    ) -> None:
        """See `Peer`."""
        make = self._bid if side == BID else self._ask
        order = make(str(book), price, quantity)
        self._theirs[order_id] = order
        self._ours[order.id] = order_id
        for trade in self._engine.match(order).trades:
            maker = self._ours[trade.standing_order_id]
            self._made.append(Trade(order_id, maker, int(trade.fill_price), trade.fill_quantity))
        if immediate and order.quantity:
            self._engine.cancel(order)

    def cancel(self, book: int, order_id: int) -> None:  # noqa: ARG002 (its ids know the book)
        """See `Peer`."""
        self._engine.cancel(self._theirs[order_id])


class DecimalBooks(Peer):
    """akhil4n-orderbook and cython-orderbook: one interface; a book each, ids are texts."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._module = module
        self._books: dict[int, Any] = {}
        self._theirs: dict[int, str] = {}
        self._ours: dict[str, int] = {}
        self._prices: dict[int, Decimal] = {}
        self._seen: dict[int, int] = {}

    def place(
        self, book: int, order_id: int, side: int, price: int, quantity: int, immediate: bool
    ) -> None:
        """See `Peer`."""
        module = self._module
        engine = self._books.get(book)
        if engine is None:
            engine = self._books[book] = module.OrderBook()
            self._seen[book] = 0
        decimal = self._prices.get(price)
        if decimal is None:
            decimal = self._prices[price] = Decimal(price)
        sides = module.OrderSide
        order = module.Order(
            side=sides.BID if side == BID else sides.ASK, price=decimal, original_quantity=quantity
        )
        self._theirs[order_id] = order.order_id
        self._ours[order.order_id] = order_id
        engine.add_limit_order(order)
        log, seen = engine.trade_log, self._seen[book]
        if len(log) > seen:
            for trade in log[seen:]:
                maker = self._ours[trade.filler_id]
                self._made.append(Trade(order_id, maker, int(trade.price), trade.quantity_filled))
            self._seen[book] = len(log)
        if immediate and order.remaining_quantity:
            engine.cancel_order(order.order_id)

    def cancel(self, book: int, order_id: int) -> None:
        """See `Peer`."""
        self._books[book].cancel_order(self._theirs[order_id])


def _akhil4n() -> DecimalBooks:
    import orderbook

    return DecimalBooks(orderbook)


def _cython() -> DecimalBooks:
    import cython_orderbook

    return DecimalBooks(cython_orderbook)


class OrderMatching(Peer):
    """order-matching. Orders are placed and then matched; time priority is by timestamp."""

    START: Final = datetime(2026, 1, 1)  # noqa: DTZ001 (the package compares naive times)

    def __init__(self) -> None:
        super().__init__()
        from loguru import logger
        from order_matching import enums, matching_engine, order, orders

        # Its log goes to stderr by default, a line per call.
        logger.remove()
        self._sides = enums.Side
        self._new_engine: Callable[[], Any] = lambda: matching_engine.MatchingEngine(seed=1)
        self._order = order.LimitOrder
        self._orders = orders.Orders
        self._engines: dict[int, Any] = {}

    def place(
        self, book: int, order_id: int, side: int, price: int, quantity: int, immediate: bool
    ) -> None:
        """See `Peer`."""
        engine = self._engines.get(book)
        if engine is None:
            engine = self._engines[book] = self._new_engine()
        now = self.START + timedelta(microseconds=order_id)
        order = self._order(
            side=self._sides.BUY if side == BID else self._sides.SELL,
            price=price,
            size=quantity,
            timestamp=now,
            order_id=str(order_id),
            trader_id=str(order_id),
        )
        engine.place(self._orders([order]))
        for trade in engine.match(timestamp=now).trades:
            maker = int(trade.book_order_id)
            self._made.append(Trade(order_id, maker, int(trade.price), int(trade.size)))
        if immediate and order.size > 0:
            engine.cancel_order(str(order_id))

    def cancel(self, book: int, order_id: int) -> None:
        """See `Peer`."""
        self._engines[book].cancel_order(str(order_id))


PEERS: Final[dict[str, Callable[[], Peer]]] = {
    "lightmatchingengine": LightMatchingEngine,
    "akhil4n-orderbook": _akhil4n,
    "cython-orderbook": _cython,
    "pyorderbook": PyOrderBook,
    "order-matching": OrderMatching,
}
"""By the name under which PyPI has them."""
