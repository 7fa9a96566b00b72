"""Run CoinTossX's known-answer cases of matching through `matching.Book`.

    python -m tests.conformance.cointossx FILE [--json]

FILE holds cases as JSON, gzipped or not, or is the source's own folder of tables. Each case has
orders that are entered first, one action (new orders, a cancel, a replace, the uncross of a call
auction), and the book and the trades that must come of it. Every difference is printed with the
name of its case; the last line is `N passed, N failed`.

How a case becomes commands of the book:

* A market order is an immediate-or-cancel order at the largest or smallest price. DAY, GTC, GTD and
  GTT rest; nothing expires inside a case, and the time of expiry is kept here, by the caller.
* HIDDEN_LIMIT is a hidden order, its minimum execution size the order's minimum. The venue has a
  minimum reserve size (MRS): a hidden order of which a fill leaves less than that, or less than its
  own minimum, is cancelled by the caller after the command.
* A replace of the minimum execution size is a cancel and a new order, which is what an owner has
  to do here.
* In an uncross all trades happen at once and at one price, so who was paired with whom makes no
  difference: what is compared is how much trades at which price, and what is left of every order.
  If the pairs differ, that is said. Elsewhere every trade is compared, in order.

Some cases contradict themselves: their expected book gives an order a side, a price or a type which
no command of the case gave it. Such a field is read as it was entered, and the command says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from matching.auction import clear
from matching.book import Book
from matching.order import Order
from matching.packed import COMMAND, EVENT, EVENT_DTYPE, Kind, Op
from matching.types import PRICE_MAX, BookState, SelfTradePrevention, Side, Terms, TimeInForce
from tests.conformance.cointossx_cases import (
    BadCases,
    JsonRow,
    Resting,
    expected_rows,
    only_stops_in_another_order,
    passed_over,
    read_cases,
    unbalanced,
)
from tests.conformance.tables import refuse

WHERE = """
The cases: https://github.com/dharmeshsing/CoinTossX (MIT), folder
MatchingEngine/src/test/resources/crossing, which may be FILE. tests/conformance/cointossx_cases.py
says what a case is as JSON.

Exit status: 0 all cases passed, 1 some did not, 2 the file could not be used.
"""

EVENT_NAMES = [name for name, _ in EVENT_DTYPE]
SIDES = {"BUY": Side.BID, "SELL": Side.ASK}
TIMES_IN_FORCE = {
    0: TimeInForce.GTC,
    1: TimeInForce.GTC,
    3: TimeInForce.IOC,
    4: TimeInForce.FOK,
    6: TimeInForce.GTD,
    8: TimeInForce.GTD,
}
"""The source's codes: DAY, GTC, IOC, FOK, GTD (a date), GTT (a time)."""
TYPES = frozenset({"LIMIT", "MARKET", "HIDDEN_LIMIT", "STOP", "STOP_LIMIT"})
REPLACEABLE = ("qty", "price", "expire_time")
NO_ORDER = 1 << 40
"""An order id that no case reaches."""


class CannotExpress(Exception):
    """A case asks something that has no meaning here; it counts as failed."""


class Outcome(NamedTuple):
    """What came of one case."""

    name: str
    differences: list[str]
    readings: list[str]


class Venue:
    """One book, and what its caller does around it."""

    def __init__(self, stock: JsonRow) -> None:
        self._tick = stock.get("TickSize", 1)
        self.book = Book(tick=self._tick)
        self.trades: list[tuple[int, int]] = []
        self._least_hidden = stock.get("MRS", 0)
        # Cases repeat order ids; the book's own are in the order of entry.
        self._entered: list[JsonRow] = []

    def carry_out(self, case: JsonRow) -> None:
        """All commands of a case.

        Raises:
            CannotExpress: one of them has no meaning here.
        """
        auction = case["action"] == "UNCROSS_AUCTION"
        actions = {"NEW": self.enter, "CANCEL": self.cancel, "REPLACE": self.replace}
        act = self.enter if auction else actions.get(case["action"])
        if act is None:
            msg = f"action {case['action']!r} is not known here"
            raise CannotExpress(msg)
        if auction:
            self._command(Op.SET_STATE, 0, quantity=BookState.AUCTION)
        for row in case["initial_orders"]:
            self.enter(row)
        for row in case["input"]:
            act(row)
        if auction:
            self.uncross()

    def enter(self, row: JsonRow) -> None:
        """A new order."""
        if row["type"] not in TYPES:
            msg = f"orders of type {row['type']!r} are not known here"
            raise CannotExpress(msg)
        self._entered.append(row)
        side = SIDES[row["side"]]
        terms, minimum, stop_price = 0, row.get("min_exec_size", 0), 0
        if row["type"] == "HIDDEN_LIMIT":
            terms |= Terms.HIDDEN
        if minimum:
            terms |= Terms.MINIMUM
        if row["type"] in {"STOP", "STOP_LIMIT"}:
            terms |= Terms.STOP
            stop_price = _stop_price(row)
        self._command(
            Op.PLACE,
            len(self._entered),
            side,
            _time_in_force(row),
            terms,
            _limit(row),
            row["qty"],
            minimum,
            stop_price,
        )

    def cancel(self, row: JsonRow) -> None:
        """Cancel the order of the case's id."""
        order = self._find(row)
        self._command(Op.CANCEL, NO_ORDER if order is None else order.order_id)

    def replace(self, row: JsonRow) -> None:
        """Replace the order of the case's id; `qty` is its new total."""
        order = self._find(row)
        if order is None:
            self._command(Op.REPLACE, NO_ORDER, price=_limit(row), quantity=row["qty"])
            return
        before = self._entered[order.order_id - 1]
        changed: JsonRow = {key: row[key] for key in REPLACEABLE if key in row}
        now = before | changed
        minimum = row.get("min_exec_size", 0)
        if minimum != before.get("min_exec_size", 0):
            self._command(Op.CANCEL, order.order_id)
            traded = order.quantity - order.leaves
            if row["qty"] > traded:
                self.enter(now | {"min_exec_size": minimum, "qty": row["qty"] - traded})
            return
        self._entered[order.order_id - 1] = now
        waits = order in self.book.stops()
        self._command(
            Op.REPLACE,
            order.order_id,
            price=_limit(row),
            quantity=row["qty"],
            stop_price=_stop_price(row) if waits else 0,
        )

    def uncross(self) -> None:
        """Trade the call at the price that the auction finds, anew where accounts are separated."""
        book = self.book
        while found := clear(
            book.interest(Side.BID),
            book.interest(Side.ASK),
            reference=book.last_price,
            tick=self._tick,
        ):
            self._command(Op.UNCROSS, 0, price=found.price)

    def rows(self) -> list[Resting]:
        """The book as it is now, waiting stops included."""
        found = []
        waiting = self.book.stops()
        for order in self.book.orders() + waiting:
            entered = self._entered[order.order_id - 1]
            waits = order in waiting
            kind = entered["type"] if waits else "LIMIT"
            conditions = order.conditions
            if order.terms & Terms.HIDDEN:
                kind = "HIDDEN_LIMIT"
            found.append(
                Resting(
                    entered["side"],
                    entered["order_id"],
                    kind,
                    order.leaves,
                    conditions.stop_price if kind == "STOP" and conditions else order.price,
                    conditions.stop_price if kind == "STOP_LIMIT" and conditions else 0,
                    conditions.minimum if conditions else 0,
                    entered.get("expire_time", ""),
                )
            )
        return found

    def _find(self, row: JsonRow) -> Order | None:
        for order in self.book.orders() + self.book.stops():
            entered = self._entered[order.order_id - 1]
            if (entered["order_id"], entered["side"]) == (row["order_id"], row["side"]):
                return order
        return None

    def _command(
        self,
        op: Op,
        order_id: int,
        side: int = 0,
        time_in_force: int = 0,
        terms: int = 0,
        price: int = 0,
        quantity: int = 0,
        minimum: int = 0,
        stop_price: int = 0,
    ) -> None:
        # Every order has an account of its own, so that none is refused a trade with itself.
        mode = SelfTradePrevention.CANCEL_OLDEST if op is Op.PLACE else 0
        row = (
            op, side, time_in_force, mode, terms, order_id, order_id, price, quantity,
            minimum, 0, stop_price, 0, 0,
        )  # fmt: skip
        events = self.book.apply(COMMAND.pack(*row))
        self.book.check()
        filled: set[int] = set()
        for values in EVENT.iter_unpack(events):
            event = dict(zip(EVENT_NAMES, values, strict=True))
            if event["kind"] in {Kind.EXECUTE, Kind.TRADE}:
                self.trades.append((event["price"], event["quantity"]))
                filled |= {event["order_id"], event["taker_id"]}
        self._expire_small(filled)

    def _expire_small(self, filled: set[int]) -> None:
        """Cancel hidden orders of which a fill has left too little for the venue."""
        for order in self.book.orders():
            if order.order_id in filled and order.terms & Terms.HIDDEN:
                minimum = order.conditions.minimum if order.conditions else 0
                if order.leaves < max(minimum, self._least_hidden):
                    self._command(Op.CANCEL, order.order_id)


def _time_in_force(row: JsonRow) -> TimeInForce:
    found = TIMES_IN_FORCE.get(row.get("tif", 0))
    if found is None:
        msg = f"time in force {row['tif']} is not known here"
        raise CannotExpress(msg)
    if row["type"] in {"MARKET", "STOP"} and found is not TimeInForce.FOK:
        return TimeInForce.IOC
    return found


def _limit(row: JsonRow) -> int:
    if row["type"] in {"MARKET", "STOP"}:
        return PRICE_MAX if row["side"] == "BUY" else 1
    return int(row["price"])


def _stop_price(row: JsonRow) -> int:
    """A STOP's price is the price at which it wakes."""
    return int(row["price"] if row["type"] == "STOP" else row["stop_price"])


def run_case(case: JsonRow) -> Outcome:
    """Carry out one case and compare."""
    venue = Venue(case["stock"])
    expected, readings = expected_rows(case)
    try:
        venue.carry_out(case)
    except CannotExpress as error:
        return Outcome(case["id"], [str(error)], readings)
    differences = []
    if case.get("expected_trades_file_present", True):
        differences += _trade_differences(case, venue.trades)
        want = _expected_trades(case)
        if not differences and sorted(want) != sorted(venue.trades):
            readings.append(f"pairs: {_shown(venue.trades)} instead of {_shown(want)}")
    if case.get("expected_book_file_present", True):
        differences += _book_differences(expected, venue.rows())
    if differences:
        reasons = (
            unbalanced(case),
            passed_over(case),
            only_stops_in_another_order(case, venue.trades),
        )
        differences += [why for why in reasons if why]
    return Outcome(case["id"], differences, readings)


def _trade_differences(case: JsonRow, got: list[tuple[int, int]]) -> list[str]:
    want = _expected_trades(case)
    equal = want == got
    if case["action"] == "UNCROSS_AUCTION":
        equal = _volumes(want) == _volumes(got)
    return [] if equal else [f"trades: expected {_shown(want)}; got {_shown(got)}"]


def _expected_trades(case: JsonRow) -> list[tuple[int, int]]:
    return [(trade["price"], trade["qty"]) for trade in case["expected_trades"]]


def _volumes(trades: list[tuple[int, int]]) -> Counter[int]:
    """How much trades at each price."""
    volumes: Counter[int] = Counter()
    for price, quantity in trades:
        volumes[price] += quantity
    return volumes


def _shown(trades: list[tuple[int, int]]) -> str:
    return ", ".join(f"{quantity} at {price}" for price, quantity in trades) or "none"


def _book_differences(want: list[Resting], got: list[Resting]) -> list[str]:
    missing, extra = sorted(want), sorted(got)
    for row in want:
        if row in extra:
            extra.remove(row)
            missing.remove(row)
    return [f"book: missing {_row(row)}" for row in missing] + [
        f"book: not expected {_row(row)}" for row in extra
    ]


def _row(row: Resting) -> str:
    text = f"{row.side} {row.quantity} at {row.price} ({row.type} {row.order_id}"
    if row.stop_price:
        text += f", stop {row.stop_price}"
    if row.minimum:
        text += f", minimum {row.minimum}"
    return text + (f", expires {row.expires})" if row.expires else ")")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.cointossx",
        description=__doc__,
        epilog=WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a .json, a .json.gz, or a folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _arguments(argv)
    try:
        cases = read_cases(arguments.file)
    except BadCases as error:
        return refuse(str(error))
    outcomes = [run_case(case) for case in cases]
    failed = sum(bool(outcome.differences) for outcome in outcomes)
    if arguments.json:
        shown = [o._asdict() for o in outcomes if o.differences or o.readings]
        print(json.dumps({"passed": len(outcomes) - failed, "failed": failed, "cases": shown}))
        return 1 if failed else 0
    for outcome in outcomes:
        for reading in outcome.readings:
            print(f"{outcome.name}: noted: {reading}")
        for difference in outcome.differences:
            print(f"{outcome.name}: {difference}")
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
