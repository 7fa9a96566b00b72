"""The rule book of batch clearing: every table in it is what the code and its twin do."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from matching import (
    Bid,
    ClassBid,
    ClearingGroup,
    Leg,
    LegDesk,
    MultiLegBid,
    NoTradeReason,
    SlotPool,
    StandingQuote,
    ramp_price,
)
from matching.reference import NaiveClearingGroup, NaiveLegDesk
from tests.matching.floor import FAR_S, AnyGroup, S

RULES = (
    Path(__file__).resolve().parents[2] / "docs" / "reference" / "matching-rules-clearing.md"
).read_text()
INSTRUMENTS = {"cpu": 11, "l4": 12, "h100": 13, "small": 11, "large": 21}


def sections() -> dict[str, list[list[str]]]:
    """The rows of each section's tables, without their heads, by the section's number."""
    parts = re.split(r"^#+ ([\d.]+) .*$", RULES, flags=re.MULTILINE)
    found = {}
    for number, text in zip(parts[1::2], parts[2::2], strict=True):
        tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
        rows = [line for table in tables for line in table.splitlines()[2:]]
        found[number.rstrip(".")] = [
            [cell.strip() for cell in row.strip("|").split("|")] for row in rows
        ]
    return found


TABLES = sections()
EXAMPLES = [n for n, rows in TABLES.items() if any(row[0].startswith("pool") for row in rows)]


class Example:
    """One example's market, on real groups or naive ones, and what became of every row."""

    def __init__(self, rows: list[list[str]], *, naive: bool) -> None:
        self.groups: dict[int, AnyGroup]
        self.desk: LegDesk | NaiveLegDesk
        if naive:
            slow = {i: NaiveClearingGroup(i, S) for i in (1, 2)}
            self.groups, self.desk = dict(slow), NaiveLegDesk(slow)
        else:
            fast = {i: ClearingGroup(i, S) for i in (1, 2)}
            self.groups, self.desk = dict(fast), LegDesk(fast)
        self.pools: dict[int, SlotPool] = {}
        self.sequence = 0
        self.bids: list[tuple[int, Bid]] = []  # (row, bid)
        legs: dict[int, list[Leg]] = {}
        for number, (who, classes, price, _) in enumerate(rows):
            kind, name, *of = who.split()
            account = int(of[1]) if of else 0
            named = [INSTRUMENTS[one] for one in classes.split()]
            group_id = 2 if named[0] > 20 else 1
            if kind == "pool":
                self.quote(int(name), account or 1_000 + int(name), named[0], price.split())
                continue
            limit, *quantity = re.findall(r"\d+", price)
            bid = self.bid(account or int(name), named, int(limit))
            self.bids.append((number, bid))
            if kind == "order":
                legs.setdefault(int(name), []).append(Leg(group_id, bid, int(quantity[0])))
            else:
                self.groups[group_id].add_bid(bid)
        for order_id, made in legs.items():
            self.desk.add(MultiLegBid(order_id, tuple(made)))

    def quote(self, pool_id: int, account: int, instrument_id: int, asks: list[str]) -> None:
        prices = tuple(int(ask.strip("[]")) for ask in asks)
        if pool_id not in self.pools:
            self.pools[pool_id] = SlotPool(pool_id, account, len(prices))
            self.pools[pool_id].in_use = sum(ask.startswith("[") for ask in asks)
        self.sequence += 1
        pool = self.pools[pool_id]
        quote = StandingQuote(self.sequence, instrument_id, pool, prices, self.sequence)
        self.groups[2 if instrument_id > 20 else 1].set_quote(quote)

    def bid(self, account: int, instruments: list[int], price: int) -> Bid:
        self.sequence += 1
        classes = tuple(ClassBid(i, FAR_S * S) for i in instruments)
        bid_id = self.sequence
        return Bid(bid_id, account, price, price, FAR_S * S, bid_id, classes, flat=True)

    def results(self) -> dict[int, str]:
        """Uncross all; in the rule book's words what became of each bid, by row."""
        done = self.desk.uncross((1, 2), 0)
        fills = {fill.bid_id: fill for one in done for fill in one.uncross.fills}
        self_trades = [bid_id for one in done for bid_id in one.uncross.self_trades]
        found = {}
        for row, bid in self.bids:
            group = self.groups[2 if bid.classes[0].instrument_id > 20 else 1]
            if bid.bid_id in fills:
                fill = fills[bid.bid_id]
                found[row] = f"pool {fill.pool_id} at {fill.price}"
            elif bid.bid_id in self_trades:
                found[row] = "self-trade"
            elif group.bid(bid.bid_id) is None:
                found[row] = "cancelled"
            else:
                why = group.why_not(bid.bid_id, 0)
                found[row] = "can trade"
                if why is not None:
                    found[row] = why.reason.name.lower().replace("_", " ")
                    found[row] += "" if why.best_ask is None else f" {why.best_ask}"
        return found


def test_every_rule_has_its_examples() -> None:
    assert [
        *("2.1", "2.2", "2.3"),
        *("3.1", "3.2", "3.3", "3.4", "3.5"),
        *("4", "5.1"),
        *("7.1", "7.2", "7.3", "7.4"),
    ] == EXAMPLES


@pytest.mark.parametrize("naive", [False, True], ids=["real", "naive"])
@pytest.mark.parametrize("number", EXAMPLES)
def test_examples(number: str, naive: bool) -> None:
    rows = TABLES[number]
    results = Example(rows, naive=naive).results()
    assert results == {row: cells[3] for row, cells in enumerate(rows) if cells[3]}


def test_the_reasons() -> None:
    assert {row[0].strip("`") for row in TABLES["5"]} == {reason.name for reason in NoTradeReason}


def test_the_ramp() -> None:
    ramp = [row for row in TABLES["6"] if len(row) == 3]
    assert len(ramp) == 6
    for left, uncapped, capped in ramp:
        slack_ns = int(left) * S
        assert ramp_price(100, 10**9, slack_ns, 0, S) == int(uncapped)
        assert ramp_price(100, 30, slack_ns, 0, S) == int(capped)


@pytest.mark.parametrize("make", [ClearingGroup, NaiveClearingGroup])
def test_the_next_trade(make: type[AnyGroup]) -> None:
    times = [row for row in TABLES["6"] if len(row) == 2]
    assert len(times) == 5
    for ask, left in times:
        group = make(1, S)
        group.set_quote(StandingQuote(1, 1, SlotPool(1, 2, 1), (int(ask),), 1))
        group.add_bid(Bid(1, 1, 100, 10**9, 60 * S, 1, (ClassBid(1, 60 * S),)))
        at_ns = group.next_trade_ns(0)
        assert at_ns == (None if left == "never" else int((60 - Decimal(left)) * S))
