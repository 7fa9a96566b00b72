"""The index of a book's orders by id, beside a dict."""

from __future__ import annotations

from random import Random

import pytest

from matching import Order
from matching.index import SLOTS_PER_ORDER, OrderIndex
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


def test_an_order_moves_no_more_others_than_stand_in_two_slots() -> None:
    """However many there are: each brings its own slots, and no slot is ever made again."""
    index, twin = OrderIndex(), [make(number, ASK, 5, 100) for number in range(1, 3_000)]
    slots = len(index._slots)
    for number, order in enumerate(twin):
        index.add(order)
        assert slots <= len(index._slots) <= slots + SLOTS_PER_ORDER
        slots = len(index._slots)
        if number & number - 1 == 0:
            index.check()
    index.check()
    assert all(index.get(order.order_id) is order for order in twin)


@pytest.mark.parametrize("count", [3, 8, 1_000, 1_024])
def test_room_is_made_ahead(count: int) -> None:
    index = OrderIndex()
    index.reserve(count)
    slots = len(index._slots)
    for number in range(3 * count):
        if number == count:
            assert len(index._slots) == slots, "there was not room enough"
            index.check()
        index.add(make(number, ASK, 5, 100))
    index.check()


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
