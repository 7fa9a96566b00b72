"""Tables of what is over: trades, candles, hours, orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from flopex.render.format import PRICE_UNIT, date_time, grouped, price, words
from flopex.render.tables import plain_table

if TYPE_CHECKING:
    from exchange.client import Candle, HourlyIndex, PastOrder, Trade


def trades_table(trades: Iterable[Trade], names: Mapping[int, str]) -> Table:
    """Trades; of a batch's there is no taker."""
    table = plain_table(
        *("time", "instrument", "trade", PRICE_UNIT, "MFLOP", "taker"),
        right=("trade", PRICE_UNIT, "MFLOP"),
    )
    for trade in trades:
        table.add_row(
            date_time(trade.event_time_ns),
            names.get(trade.instrument_id, str(trade.instrument_id)),
            str(trade.trade_id),
            price(trade.price_nanos),
            grouped(trade.quantity_mflop),
            words(trade.taker_side.name) if trade.taker_side else "batch",
        )
    return table


def candles_table(candles: Iterable[Candle]) -> Table:
    """Candles; prices in nano-dollars per CU."""
    numbers = ("open", "high", "low", "close", "MFLOP", "trades")
    table = plain_table("begin", *numbers, right=numbers)
    for candle in candles:
        table.add_row(
            date_time(candle.start_time_ns),
            *map(
                price, (candle.open_nanos, candle.high_nanos, candle.low_nanos, candle.close_nanos)
            ),
            grouped(candle.volume_mflop),
            grouped(candle.trades),
        )
    return table


def index_table(hours: Iterable[HourlyIndex]) -> Table:
    """Hours and their index."""
    numbers = (PRICE_UNIT, "MFLOP", "trades")
    table = plain_table("hour", *numbers, right=numbers)
    for hour in hours:
        table.add_row(
            date_time(hour.start_time_ns),
            price(hour.price_nanos),
            grouped(hour.volume_mflop),
            grouped(hour.trades),
        )
    return table


def past_orders_table(orders: Iterable[PastOrder], names: Mapping[int, str]) -> Table:
    """Orders of every state."""
    table = plain_table(
        *("order", "time", "instrument", "side", "state", PRICE_UNIT, "MFLOP", "filled", "why"),
        right=("order", PRICE_UNIT, "MFLOP", "filled"),
    )
    for order in orders:
        several = "several" if not order.instrument_id else str(order.instrument_id)
        table.add_row(
            str(order.order_id),
            date_time(order.create_time_ns),
            names.get(order.instrument_id, several),
            words(order.side.name),
            words(order.state.name),
            price(order.price_nanos),
            grouped(order.quantity_mflop),
            grouped(order.filled_mflop),
            words(order.reason),
        )
    return table
