"""Whether a read model says what the core says: the proof that no event was lost or counted twice.

The journal is replayed up to the read model's sequence, and what both know is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exchange.core.events import JobState
from exchange.readmodel.errors import ReadModelBeforeUpgrade, ReadModelMissing
from exchange.readmodel.feed import replay_to
from exchange.readmodel.progress import read_progress
from exchange.readmodel.schema import plain_text

if TYPE_CHECKING:
    from exchange.core.exchange import Exchange
    from exchange.readmodel.database import Database

DIFFERENCES_MAX: Final = 20
"""Differences that a report lists; it counts them all."""
ENTRIES_AT_ONCE: Final = 10_000
"""Ledger entries read at a time."""


OPEN_JOBS: Final = (int(JobState.QUEUED), int(JobState.LEASED), int(JobState.RUNNING))


class Report(NamedTuple):
    """What a check found.

    Attributes:
        sequence: Up to where both were compared.
        compared: How many rows, by table.
        differences: How many differ, are missing, or should not be there.
        examples: The first of them, in words.
    """

    sequence: int
    compared: dict[str, int]
    differences: int
    examples: list[str]

    @property
    def equal(self) -> bool:
        """Whether there is no difference."""
        return not self.differences


def check_read_model(directory: Path, database: Database, snapshots: Path | None = None) -> Report:
    """Compare a read model with its journal; the exchange may be running. O(journal + rows).

    Args:
        directory: The journal's folder.
        database: The read model's.
        snapshots: The snapshots' folder: where the journal's beginning is under older rules, the
            replay begins with one of them.

    Raises:
        ReadModelOfAnother: it was not fed from this journal.
        ReadModelBeforeUpgrade: it is at a place that only an earlier release can replay to.
        ReadModelMissing: there is no read model.
        ReadModelUnavailable: the database failed.
        JournalError: the journal cannot be read.
    """
    with database.transaction(write=False):
        progress = read_progress(database)
        if progress is None:
            raise ReadModelMissing("there is no read model yet")
        try:
            journal, core = replay_to(directory, progress)
        except ReadModelBeforeUpgrade:
            journal, core = replay_to(directory, progress, snapshots)
        journal.close()
        return compare(core, database)


def compare(core: Exchange, database: Database) -> Report:
    """Compare the tables with a state at the same sequence."""
    compared: dict[str, int] = {}
    examples: list[str] = []
    differences = 0
    for name, expected, found in _parts(core, database):
        compared[name] = len(expected)
        for key in sorted(expected.keys() | found.keys()):
            here, there = expected.get(key), found.get(key)
            if here != there:
                differences += 1
                if len(examples) < DIFFERENCES_MAX:
                    examples.append(f"{name} {key}: the core has {here}, the read model {there}")
    return Report(core.sequence, compared, differences, examples)


Rows = dict[Any, Any]


def _parts(core: Exchange, database: Database) -> Iterator[tuple[str, Rows, Rows]]:
    """Name, what the core has by key, what the read model has."""
    balances = database.query("SELECT account_id, kind, name, balance_nanos FROM accounts")
    yield (
        "accounts",
        {
            i: (int(a.kind), plain_text(a.name), core.ledger.balance(i))
            for i, a in core.accounts.items()
        },
        {row[0]: row[1:] for row in balances},
    )
    yield (
        "ledger",
        {i: core.ledger.balance(i) for i in core.accounts},
        _entries(core, database),
    )
    orders = database.query(
        "SELECT order_id, account_id, instrument_id, side, price_nanos, quantity_mflop, "
        "leaves_mflop FROM orders WHERE end_time_ns = 0"
    )
    yield (
        "open orders",
        {
            o.order_id: (
                o.account_id,
                o.instrument_id,
                int(o.side),
                o.price_nanos,
                o.quantity_mflop,
                o.leaves_mflop,
            )
            for o in core.orders.values()
        },
        {row[0]: row[1:] for row in orders},
    )
    yield "jobs", *_jobs(core, database)
    yield "leases", *_leases(core, database)
    yield (
        "instruments",
        {i: (plain_text(x.terms.name), int(x.state)) for i, x in core.instruments.items()},
        {r[0]: r[1:] for r in database.query("SELECT instrument_id, name, state FROM instruments")},
    )
    yield (
        "workers",
        {i: (w.account_id, plain_text(w.name), int(w.state)) for i, w in core.workers.items()},
        {
            row[0]: row[1:]
            for row in database.query("SELECT worker_id, account_id, name, state FROM workers")
        },
    )
    yield "totals", _totals(core), _counted(database)


def _entries(core: Exchange, database: Database) -> Rows:
    """Each account's balance as its entries add up to it.

    Added up here, because the sum of what an account ever received may pass 64 bits.
    """
    found = dict.fromkeys(core.accounts, 0)
    sql = (
        "SELECT debit_account_id, credit_account_id, amount_nanos FROM ledger_entries "
        "WHERE number > ? ORDER BY number LIMIT ?"
    )
    number = 0
    while rows := database.query(sql, (number, ENTRIES_AT_ONCE)):
        number += len(rows)  # they are numbered without gaps
        for debit, credit, amount in rows:
            found[debit] = found.get(debit, 0) - amount
            found[credit] = found.get(credit, 0) + amount
    return found


def _jobs(core: Exchange, database: Database) -> tuple[Rows, Rows]:
    """Jobs that the core remembers; those that it has forgotten only have to have ended."""
    rows = database.query(
        "SELECT job_id, account_id, attempt, state, lease_id, paid_nanos, escrow_nanos FROM jobs"
    )
    expected = {
        i: (j.account_id, j.attempt, int(j.state), j.lease_id, j.paid_nanos, j.escrow_nanos)
        for i, j in core.jobs.items()
    }
    found = {row[0]: row[1:] for row in rows if row[0] in expected or row[3] in OPEN_JOBS}
    return expected, found


def _leases(core: Exchange, database: Database) -> tuple[Rows, Rows]:
    rows = database.query("SELECT lease_id, job_id, state, billed_nanos, end_time_ns FROM leases")
    expected = {i: (x.job_id, int(x.state), x.billed_nanos) for i, x in core.leases.items()}
    found = {row[0]: row[1:4] for row in rows if row[0] in expected or not row[4]}
    return expected, found


def _totals(core: Exchange) -> Rows:
    """Ids are given without gaps, so every one that was given must be there."""
    return {
        "orders": core.counters.order,
        "jobs": core.counters.job,
        "leases": core.counters.lease,
        "trades": core.counters.trade + core.counters.lease,
        "settled": core.jobs_settled,
        "models": core.counters.model,
    }


def _counted(database: Database) -> Rows:
    def count(table: str, where: str = "") -> int:
        sql = f"SELECT COUNT(*) FROM {table} {where}"  # noqa: S608 - names are ours
        return int(database.query(sql)[0][0])

    return {
        "orders": count("orders"),
        "jobs": count("jobs"),
        "leases": count("leases"),
        "trades": count("trades"),
        "settled": count("jobs", f"WHERE state = {int(JobState.SETTLED)}"),
        "models": count("models"),
    }
