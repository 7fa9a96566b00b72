"""One side of a book beside a dict of queues: levels that come, go and share what finds them."""

from __future__ import annotations

from random import Random

import pytest

from matching import PRICE_MAX, Order
from matching.levels import BookSide
from tests.matching.market import BID, make


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("tick", "step"), [(1, 1), (100, 100), (1, 1 << 20), (PRICE_MAX * 2, 1)])
def test_random_changes_leave_what_they_leave_in_a_dict(sign: int, tick: int, step: int) -> None:
    """Steps of a large power of two put every price on the same slot."""
    rng, side, twin = Random(step), BookSide(sign, tick), dict[int, list[Order]]()
    for number in range(3_000):
        price = step * rng.randint(1, 40 if number < 2_000 else 4)
        queue = twin.setdefault(price, [])
        if len(queue) < 3 and rng.random() < 0.6:
            order = make(number, BID, 5, price)
            side.append(order, 5)
            queue.append(order)
        elif queue:
            order = queue.pop(rng.randrange(len(queue)))
            level = order.level
            assert level is not None
            level.quantity -= 5
            level.remove(order)
        if not queue:
            del twin[price]
        if number % 50 == 0:
            side.check()
            found = {level.price: level.orders() for level in side.best_first()}
            assert found == twin
            assert list(found) == sorted(twin, reverse=sign == 1)
    side.check()
