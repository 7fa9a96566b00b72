"""The index of a book's orders by id, beside a dict."""

from __future__ import annotations

from random import Random

import pytest

from matching import Order
from matching.index import OrderIndex
from tests.matching.market import ASK, make

STRIDES = (1, 3, 1 << 10, 1 << 16, 1 << 40)


@pytest.mark.parametrize("stride", STRIDES)
def test_random_changes_leave_what_they_leave_in_a_dict(stride: int) -> None:
    rng, index, twin = Random(stride), OrderIndex(), dict[int, Order]()
    for number in range(4_000):
        order_id = stride * rng.randint(-50, 2_000)
        known = twin.get(order_id)
        assert index.get(order_id) is known
        if known is None:
            twin[order_id] = make(order_id, ASK, 5, 100)
            index.add(twin[order_id])
        elif rng.random() < 0.7:
            index.remove(twin.pop(order_id))
            assert index.get(order_id) is None
        assert len(index) == len(twin)
        if number % 100 == 0:
            index.check()
            assert {order.order_id: order for order in index.orders()} == twin
    for order in index.orders():
        index.remove(order)
    index.check()
    assert len(index) == 0


def test_an_id_that_no_word_holds_is_not_found() -> None:
    index = OrderIndex()
    index.add(make(1, ASK, 5, 100))
    assert index.get(1 << 80) is None
    assert index.get(-(1 << 80) + 1) is None


def test_a_removed_order_may_come_back() -> None:
    index = OrderIndex()
    first, second = make(8, ASK, 5, 100), make(16, ASK, 5, 100)
    for order in (first, second):
        index.add(order)
    index.remove(first)
    index.add(first)
    index.remove(second)
    assert index.get(8) is first
    assert index.get(16) is None
    index.check()
