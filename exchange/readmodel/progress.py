"""How far a read model has come: the one row that moves with everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exchange.core.limits import EVENTS_SINCE_RULES, RULES_VERSION
from exchange.readmodel.errors import ReadModelMoved
from exchange.readmodel.schema import PROGRESS, SCHEMA_VERSION, TABLES, create_statements

if TYPE_CHECKING:
    from exchange.readmodel.database import Database


class Progress(NamedTuple):
    """Up to where a read model holds everything, and nothing from after that.

    Attributes:
        schema_version: Of its tables.
        rules_version: Of the rules under which its events were made.
        sequence: The last command that is contained; 0 for none.
        time_ns: Journal time there, nanoseconds since the epoch.
        entries: Ledger entries.
        trades: Trades.
        chain_hash: The journal's hash there.
    """

    schema_version: int
    rules_version: int
    sequence: int
    time_ns: int
    entries: int
    trades: int
    chain_hash: bytes

    @property
    def usable(self) -> bool:
        """Whether it can go on from there under the rules and with the tables of today."""
        same_events = EVENTS_SINCE_RULES <= self.rules_version <= RULES_VERSION
        return same_events and self.schema_version == SCHEMA_VERSION


START = Progress(SCHEMA_VERSION, RULES_VERSION, 0, 0, 0, 0, b"")


def read_progress(database: Database) -> Progress | None:
    """Where a read model is; None where there is none."""
    if not database.has_table(PROGRESS.name):
        return None
    columns = ", ".join(Progress._fields)
    found = database.query(f"SELECT {columns} FROM {PROGRESS.name}")  # noqa: S608
    if not found:
        return None
    return Progress._make((*found[0][:-1], bytes(found[0][-1])))


def move_progress(database: Database, before: int, now: Progress) -> None:
    """Say how far it has come; inside the transaction that brings it there.

    Raises:
        ReadModelMoved: it was not at `before`: somebody else wrote.
    """
    changes = ", ".join(f"{name} = ?" for name in Progress._fields)
    changed = database.change(
        f"UPDATE {PROGRESS.name} SET {changes} WHERE sequence = ?",  # noqa: S608
        (*now, before),
    )
    if changed != 1:
        raise ReadModelMoved(f"the read model is not at sequence {before} any more")


def make_tables(database: Database) -> None:
    """Empty tables, in place of those that are there; inside a transaction."""
    for table in TABLES:
        database.change(f"DROP TABLE IF EXISTS {table.name}")
        for statement in create_statements(table, database.types):
            database.change(statement)
    columns = ", ".join(("id", *Progress._fields))
    marks = ", ".join("?" * (1 + len(START)))
    database.change(f"INSERT INTO {PROGRESS.name} ({columns}) VALUES ({marks})", (1, *START))  # noqa: S608
