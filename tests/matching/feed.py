"""A reader of a book's public rows: rebuilds what is displayed, and nothing else."""

from __future__ import annotations

from matching.packed import EVENT, Kind

Shown = dict[int, tuple[int, int, int]]


class Feed:
    """The displayed orders, id -> (side, price, shown), in the order of their places."""

    def __init__(self) -> None:
        self.sequence = 0
        self.orders: Shown = {}
        self.state = 1
        self.traded = 0

    def read(self, rows: bytes) -> None:
        for row in EVENT.iter_unpack(rows):
            kind, side, _, _, _, sequence, order_id, price, quantity, _, shown, _, _ = row
            if kind > Kind.STATE:
                assert sequence == 0
                continue
            assert sequence == self.sequence + 1, "a gap"
            self.sequence = sequence
            if kind == Kind.ADD:
                assert order_id not in self.orders
                assert quantity > 0
                self.orders[order_id] = (side, price, quantity)
            elif kind == Kind.STATE:
                self.state = quantity
            elif kind == Kind.TRADE:
                assert order_id not in self.orders
                self.traded += quantity
            else:
                self._change(kind, side, order_id, price, quantity, shown)

    def _change(
        self, kind: int, side: int, order_id: int, price: int, quantity: int, shown: int
    ) -> None:
        was_side, was_price, was_shown = self.orders[order_id]
        assert side == was_side
        assert quantity > 0
        if kind == Kind.DELETE:
            assert (was_price, was_shown) == (price, quantity)
            del self.orders[order_id]
            return
        if kind == Kind.EXECUTE:
            self.traded += quantity
        else:
            assert (was_price, was_shown - quantity) == (price, shown)
        assert 0 <= shown <= was_shown
        if shown:
            self.orders[order_id] = (was_side, was_price, shown)
        else:
            del self.orders[order_id]

    def levels(self, side: int) -> list[tuple[int, list[tuple[int, int]]]]:
        """(price, [(order id, shown)]) best price first, oldest first."""
        found: dict[int, list[tuple[int, int]]] = {}
        for order_id, (order_side, price, shown) in self.orders.items():
            if order_side == side:
                found.setdefault(price, []).append((order_id, shown))
        return sorted(found.items(), reverse=side == 1)
