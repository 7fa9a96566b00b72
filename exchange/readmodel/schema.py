"""The tables of the read model: one description, two dialects.

Money is in nano-dollars, compute in MFLOP, time in nanoseconds since the epoch, prices in
nano-dollars per CU: all integers that fit 64 bits with a sign, because the core bounds them (cost
and balance below 2^62, quantity up to 10^15, ids from counters). Two figures can pass that: exact
FLOPs of a receipt, up to 10^19, stand in two columns (whole MFLOP, and the FLOPs below one), and
the volume of a candle or an hour stays at `VOLUME_MAX_MFLOP`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

SCHEMA_VERSION: Final = 5
"""Changes with the tables; a read model of another version is rebuilt."""
VOLUME_MAX_MFLOP: Final = 2**63 - 1
"""A sum of quantities that would pass this stays there."""


class Kind(Enum):
    """What a column holds; none is ever null."""

    INT = "integer"
    TEXT = "text"
    BYTES = "bytes"


INT, TEXT, BYTES = Kind.INT, Kind.TEXT, Kind.BYTES


class Table(NamedTuple):
    """One table.

    Attributes:
        name: Its name.
        columns: In the order of its rows.
        key: The columns of the primary key.
        indexes: Columns of further indexes.
    """

    name: str
    columns: dict[str, Kind]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()

    def place(self, column: str) -> int:
        """Where a column stands in a row."""
        return list(self.columns).index(column)


def _integers(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, INT)


PROGRESS: Final = Table(
    "progress",
    _integers(
        "id",
        "schema_version",
        "rules_version",
        "sequence",
        "time_ns",
        "entries",
        "trades",
    )
    | {"chain_hash": BYTES},
    ("id",),
)
"""One row: the last sequence that is contained, and the journal's hash there. It changes in the
same transaction as everything else, so nothing is taken in twice or left out."""

ACCOUNTS: Final = Table(
    "accounts",
    {"account_id": INT, "kind": INT, "name": TEXT, "balance_nanos": INT, "create_time_ns": INT},
    ("account_id",),
)
MODELS: Final = Table("models", {"model_id": INT, "name": TEXT}, ("model_id",))
INSTRUMENTS: Final = Table(
    "instruments", {"instrument_id": INT, "name": TEXT, "state": INT}, ("instrument_id",)
)
WORKERS: Final = Table(
    "workers", {"worker_id": INT, "account_id": INT, "name": TEXT, "state": INT}, ("worker_id",)
)
ORDERS: Final = Table(
    "orders",
    _integers("order_id", "account_id")
    | {"client_order_id": BYTES}
    | _integers(
        "instrument_id",
        "side",
        "order_type",
        "time_in_force",
        "price_nanos",
        "quantity_mflop",
        "leaves_mflop",
        "filled_mflop",
        "stop_price_nanos",
        "state",
        "reason",
        "create_time_ns",
        "end_time_ns",
        "sequence",
    ),
    ("order_id",),
    (("account_id", "order_id"),),
)
ORDER_LEGS: Final = Table(
    "order_legs",
    _integers("order_id", "leg", "instrument_id", "price_nanos", "quantity_mflop"),
    ("order_id", "leg"),
)
TRADES: Final = Table(
    "trades",
    _integers(
        "number",
        "instrument_id",
        "trade_id",
        "price_nanos",
        "quantity_mflop",
        "event_time_ns",
        "taker_side",
        "sequence",
        "buyer_account_id",
        "seller_account_id",
        "maker_order_id",
        "taker_order_id",
        "job_id",
    ),
    ("number",),
    (("instrument_id", "number"),),
)
CANDLES: Final = Table(
    "candles",
    _integers(
        "instrument_id",
        "width_s",
        "start_time_ns",
        "open_nanos",
        "high_nanos",
        "low_nanos",
        "close_nanos",
        "volume_mflop",
        "trades",
    ),
    ("instrument_id", "width_s", "start_time_ns"),
)
HOURLY_INDEX: Final = Table(
    "hourly_index",
    _integers("instrument_id", "start_time_ns", "price_nanos", "volume_mflop", "trades"),
    ("instrument_id", "start_time_ns"),
)
BEST_PRICES: Final = Table(
    "best_prices",
    _integers(
        "instrument_id",
        "event_time_ns",
        "bid_nanos",
        "bid_quantity",
        "ask_nanos",
        "ask_quantity",
    ),
    ("instrument_id", "event_time_ns"),
)
"""As they stood at the first command of a second, where they had changed; 0 for none."""
LEDGER_ENTRIES: Final = Table(
    "ledger_entries",
    _integers(
        "number",
        "sequence",
        "kind",
        "debit_account_id",
        "credit_account_id",
        "amount_nanos",
        "reference_id",
        "event_time_ns",
    ),
    ("number",),
    (("debit_account_id", "number"), ("credit_account_id", "number")),
)
JOBS: Final = Table(
    "jobs",
    _integers("job_id", "account_id")
    | {"client_job_id": BYTES, "tier": TEXT}
    | _integers(
        "model_id",
        "instrument_id",
        "quantity_mflop",
        "value_nanos",
        "limit_nanos",
        "max_cost_nanos",
        "escrow_nanos",
        "density_nanos",
        "deadline_time_ns",
        "payload_bytes",
        "output_tokens_max",
        "output_tokens",
        "attempt",
        "state",
        "reason",
        "fault",
        "cause",
        "lease_id",
        "flops_mflop",
        "flops_rest",
        "paid_nanos",
        "create_time_ns",
        "end_time_ns",
        "sequence",
    ),
    ("job_id",),
    (("account_id", "job_id"),),
)
JOB_LEGS: Final = Table(
    "job_legs",
    _integers(
        "leg_id", "job_id", "leg", "instrument_id", "limit_nanos", "quantity_mflop", "reason"
    ),
    ("leg_id",),
    (("job_id", "leg"),),
)
"""Of jobs with several; `reason` says why one dropped out."""
JOB_ENDINGS: Final = Table(
    "job_endings",
    _integers("account_id", "sequence", "job_id"),
    ("account_id", "sequence", "job_id"),
    (("sequence",),),
)
"""One row for each job that is over, in the order in which an account's jobs ended."""
LEASES: Final = Table(
    "leases",
    _integers(
        "lease_id",
        "job_id",
        "attempt",
        "instrument_id",
        "worker_id",
        "buyer_account_id",
        "seller_account_id",
        "quantity_mflop",
        "price_nanos",
        "bid_nanos",
        "ask_nanos",
        "state",
        "fault",
        "reason",
        "flops_mflop",
        "flops_rest",
        "billed_nanos",
        "offer_time_ns",
        "end_time_ns",
        "sequence",
    ),
    ("lease_id",),
    (("job_id",), ("worker_id", "lease_id")),
)
RECEIPTS: Final = Table(
    "receipts",
    {"lease_id": INT, "receipt_digest": BYTES}
    | _integers(
        "worker_id",
        "accepted",
        "reason",
        "cause",
        "flops_mflop",
        "flops_rest",
        "price_nanos",
        "billed_nanos",
        "output_tokens",
        "event_time_ns",
        "sequence",
    ),
    ("lease_id", "receipt_digest"),
)
"""Whatever was handed in for a lease; a repeat changes nothing."""

TABLES: Final = (
    PROGRESS,
    ACCOUNTS,
    MODELS,
    INSTRUMENTS,
    WORKERS,
    ORDERS,
    ORDER_LEGS,
    TRADES,
    CANDLES,
    HOURLY_INDEX,
    BEST_PRICES,
    LEDGER_ENTRIES,
    JOBS,
    JOB_LEGS,
    JOB_ENDINGS,
    LEASES,
    RECEIPTS,
)


def plain_text(name: str) -> str:
    """A name as every database can hold it: PostgreSQL has no zero in a text."""
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}")


def create_statements(table: Table, types: dict[Kind, str]) -> list[str]:
    """The statements that make a table and its indexes, in a dialect's types."""
    columns = [f"{name} {types[kind]} NOT NULL" for name, kind in table.columns.items()]
    key = f"PRIMARY KEY ({', '.join(table.key)})"
    statements = [f"CREATE TABLE {table.name} ({', '.join([*columns, key])})"]
    for index in table.indexes:
        name = f"{table.name}_by_{'_'.join(index)}"
        statements.append(f"CREATE INDEX {name} ON {table.name} ({', '.join(index)})")
    return statements


def insert_statement(table: Table) -> str:
    """Puts a row in; a row that is there already is an error."""
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} VALUES ({marks})"  # noqa: S608 - names are ours


def insert_once_statement(table: Table) -> str:
    """Puts a row in, unless one with its key is there."""
    return f"{insert_statement(table)} ON CONFLICT DO NOTHING"


def upsert_statement(table: Table) -> str:
    """Puts a row in, over the one with its key."""
    rest = [name for name in table.columns if name not in table.key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in rest)
    key = ", ".join(table.key)
    return f"{insert_statement(table)} ON CONFLICT ({key}) DO UPDATE SET {changes}"


def update_statement(table: Table, put: tuple[str, ...], added: tuple[str, ...]) -> str:
    """Changes the row of a key: some columns are put, to others something is added."""
    changes = [f"{name} = ?" for name in put] + [f"{name} = {name} + ?" for name in added]
    key = " AND ".join(f"{name} = ?" for name in table.key)
    return f"UPDATE {table.name} SET {', '.join(changes)} WHERE {key}"  # noqa: S608
