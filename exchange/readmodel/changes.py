"""What one transaction is going to write, gathered in memory.

Most rows are made and changed within moments of each other: an order that came and went in one
batch is one INSERT. A row of an earlier batch gets one UPDATE for all that happened to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exchange.readmodel.schema import (
    Table,
    insert_once_statement,
    insert_statement,
    update_statement,
    upsert_statement,
)

if TYPE_CHECKING:
    from exchange.readmodel.database import Database


class _Change(NamedTuple):
    put: dict[str, Any]
    added: dict[str, int]


class ChangingRows:
    """New and changed rows of a table whose key is one integer."""

    def __init__(self, table: Table) -> None:
        assert len(table.key) == 1
        self._table: Final = table
        self._places = {name: place for place, name in enumerate(table.columns)}
        self._new: dict[int, list[Any]] = {}
        self._changed: dict[int, _Change] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._changed)

    def insert(self, *row: Any) -> None:
        """A new row; its first column is the key."""
        assert len(row) == len(self._places)
        self._new[row[0]] = list(row)

    def put(self, key: int, **values: Any) -> None:
        """These columns of the row have these values from now on."""
        row = self._new.get(key)
        if row is None:
            self._change(key).put.update(values)
            return
        for name, value in values.items():
            row[self._places[name]] = value

    def add(self, key: int, name: str, value: int) -> None:
        """A column grows by so much."""
        row = self._new.get(key)
        if row is None:
            added = self._change(key).added
            added[name] = added.get(name, 0) + value
        else:
            row[self._places[name]] += value

    def _change(self, key: int) -> _Change:
        found = self._changed.get(key)
        if found is None:
            found = self._changed[key] = _Change({}, {})
        return found

    def write(self, database: Database) -> None:
        """Write them, one statement for all rows in which the same columns change."""
        if self._new:
            database.change_many(insert_statement(self._table), self._new.values())
        alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[Any, ...]]] = {}
        for key, change in self._changed.items():
            columns = (tuple(change.put), tuple(change.added))
            row = (*change.put.values(), *change.added.values(), key)
            alike.setdefault(columns, []).append(row)
        for (put, added), rows in alike.items():
            database.change_many(update_statement(self._table, put, added), rows)
        self._new.clear()
        self._changed.clear()


class NewRows:
    """Rows that are written once and never change.

    Args:
        table: Theirs.
        repeats: Whether the same key may come again; the first row stands.
    """

    def __init__(self, table: Table, *, repeats: bool = False) -> None:
        self._statement: Final = (insert_once_statement if repeats else insert_statement)(table)
        self._rows: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def insert(self, *row: Any) -> None:
        """A new row."""
        self._rows.append(row)

    def write(self, database: Database) -> None:
        """Write them."""
        if self._rows:
            database.change_many(self._statement, self._rows)
            self._rows.clear()


class ReplacedRows:
    """Rows that are written whole, over the ones with their keys."""

    def __init__(self, table: Table) -> None:
        self._table: Final = table
        self._rows: dict[tuple[int, ...], tuple[Any, ...]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def replace(self, *row: Any) -> None:
        """This is the row now; its key comes first."""
        self._rows[row[: len(self._table.key)]] = row

    def write(self, database: Database) -> None:
        """Write them."""
        if self._rows:
            database.change_many(upsert_statement(self._table), self._rows.values())
            self._rows.clear()
