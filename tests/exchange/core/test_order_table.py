"""Open orders by their ids, against a dict; and what their going leaves behind."""

from __future__ import annotations

import gc
import random
import weakref

import pytest

from exchange.core import order_table
from exchange.core.accounts import Account, Stake
from exchange.core.commands import AccountKind
from exchange.core.exchange import Exchange
from exchange.core.open_orders import OpenOrder
from exchange.core.order_table import OrderTable, oldest_first
from exchange.core.placements import Placement
from matching.index import SLOTS_PER_ORDER
from matching.order import Order
from matching.packed import COMPILED
from tests.exchange.core.scenario import Market


def order(account: Account, order_id: int) -> OpenOrder:
    resting = Order(order_id, account.account_id, 1, 100, 5, 1, 1)
    return OpenOrder(account, None, Stake(), Placement(), resting, None)


@pytest.fixture(params=[False, True], ids=["dict", "slots"])
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OrderTable:
    """Both forms, the chained one interpreted, too; compiled, there is only that."""
    if not COMPILED:
        monkeypatch.setattr(order_table, "COMPILED", request.param)
    elif not request.param:
        pytest.skip("compiled code has no dict")
    return OrderTable()


@pytest.mark.parametrize("seed", range(5))
def test_orders_come_and_go(table: OrderTable, seed: int) -> None:
    """Ids grow as an exchange counts them, with gaps; of the account's list the same orders."""
    chance = random.Random(seed)
    account, next_id = Account(3, AccountKind.PAPER, "ann"), 1
    twin: dict[int, OpenOrder] = {}
    for _ in range(1_500):
        if not twin or chance.random() < 0.6:
            next_id += chance.choice((1, 1, 1, 8, 4_096))
            twin[next_id] = placed = order(account, next_id)
            table.add(placed)
            account.add_order(placed)
        else:
            gone = twin.pop(chance.choice(list(twin)))
            table.remove(gone)
            account.remove_order(gone)
            assert table.get(gone.order_id) is None
            assert gone.order_id not in table
        assert len(table) == len(twin) == account.open_orders
        if chance.random() < 0.05:
            table.check()
            assert table.values() == oldest_first(account.orders) == [twin[i] for i in sorted(twin)]
            assert list(table) == sorted(twin)
            assert [one.place for one in account.orders] == list(range(len(twin)))
    assert all(table[i] is placed for i, placed in twin.items())
    with pytest.raises(KeyError):
        table[0]
    table.clear()
    assert (len(table), table.values()) == (0, [])
    assert not any(placed.chain for placed in twin.values())


@pytest.mark.parametrize("stride", [64, 1_024, 1 << 16])
def test_orders_that_stay_at_a_stride_do_not_share_few_slots(
    table: OrderTable, stride: int
) -> None:
    """Whoever cancels all but every 64th of its orders makes nobody's way to an order long."""
    account = Account(3, AccountKind.PAPER, "ann")
    for number in range(10_000):
        table.add(order(account, (1 << 24) + number * stride))
    table.check()
    assert max(_looks(one) for one in table.values()) <= 8


def _looks(order: OpenOrder) -> int:
    looks = 1
    while order.chain is not None:
        order = order.chain
        looks += 1
    return looks


def test_an_order_moves_no_more_others_than_stand_in_two_slots(table: OrderTable) -> None:
    """However many there are: each brings its own slots, and no slot is ever made again."""
    account, slots = Account(3, AccountKind.PAPER, "ann"), len(table._slots)
    for order_id in range(1, 5_000):
        table.add(order(account, order_id))
        assert slots <= len(table._slots) <= slots + SLOTS_PER_ORDER
        slots = len(table._slots)
        if order_id & order_id - 1 == 0 or order_id % 1_000 == 0:
            table.check()
    assert max(_looks(one) for one in table.values()) <= 2


@pytest.mark.parametrize("count", [3, 8, 1_000, 1_024])
def test_room_is_made_ahead(table: OrderTable, count: int) -> None:
    account = Account(3, AccountKind.PAPER, "ann")
    table.reserve(count)
    slots = len(table._slots)
    for order_id in range(5, 5 + count):
        table.add(order(account, order_id))
    table.check()
    assert [table[i].order_id for i in (5, 6, 4 + count)] == [5, 6, 4 + count]
    assert len(table._slots) == slots, "there was not room enough"
    for order_id in range(5 + count, 5 + 3 * count):
        table.add(order(account, order_id))
    table.check()
    with pytest.raises(AssertionError, match="holds orders"):
        table.reserve(count)


def test_a_forgotten_exchange_lets_go_of_its_orders() -> None:
    """Compiled, the garbage collector does not see what orders refer to."""
    market = Market()
    for number in range(20):
        market.do(market.order(price_nanos=50 + number, quantity_mflop=100))
    found = market.exchange.accounts[market.ann].orders
    assert len(found) == 20
    held = found[0]
    exchange = weakref.ref(market.exchange) if not COMPILED else None
    del market
    gc.collect()
    assert found == []
    assert held.chain is None
    if exchange is not None:
        assert exchange() is None


def test_a_new_exchange_has_none() -> None:
    assert not Exchange().orders
