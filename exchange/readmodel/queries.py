"""Questions to the read model: each reads one page, by an index, in time that follows the page.

Pages go from the newest to the oldest. A cursor is the number, the id or the time of the last row
of the page before; `NEWEST` begins. Every function asks a `Database` inside a transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from exchange.core.limits import FLOPS_PER_MFLOP

if TYPE_CHECKING:
    from exchange.readmodel.database import Database, Row

NEWEST: Final = 2**63 - 1
"""The cursor of the first page: everything is before it."""


class TradeRow(NamedTuple):
    """A fill on a continuous book, or a lease granted by a batch (`taker_side` 0)."""

    number: int
    instrument_id: int
    trade_id: int
    price_nanos: int
    quantity_mflop: int
    event_time_ns: int
    taker_side: int
    sequence: int


class CandleRow(NamedTuple):
    """The trades of one interval."""

    start_time_ns: int
    open_nanos: int
    high_nanos: int
    low_nanos: int
    close_nanos: int
    volume_mflop: int
    trades: int


class IndexRow(NamedTuple):
    """The index of one hour (`exchange.readmodel.candles`)."""

    start_time_ns: int
    price_nanos: int
    volume_mflop: int
    trades: int


class BestPricesRow(NamedTuple):
    """The best bid and the best ask at a time; 0 where there was none."""

    event_time_ns: int
    bid_nanos: int
    bid_quantity: int
    ask_nanos: int
    ask_quantity: int


class EntryRow(NamedTuple):
    """One double entry of the ledger; `number` counts from 1 without gaps."""

    number: int
    sequence: int
    kind: int
    debit_account_id: int
    credit_account_id: int
    amount_nanos: int
    reference_id: int
    event_time_ns: int


class OrderRow(NamedTuple):
    """What became of an order, or has so far."""

    order_id: int
    account_id: int
    client_order_id: bytes
    instrument_id: int
    side: int
    order_type: int
    time_in_force: int
    price_nanos: int
    quantity_mflop: int
    leaves_mflop: int
    filled_mflop: int
    stop_price_nanos: int
    state: int
    reason: int
    create_time_ns: int
    end_time_ns: int
    sequence: int


class JobLegRow(NamedTuple):
    """One of several ways to run a job."""

    instrument_id: int
    limit_nanos: int
    quantity_mflop: int
    reason: int


class JobRow(NamedTuple):
    """What became of a job, or has so far; lease fields are 0 where it never had a lease.

    Of a job with legs the model, the tier, the quantity and the limit are those of its legs.
    """

    job_id: int
    account_id: int
    client_job_id: bytes
    tier: str
    model_id: int
    quantity_mflop: int
    value_nanos: int
    limit_nanos: int
    escrow_nanos: int
    deadline_time_ns: int
    output_tokens: int
    attempt: int
    state: int
    reason: int
    fault: int
    cause: int
    lease_id: int
    flops: int
    paid_nanos: int
    create_time_ns: int
    end_time_ns: int
    instrument_id: int
    worker_id: int
    price_nanos: int
    legs: tuple[JobLegRow, ...]


class LeaseRow(NamedTuple):
    """A lease, as it was granted and as it ended; `end_time_ns` 0 while it lives."""

    lease_id: int
    attempt: int
    instrument_id: int
    worker_id: int
    price_nanos: int
    bid_nanos: int
    ask_nanos: int
    state: int
    fault: int
    reason: int
    billed_nanos: int
    offer_time_ns: int
    end_time_ns: int


class EndingRow(NamedTuple):
    """How a job ended: with the command `sequence`."""

    account_id: int
    sequence: int
    job_id: int
    client_job_id: bytes
    state: int
    reason: int
    fault: int
    attempt: int
    lease_id: int
    flops: int
    paid_nanos: int
    output_tokens: int
    create_time_ns: int
    end_time_ns: int


_TRADE: Final = ", ".join(TradeRow._fields)
_LEASE: Final = ", ".join(f"l.{name}" for name in LeaseRow._fields)
_CANDLE: Final = ", ".join(CandleRow._fields)
_BEST: Final = ", ".join(BestPricesRow._fields)
_ENTRY: Final = ", ".join(EntryRow._fields)
_ORDER: Final = ", ".join(OrderRow._fields)
_JOB_OWN: Final = (
    "j.job_id, j.account_id, j.client_job_id, j.tier, j.model_id, j.quantity_mflop, j.value_nanos, "
    "j.limit_nanos, j.escrow_nanos, j.deadline_time_ns, j.output_tokens, j.attempt, j.state, "
    "j.reason, j.fault, j.cause, j.lease_id, j.flops_mflop, j.flops_rest, j.paid_nanos, "
    "j.create_time_ns, j.end_time_ns, COALESCE(l.instrument_id, 0), COALESCE(l.worker_id, 0), "
    "COALESCE(l.price_nanos, 0)"
)
_ENDING: Final = (
    "e.account_id, e.sequence, e.job_id, j.client_job_id, j.state, j.reason, j.fault, j.attempt, "
    "j.lease_id, j.flops_mflop, j.flops_rest, j.paid_nanos, j.output_tokens, j.create_time_ns, "
    "j.end_time_ns"
)
_ENDING_FLOPS: Final = 9
_JOB_MODEL: Final = 4
_JOB_FLOPS: Final = 17


def trade_number_at(database: Database, time_ns: int) -> int:
    """The number of the first trade at or after a time, or one more than the last's. O(log n).

    Trades are numbered without gaps in the order of time, so time needs no index.
    """
    low, high = 1, database.query("SELECT COALESCE(MAX(number), 0) FROM trades")[0][0] + 1
    while low < high:
        middle = (low + high) // 2
        found = database.query("SELECT event_time_ns FROM trades WHERE number = ?", (middle,))
        if found[0][0] < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


def trades(
    database: Database,
    instrument_id: int,
    size: int,
    before: int = NEWEST,
    start_time_ns: int = 0,
    end_time_ns: int = NEWEST,
) -> list[TradeRow]:
    """Trades of an instrument, or of all (0), newest first.

    Args:
        database: Where.
        instrument_id: Whose; 0 for all.
        size: At most this many.
        before: Only those with smaller numbers.
        start_time_ns: Only those at or after this.
        end_time_ns: Only those before this.
    """
    low = trade_number_at(database, start_time_ns) if start_time_ns > 0 else 1
    if end_time_ns < NEWEST:
        before = min(before, trade_number_at(database, end_time_ns))
    one = "instrument_id = ? AND" if instrument_id else ""
    sql = (
        f"SELECT {_TRADE} FROM trades WHERE {one} number >= ? AND number < ? "  # noqa: S608
        "ORDER BY number DESC LIMIT ?"
    )
    values = (instrument_id, low, before, size) if instrument_id else (low, before, size)
    return [TradeRow._make(row) for row in database.query(sql, values)]


def output_tokens(database: Database, first_job_id: int, size: int) -> dict[int, int]:
    """How many tokens each ended job from this one on has put out, of the newest `size` jobs."""
    found = database.query(
        "SELECT job_id, output_tokens FROM jobs WHERE job_id >= ? AND output_tokens > 0 "
        "ORDER BY job_id DESC LIMIT ?",
        (first_job_id, size),
    )
    return dict(reversed(found))


def candles(
    database: Database,
    instrument_id: int,
    width_s: int,
    size: int,
    start_time_ns: int = 0,
    end_time_ns: int = NEWEST,
) -> list[CandleRow]:
    """Candles that begin within a time, newest first."""
    sql = (
        f"SELECT {_CANDLE} FROM candles WHERE instrument_id = ? AND width_s = ? "  # noqa: S608
        "AND start_time_ns >= ? AND start_time_ns < ? ORDER BY start_time_ns DESC LIMIT ?"
    )
    values = (instrument_id, width_s, start_time_ns, end_time_ns, size)
    return [CandleRow._make(row) for row in database.query(sql, values)]


def hourly_index(
    database: Database, instrument_id: int, size: int, before_ns: int = NEWEST
) -> list[IndexRow]:
    """Hours that began before a time and are over, newest first."""
    sql = (
        "SELECT start_time_ns, price_nanos, volume_mflop, trades FROM hourly_index "
        "WHERE instrument_id = ? AND start_time_ns < ? ORDER BY start_time_ns DESC LIMIT ?"
    )
    rows = database.query(sql, (instrument_id, before_ns, size))
    return [IndexRow._make(row) for row in rows]


def best_prices(
    database: Database,
    instrument_id: int,
    size: int,
    start_time_ns: int = 0,
    end_time_ns: int = NEWEST,
) -> list[BestPricesRow]:
    """Best prices within a time, newest first."""
    sql = (
        f"SELECT {_BEST} FROM best_prices WHERE instrument_id = ? "  # noqa: S608
        "AND event_time_ns >= ? AND event_time_ns < ? ORDER BY event_time_ns DESC LIMIT ?"
    )
    values = (instrument_id, start_time_ns, end_time_ns, size)
    return [BestPricesRow._make(row) for row in database.query(sql, values)]


def account_entries(
    database: Database, account_id: int, size: int, before: int = NEWEST
) -> list[EntryRow]:
    """Ledger entries of an account, newest first."""
    halves = [
        f"SELECT * FROM (SELECT {_ENTRY} FROM ledger_entries WHERE {side} = ? "  # noqa: S608
        f"AND number < ? ORDER BY number DESC LIMIT ?) AS {side}"
        for side in ("debit_account_id", "credit_account_id")
    ]
    sql = f"{' UNION '.join(halves)} ORDER BY number DESC LIMIT ?"
    values = (account_id, before, size) * 2 + (size,)
    return [EntryRow._make(row) for row in database.query(sql, values)]


def entries_from(database: Database, number: int, size: int) -> list[EntryRow]:
    """All ledger entries from a number on, oldest first: for an export."""
    sql = (
        f"SELECT {_ENTRY} FROM ledger_entries WHERE number >= ? "  # noqa: S608
        "ORDER BY number LIMIT ?"
    )
    return [EntryRow._make(row) for row in database.query(sql, (number, size))]


def account_orders(
    database: Database, account_id: int, size: int, before: int = NEWEST
) -> list[OrderRow]:
    """All orders of an account, newest first."""
    sql = (
        f"SELECT {_ORDER} FROM orders WHERE account_id = ? AND order_id < ? "  # noqa: S608
        "ORDER BY order_id DESC LIMIT ?"
    )
    return [OrderRow._make(row) for row in database.query(sql, (account_id, before, size))]


def account_jobs(
    database: Database, account_id: int, size: int, before: int = NEWEST
) -> list[JobRow]:
    """All jobs of an account, newest first."""
    sql = (
        f"SELECT {_JOB_OWN} FROM jobs j LEFT JOIN leases l ON l.lease_id = j.lease_id "  # noqa: S608
        "WHERE j.account_id = ? AND j.job_id < ? ORDER BY j.job_id DESC LIMIT ?"
    )
    return [_job(database, row) for row in database.query(sql, (account_id, before, size))]


def job(database: Database, job_id: int) -> JobRow | None:
    """One job."""
    sql = (
        f"SELECT {_JOB_OWN} FROM jobs j LEFT JOIN leases l ON l.lease_id = j.lease_id "  # noqa: S608
        "WHERE j.job_id = ?"
    )
    found = database.query(sql, (job_id,))
    return _job(database, found[0]) if found else None


def endings(
    database: Database, account_id: int, sequence: int, job_id: int, size: int
) -> list[EndingRow]:
    """Jobs of an account that ended after a place, in the order in which they did.

    Args:
        database: Where.
        account_id: Whose.
        sequence: The place: this command, and in it
        job_id: this job.
        size: At most this many.
    """
    sql = (
        f"SELECT {_ENDING} FROM job_endings e JOIN jobs j ON j.job_id = e.job_id "  # noqa: S608
        "WHERE e.account_id = ? AND e.sequence >= ? AND (e.sequence > ? OR e.job_id > ?) "
        "ORDER BY e.sequence, e.job_id LIMIT ?"
    )
    at = _ENDING_FLOPS
    return [
        EndingRow._make((*row[:at], flops_of(row[at], row[at + 1]), *row[at + 2 :]))
        for row in database.query(sql, (account_id, sequence, sequence, job_id, size))
    ]


def accounts_with_endings(database: Database, sequence: int) -> set[int]:
    """Accounts of which a job ended after this command."""
    sql = "SELECT DISTINCT account_id FROM job_endings WHERE sequence > ?"
    return {account_id for (account_id,) in database.query(sql, (sequence,))}


def last_trade(database: Database) -> int:
    """The number of the last trade; 0 where there is none."""
    return int(database.query("SELECT COALESCE(MAX(number), 0) FROM trades")[0][0])


def trades_after(database: Database, number: int, size: int) -> list[TradeRow]:
    """Trades of all instruments with greater numbers, oldest first."""
    sql = f"SELECT {_TRADE} FROM trades WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608
    return [TradeRow._make(row) for row in database.query(sql, (number, size))]


def job_leases(database: Database, job_id: int, size: int) -> list[LeaseRow]:
    """The first leases of a job, oldest first."""
    sql = f"SELECT {_LEASE} FROM leases l WHERE l.job_id = ? ORDER BY l.lease_id LIMIT ?"  # noqa: S608
    return [LeaseRow._make(row) for row in database.query(sql, (job_id, size))]


def instrument_leases(database: Database, instrument_id: int, size: int) -> list[LeaseRow]:
    """The newest leases granted in a batch instrument, newest first."""
    sql = (
        f"SELECT {_LEASE} FROM trades t JOIN leases l ON l.lease_id = t.trade_id "  # noqa: S608
        "WHERE t.instrument_id = ? ORDER BY t.number DESC LIMIT ?"
    )
    return [LeaseRow._make(row) for row in database.query(sql, (instrument_id, size))]


def last_trade_before(database: Database, instrument_id: int, time_ns: int) -> TradeRow | None:
    """An instrument's last trade before a time."""
    found = trades(database, instrument_id, 1, end_time_ns=time_ns)
    return found[0] if found else None


def _job(database: Database, row: Row) -> JobRow:
    at = _JOB_FLOPS
    legs: tuple[JobLegRow, ...] = ()
    if not row[_JOB_MODEL]:
        sql = (
            "SELECT instrument_id, limit_nanos, quantity_mflop, reason FROM job_legs "
            "WHERE job_id = ? ORDER BY leg"
        )
        legs = tuple(map(JobLegRow._make, database.query(sql, row[:1])))
    return JobRow._make((*row[:at], flops_of(row[at], row[at + 1]), *row[at + 2 :], legs))


def flops_of(mflop: int, rest: int) -> int:
    """Exact FLOPs from their two columns."""
    return mflop * FLOPS_PER_MFLOP + rest
