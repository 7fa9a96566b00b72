"""Price levels: the orders at one price, and one side of a book."""

from __future__ import annotations

from bisect import bisect_left, insort

from matching.order import Order


class Level:
    """The orders at one price, oldest first, and their total."""

    __slots__ = ("count", "newest", "oldest", "price", "quantity")

    def __init__(self, price: int) -> None:
        self.price = price
        self.quantity = 0
        self.count = 0
        self.oldest: Order | None = None
        self.newest: Order | None = None

    def append(self, order: Order) -> None:
        """Put an order at the end of the queue."""
        newest = self.newest
        if newest is None:
            self.oldest = order
        else:
            newest.newer = order
            order.older = newest
        self.newest = order
        order.level = self
        self.quantity += order.leaves
        self.count += 1

    def remove(self, order: Order) -> None:
        """Take an order out, wherever it stands."""
        older, newer = order.older, order.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        order.level = order.older = order.newer = None
        self.quantity -= order.leaves
        self.count -= 1


class BookSide:
    """One side: levels by key, keys sorted with the best last."""

    __slots__ = ("keys", "levels", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    def add(self, order: Order) -> None:
        """Rest an order behind all others at its price."""
        key = self.sign * order.price
        level = self.levels.get(key)
        if level is None:
            level = self.levels[key] = Level(order.price)
            keys = self.keys
            if keys and key < keys[-1]:
                insort(keys, key)
            else:
                keys.append(key)
        level.append(order)

    def remove(self, order: Order) -> None:
        """Take a resting order out, and its level if that was the last one."""
        level = order.level
        assert level is not None
        level.remove(order)
        if level.oldest is None:
            key = self.sign * level.price
            keys = self.keys
            if keys[-1] == key:
                keys.pop()
            else:
                del keys[bisect_left(keys, key)]
            del self.levels[key]

    def best_first(self) -> list[Level]:
        """All levels, best price first."""
        levels = self.levels
        return [levels[key] for key in reversed(self.keys)]
