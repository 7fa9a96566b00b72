from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exchange.core.commands import Advance, Command
from exchange.core.limits import NS_PER_S
from exchange.readmodel import queries
from exchange.readmodel.candles import HOUR_NS, WIDTHS_S, Candle, Candles, Row, index_point
from exchange.readmodel.database import Database, connect
from exchange.readmodel.feed import Feed
from exchange.readmodel.schema import VOLUME_MAX_MFLOP
from tests.exchange.core.scenario import Market, uuid7
from tests.exchange.readmodel.journals import Writer

NewUrl = Callable[[], str]


def trading_hours(seed: int, hours: int) -> list[Command]:
    """Trades of two accounts with each other and now and then with themselves, over hours."""
    rng = random.Random(seed)
    market = Market()
    for number in range(hours * 30):
        market.later(rng.randint(1, 240) * NS_PER_S)
        price, quantity = rng.randint(95, 105), rng.randint(1, 50)
        for side, account in ((1, market.ann), (2, market.bob)):
            market.do(
                market.order(
                    account_id=account,
                    client_order_id=uuid7(2 * number + side, market.now_ns),
                    side=side,
                    price_nanos=price,
                    quantity_mflop=quantity,
                    time_in_force=1,
                    max_cost_nanos=0,
                )
            )
    from exchange.core.commands import decode

    return decode(bytes(market.records))


def naive_candles(trades: list[queries.TradeRow], width_s: int) -> list[queries.CandleRow]:
    """From the oldest trade on, as one would draw them by hand."""
    parts: dict[int, list[queries.TradeRow]] = {}
    for trade in trades:
        start = trade.event_time_ns // (width_s * NS_PER_S) * width_s * NS_PER_S
        parts.setdefault(start, []).append(trade)
    return [
        queries.CandleRow(
            start,
            part[0].price_nanos,
            max(t.price_nanos for t in part),
            min(t.price_nanos for t in part),
            part[-1].price_nanos,
            sum(t.quantity_mflop for t in part),
            len(part),
        )
        for start, part in parts.items()
    ]


def naive_index(volumes: dict[int, int]) -> int:
    """Every MFLOP by itself, sorted by price."""
    sorted_mflop = [price for price in sorted(volumes) for _ in range(volumes[price])]
    cut = len(sorted_mflop) // 10
    kept = sorted_mflop[cut : len(sorted_mflop) - cut]
    return int(Fraction(sum(kept), len(kept)))


def all_trades(database: Database, instrument_id: int) -> list[queries.TradeRow]:
    return queries.trades(database, instrument_id, 10**6)[::-1]


def test_candles_and_index_are_what_the_trades_say(tmp_path: Path, new_url: NewUrl) -> None:
    """Fed in pieces by several feeds, so that each goes on in the middle of a candle."""
    commands = trading_hours(3, 5)
    writer = Writer(tmp_path / "journal")
    url = new_url()
    for number, at in enumerate(range(0, len(commands), 70)):
        writer.append(commands[at : at + 70], number, largest=9)
        database = connect(url)
        Feed.open(writer.directory, database).run_to_end()
        database.close()
    database = connect(url)
    found = all_trades(database, 2)
    assert len(found) > 100
    for width_s in WIDTHS_S:
        drawn = queries.candles(database, 2, width_s, 10**6)[::-1]
        assert drawn == naive_candles(found, width_s), width_s
    own = set(
        database.query("SELECT number FROM trades WHERE buyer_account_id = seller_account_id")
    )
    hours: dict[int, dict[int, int]] = {}
    for trade in found:
        if (trade.number,) not in own:
            volumes = hours.setdefault(trade.event_time_ns // HOUR_NS * HOUR_NS, {})
            volumes[trade.price_nanos] = volumes.get(trade.price_nanos, 0) + trade.quantity_mflop
    rows = queries.hourly_index(database, 2, 1_000)[::-1]
    assert [(row.start_time_ns, row.price_nanos) for row in rows] == [
        (hour, naive_index(volumes)) for hour, volumes in list(hours.items())[:-1]
    ]
    database.close()
    writer.close()


def test_an_hour_ends_without_a_further_trade(tmp_path: Path, new_url: NewUrl) -> None:
    writer = Writer(tmp_path / "journal")
    commands = trading_hours(1, 1)
    writer.append(commands)
    writer.append([Advance(writer.core.now_ns + HOUR_NS)])
    database = connect(new_url())
    Feed.open(writer.directory, database).run_to_end()
    last = all_trades(database, 2)[-1]
    newest = queries.hourly_index(database, 2, 1)[0]
    assert newest.start_time_ns == last.event_time_ns // HOUR_NS * HOUR_NS
    database.close()
    writer.close()


@given(st.dictionaries(st.integers(1, 10**9), st.integers(1, 200), min_size=1, max_size=8))
def test_the_index_trims_by_volume(volumes: dict[int, int]) -> None:
    assert index_point(volumes).price_nanos == naive_index(volumes)


def test_a_few_odd_prices_move_it_little() -> None:
    usual = {100: 1_000}
    assert index_point(usual | {10**9: 90, 1: 90}).price_nanos == 100


def test_a_sum_of_quantities_stays_in_64_bits() -> None:
    candle = Candle(0, 5)
    for _ in range(10_000):
        candle.trade(5, 10**15)
    assert candle.volume == VOLUME_MAX_MFLOP
    assert index_point({5: 10**19}).volume_mflop == VOLUME_MAX_MFLOP


@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_folding_at_any_moment_gives_the_same(rng: random.Random, folds: int) -> None:
    """Trades within seconds, days and anything between; rows as the table would hold them."""
    candles = Candles()
    rows: dict[Row, Row] = {}
    expected: dict[Row, Candle] = {}
    now_ns = HOUR_NS
    for _ in range(60):
        now_ns += rng.choice((0, 1, 10**6, NS_PER_S, HOUR_NS, 25 * HOUR_NS))
        price, quantity = rng.randint(1, 9), rng.randint(1, 9)
        kept = candles.trade(7, now_ns, price, quantity)
        if rng.randint(1, 5) <= folds:
            kept += candles.fold()
        rows |= {row[:3]: row for row in kept}
        for width_s in WIDTHS_S:
            start_ns = now_ns - now_ns % (width_s * NS_PER_S)
            candle = expected.setdefault((7, width_s, start_ns), Candle(start_ns, price))
            candle.trade(price, quantity)
    rows |= {row[:3]: row for row in candles.fold()}
    assert rows == {key: candle.row(*key[:2]) for key, candle in expected.items()}


def test_a_time_finds_the_trade_that_it_was_at(tmp_path: Path, new_url: NewUrl) -> None:
    writer = Writer(tmp_path / "journal")
    writer.append(trading_hours(2, 1))
    database = connect(new_url())
    Feed.open(writer.directory, database).run_to_end()
    found = all_trades(database, 0)
    for trade in found:
        assert queries.trade_number_at(database, trade.event_time_ns) <= trade.number
        assert queries.trade_number_at(database, trade.event_time_ns + 1) > trade.number
    middle = found[len(found) // 2].event_time_ns
    later = queries.trades(database, 0, 10**6, start_time_ns=middle)
    earlier = queries.trades(database, 0, 10**6, end_time_ns=middle)
    assert [*earlier[::-1], *later[::-1]] == found
    assert all(trade.event_time_ns < middle for trade in earlier)
    database.close()
    writer.close()
