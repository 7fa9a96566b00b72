"""Recent trades: kept as they came, made records for who asks or watches."""

from __future__ import annotations

import pytest

from exchange.core.commands import Advance
from exchange.core.events import AnyEvent, LeaseOffered, OrderFilled, TimeAdvanced
from exchange.core.recorded import Recorded
from exchange.engine import Group, Outcomes
from exchange.rpc import history
from exchange.rpc.history import RECENT_TRADES_MAX, History, TradeRecord
from tests.exchange.core.rows import rows_of

FUTURE, SPOT = 1, 2


def fill(trade_id: int, instrument_id: int = FUTURE) -> OrderFilled:
    return OrderFilled(trade_id, instrument_id, 100, 5, 1, 1, 0, 2, 2, 0, 2)


def record(trade_id: int, instrument_id: int = FUTURE, sequence: int = 1) -> TradeRecord:
    return TradeRecord(instrument_id, trade_id, 100, 5, 7, 2, sequence)


def group(*events: AnyEvent) -> Group:
    return Group(Recorded(Advance(7).encode()), Outcomes(1, 7, rows_of([events])))


def test_trades_are_told_oldest_first_by_instrument_and_over_all() -> None:
    seen = History()
    lease = LeaseOffered(
        **dict.fromkeys(LeaseOffered.__struct_fields__, 3) | {"instrument_id": SPOT}
    )
    seen.on_group(group(fill(1), lease, fill(2)))
    seen.on_group(group(TimeAdvanced(7)))
    offered = TradeRecord(SPOT, 3, 3, 3, 7, 0, 1)
    assert seen.trades(0, 9) == [record(1), offered, record(2)]
    assert seen.trades(FUTURE, 9) == [record(1), record(2)]
    assert seen.trades(SPOT, 9) == [offered]
    assert seen.trades(0, 1) == [record(2)]
    assert seen.trades(0, 0) == seen.trades(9, 9) == []


def test_the_latest_are_remembered_of_each_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "RECENT_TRADES_MAX", 3)
    seen = History()
    seen.on_group(group(fill(1, SPOT)))
    seen.on_group(group(*(fill(number) for number in range(2, 7))))
    assert seen.trades(0, RECENT_TRADES_MAX) == [record(4), record(5), record(6)]
    assert seen.trades(FUTURE, 9) == [record(4), record(5), record(6)]
    assert seen.trades(SPOT, 9) == [record(1, SPOT)]


def test_earlier_ones_are_put_before() -> None:
    seen = History()
    seen.on_group(group(fill(3)))
    for instrument_id in (0, FUTURE):
        seen.fill(instrument_id, [record(1), record(2)])
        assert seen.trades(instrument_id, 9) == [record(1), record(2), record(3)]
    seen.fill(SPOT, [record(1, SPOT)])
    seen.on_group(group(fill(4, SPOT)))
    assert seen.trades(SPOT, 9) == [record(1, SPOT), record(4, SPOT)]


def test_who_watches_hears_of_each() -> None:
    seen = History()
    every, some = seen.watch_trades(0), seen.watch_trades(SPOT)
    seen.on_group(group(fill(1), fill(2, SPOT)))
    assert seen.deepest() == 2
    assert every.take(9) == [record(1), record(2, SPOT)]
    assert some.take(9) == [record(2, SPOT)]
    seen.unwatch(every)
    seen.on_group(group(fill(3)))
    assert not every
