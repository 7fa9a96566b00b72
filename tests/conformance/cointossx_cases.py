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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
