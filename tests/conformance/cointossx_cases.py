"""CoinTossX's known-answer cases, as one JSON file or as the source's own folder of tables.

A case is a dictionary with these keys: id (`family/number`), description, initial_orders, action
(NEW, CANCEL, REPLACE or UNCROSS_AUCTION), input, expected_book, expected_trades and stock. An order
has side, order_id, type, and as far as they are stated qty, price, min_exec_size, stop_price, tif,
time and expire_time.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance.tables import GZIP_MAGIC, Row

JsonRow = dict[str, Any]

ACTIONS = {"auction": "UNCROSS_AUCTION", "cancel_order": "CANCEL", "replace_order": "REPLACE"}
"""By family; all other families enter new orders."""
TYPES = {"1": "MARKET", "2": "LIMIT", "3": "STOP", "4": "STOP_LIMIT", "5": "HIDDEN_LIMIT"}
NUMBERS = {
    "MES": "min_exec_size",
    "Size": "qty",
    "Price": "price",
    "StopPrice": "stop_price",
    "TimeInForce": "tif",
}
TEXTS = {"Time": "time", "ExpireTime": "expire_time"}


NONE = ("", "0")


SIDES = ("BUY", "SELL")


class BadCases(Exception):
    """The file is absent, or does not hold cases. Says which file and where."""


def read_cases(path: Path) -> list[JsonRow]:
    """The cases of a JSON file (gzipped or not), or of all families in a folder.

    Raises:
        BadCases: there is no such file or folder, or it does not hold cases.
    """
    try:
        cases = list(_folder(path)) if path.is_dir() else _file(path)
    except FileNotFoundError as error:
        msg = f"{path}: there is no such file (--help says where to get it)"
        raise BadCases(msg) from error
    except (OSError, EOFError, ValueError, KeyError, csv.Error) as error:
        msg = f"{path}: cannot be read: {error!r}"
        raise BadCases(msg) from error
    if not cases:
        msg = f"{path}: no cases"
        raise BadCases(msg)
    return cases


def _file(path: Path) -> list[JsonRow]:
    data = path.read_bytes()
    cases = json.loads(gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data)
    keys = {"id", "initial_orders", "action", "input", "expected_book", "expected_trades", "stock"}
    if not isinstance(cases, list):
        msg = f"{path}: not a list of cases"
        raise BadCases(msg)
    for number, case in enumerate(cases):
        missing = keys - case.keys() if isinstance(case, dict) else keys
        if missing:
            msg = f"{path}: case {number} has no {', '.join(sorted(missing))}"
            raise BadCases(msg)
    return cases


def _folder(root: Path) -> Iterator[JsonRow]:
    for master in sorted(root.rglob("*Master.csv")):
        family = _snake(master.name.removesuffix("Master.csv"))
        if not any(master.parent.glob("*_Stock.csv")):
            # A stray copy of another folder's master, without its tables.
            continue
        for row in _table(master):
            yield _case(family, master.parent, row)


def _case(family: str, folder: Path, row: Row) -> JsonRow:
    book, trades = _beside(folder, row["ExpectedState"]), _beside(folder, row["Trades"])
    stock = _beside(folder, row["Stock"])
    if stock is None:
        msg = f"{folder}: {row['Stock']!r} of case {row['TestNumber']} is missing"
        raise BadCases(msg)
    return {
        "id": f"{family}/{int(row['TestNumber']):02}",
        "action": ACTIONS.get(family, "NEW"),
        "initial_orders": _orders(_beside(folder, row["InitialState"])),
        "input": _orders(_beside(folder, row["AggressingOrder"])),
        "expected_book": _orders(book),
        "expected_book_file_present": book is not None,
        "expected_trades": [
            {"price": int(trade["Price"]), "qty": int(trade["Quantity"])}
            for trade in _table(trades)
        ],
        "expected_trades_file_present": trades is not None,
        "stock": {key: int(value) for key, value in _table(stock)[0].items()},
    }


def _table(path: Path | None) -> list[Row]:
    """The rows of a table; fields that a short row lacks are empty. No table: no rows."""
    if path is None:
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, restval=""))


def _orders(path: Path | None) -> list[JsonRow]:
    orders = []
    for row in _table(path):
        # The source's own loader reads everything but B as an offer.
        order: JsonRow = {
            "side": "BUY" if row["Side"] == "B" else "SELL",
            "order_id": int(row["OrderID"]),
            "type": TYPES.get(row["Type"], row["Type"]),
        }
        order |= {name: int(row[column]) for column, name in NUMBERS.items() if row.get(column)}
        # "0" in a text column is its way to say nothing.
        order |= {n: row[column] for column, n in TEXTS.items() if row.get(column, "0") not in NONE}
        orders.append(order)
    return orders


def _beside(folder: Path, name: str) -> Path | None:
    """A file by its name; the source mixes capitals."""
    found = [path for path in folder.iterdir() if path.name.lower() == name.strip().lower()]
    return found[0] if found else None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


class Resting(NamedTuple):
    """A row of a book, as far as cases state it. `order_id` is the case's own."""

    side: str
    order_id: int
    type: str
    quantity: int
    price: int
    stop_price: int
    minimum: int
    expires: str


def expected_rows(case: JsonRow) -> tuple[list[Resting], list[str]]:
    """The expected book, with fields that nothing in the case could change read as entered."""
    entered: dict[int, list[JsonRow]] = defaultdict(list)
    touched = set()
    for row in case["initial_orders"] + (case["input"] if case["action"] == "NEW" else []):
        entered[row["order_id"]].append(row)
    if case["action"] != "NEW":
        touched = {row["order_id"] for row in case["input"]}
    rows: list[Resting] = []
    readings: list[str] = []
    for row in case["expected_book"]:
        sources = entered[row["order_id"]]
        read = row
        said: list[str] = []
        if len(sources) == 1:
            read, said = _as_entered(row, sources[0], row["order_id"] in touched)
        readings += said
        rows.append(
            Resting(
                read["side"],
                read["order_id"],
                read["type"],
                read["qty"],
                read["price"],
                read["stop_price"] if read["type"] == "STOP_LIMIT" else 0,
                read.get("min_exec_size", 0),
                read.get("expire_time", ""),
            )
        )
    return rows, readings


def _as_entered(row: JsonRow, source: JsonRow, touched: bool) -> tuple[JsonRow, list[str]]:
    """An expected row without its contradictions to how the order was entered."""
    fields = ["side"]
    if not touched and "price" in source:
        fields += ["price", "stop_price"]
    if "stop_price" in row and source["type"] == "STOP_LIMIT":
        # It still has a stop to wait for.
        fields.append("type")
    wrong = [name for name in fields if name in row and row[name] != source.get(name, row[name])]
    said = [
        f"order {row['order_id']}: expected book says {name} {row[name]}, "
        f"the case entered {source[name]}"
        for name in wrong
    ]
    return {**row, **{name: source[name] for name in wrong}}, said


def unbalanced(case: JsonRow) -> str | None:
    """Why no engine can pass: what is entered is neither traded nor left.

    Only for a side on which nothing may vanish: limit and stop-limit orders that rest.
    """
    traded = sum(trade["qty"] for trade in case["expected_trades"])
    for side in SIDES:
        orders = {n: row for n, row in enumerate(case["initial_orders"]) if row["side"] == side}
        for row in case["input"]:
            if row["side"] == side:
                same = [n for n, old in orders.items() if old["order_id"] == row["order_id"]]
                # A replace states the order's new total.
                orders[same[0] if case["action"] == "REPLACE" and same else -len(orders) - 1] = row
        plain = {"LIMIT", "STOP_LIMIT"}
        if case["action"] == "CANCEL" or any(
            row["type"] not in plain or row.get("tif", 0) in {3, 4} for row in orders.values()
        ):
            continue
        entered = sum(row["qty"] for row in orders.values())
        left = sum(row["qty"] for row in case["expected_book"] if row["side"] == side)
        if entered != traded + left:
            return (
                f"the case does not add up: {side} orders of {entered} in all, of which {traded} "
                f"trade and {left} are said to be left"
            )
    return None


def passed_over(case: JsonRow) -> str | None:
    """Whether the case lets a shown order wait while a worse one of its side trades.

    The rule book's section 2 decides otherwise: no order is passed over for a worse price.
    """
    left = {(row["side"], row["order_id"]): row["qty"] for row in case["expected_book"]}
    entered = case["initial_orders"] + case["input"]
    for number, waiting in enumerate(entered):
        sign = 1 if waiting["side"] == "BUY" else -1
        waits = left.get((waiting["side"], waiting["order_id"])) == waiting.get("qty", 0)
        for row in entered[number + 1 :]:
            traded = left.get((row["side"], row["order_id"]), 0) < row.get("qty", 0)
            shown = waiting["type"] == row["type"] == "LIMIT" and waiting["side"] == row["side"]
            if waits and traded and shown and sign * (waiting["price"] - row["price"]) > 0:
                return (
                    f"rule 2 decides otherwise: order {waiting['order_id']} at {waiting['price']} "
                    f"would be passed over for order {row['order_id']} at {row['price']}"
                )
    return None


def only_stops_in_another_order(case: JsonRow, got: list[tuple[int, int]]) -> str | None:
    """Whether only stops that were reached together go in another order."""
    want = [(trade["price"], trade["qty"]) for trade in case["expected_trades"]]
    stops = [row for row in case["initial_orders"] if row["type"] in {"STOP", "STOP_LIMIT"}]
    if want == got or sorted(want) != sorted(got) or len(stops) < 2:
        return None
    return (
        "rule 8.2 decides otherwise: of stops that are reached together the one furthest from "
        "the last price goes first, then the oldest"
    )
