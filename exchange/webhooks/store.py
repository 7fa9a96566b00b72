"""What accounts want to be told, and how far they have been: one SQLite file, two processes.

The exchange adds and removes, the process that tells moves places on. Each statement is small, and
a place moves only after everything before it was told: after a crash some is told again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.webhooks.errors import StoreUnavailable, TooMany

FILE: Final = "webhooks.sqlite3"
"""Its name in the data directory."""
WEBHOOKS_MAX: Final = 1_000
"""Webhooks of all accounts."""
WEBHOOKS_PER_ACCOUNT_MAX: Final = 8
"""Webhooks of one account."""
ALERTS_MAX: Final = 10_000
"""Alerts of all accounts, those that have gone off included until they are removed."""
ALERTS_PER_ACCOUNT_MAX: Final = 100
"""Alerts of one account."""
BUSY_WAIT_S: Final = 5.0
"""How long a statement waits for the other process's write."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS webhooks (
  webhook_id INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id INTEGER NOT NULL,
  url TEXT NOT NULL,
  secret TEXT NOT NULL,
  create_time_ns INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  job_id INTEGER NOT NULL DEFAULT 0,
  tests_asked INTEGER NOT NULL DEFAULT 0,
  tests_told INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  told INTEGER NOT NULL DEFAULT 0,
  given_up INTEGER NOT NULL DEFAULT 0,
  gone INTEGER NOT NULL DEFAULT 0,
  last_status TEXT NOT NULL DEFAULT '',
  last_time_ns INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS webhooks_by_account ON webhooks (account_id);
CREATE TABLE IF NOT EXISTS alerts (
  alert_id INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id INTEGER NOT NULL,
  webhook_id INTEGER NOT NULL,
  instrument_id INTEGER NOT NULL,
  instrument TEXT NOT NULL,
  above INTEGER NOT NULL,
  price_nanos INTEGER NOT NULL,
  create_time_ns INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  trade_price_nanos INTEGER NOT NULL DEFAULT 0,
  trade_time_ns INTEGER NOT NULL DEFAULT 0,
  trade_sequence INTEGER NOT NULL DEFAULT 0,
  told INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS alerts_by_account ON alerts (account_id);
CREATE TABLE IF NOT EXISTS places (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""
_TRADES: Final = "trades"


class Webhook(NamedTuple):
    """One webhook; see `docs/reference/webhooks.md`.

    Attributes:
        sequence: Up to this command, and in it up to `job_id`, endings of jobs were told.
        tests_asked: How often a test was asked for, and `tests_told` how often it was told.
        failures: Attempts that failed since the last that did not.
        told: Events delivered.
        given_up: Events that were tried for long, and left out.
        gone: Whether the endpoint said that it wants no more.
    """

    webhook_id: int
    account_id: int
    url: str
    secret: str
    create_time_ns: int
    sequence: int
    job_id: int
    tests_asked: int
    tests_told: int
    failures: int
    told: int
    given_up: int
    gone: int
    last_status: str
    last_time_ns: int


class Alert(NamedTuple):
    """One alert: told once, of the first trade after `sequence` at its price or beyond.

    Attributes:
        webhook_id: Whom to tell; 0: nobody, it is looked at.
        above: 1: at the price or above; 0: at the price or below.
        trade_price_nanos: Of the trade that set it off; 0 before.
    """

    alert_id: int
    account_id: int
    webhook_id: int
    instrument_id: int
    instrument: str
    above: int
    price_nanos: int
    create_time_ns: int
    sequence: int
    trade_price_nanos: int
    trade_time_ns: int
    trade_sequence: int
    told: int


_WEBHOOK: Final = f"SELECT {', '.join(Webhook._fields)} FROM webhooks"  # noqa: S608 - names are ours
_ALERT: Final = f"SELECT {', '.join(Alert._fields)} FROM alerts"  # noqa: S608


class Store:
    """The file. One thread at a time; another process may have it open, too.

    Args:
        path: Made where it does not exist; nobody else may read it, as it holds secrets.

    Raises:
        StoreUnavailable: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_TABLES)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def copy_into(self, other: Store) -> None:
        """Let another store hold what this one holds at one moment."""
        try:
            self._connection.backup(other._connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    @property
    def version(self) -> tuple[int, int]:
        """Another value after each change, whichever process made it."""
        ((version,),) = self._run("PRAGMA data_version")
        return version, self._connection.total_changes

    # ---- webhooks ----

    def add_webhook(
        self, account_id: int, url: str, secret: str, now_ns: int, sequence: int
    ) -> Webhook:
        """A new one, which is told what happens after this sequence.

        Raises:
            TooMany: The account, or all together, have their maximum.
            StoreUnavailable: As everywhere here.
        """
        with self._transaction():
            self._require_room("webhooks", account_id, WEBHOOKS_PER_ACCOUNT_MAX, WEBHOOKS_MAX)
            self._run(
                "INSERT INTO webhooks (account_id, url, secret, create_time_ns, sequence) "
                "VALUES (?, ?, ?, ?, ?)",
                account_id, url, secret, now_ns, sequence,
            )  # fmt: skip
            return self._webhook(f"{_WEBHOOK} WHERE webhook_id = last_insert_rowid()")

    def webhooks(self, account_id: int = 0) -> list[Webhook]:
        """Those of an account, or all; the oldest first."""
        where = " WHERE account_id = ?" if account_id else ""
        rows = self._run(
            f"{_WEBHOOK}{where} ORDER BY webhook_id", *([account_id] if account_id else [])
        )
        return [Webhook._make(row) for row in rows]

    def remove_webhook(self, account_id: int, webhook_id: int) -> bool:
        """Take it away, and its alerts; whether it was there."""
        with self._transaction():
            removed = self._change(
                "DELETE FROM webhooks WHERE account_id = ? AND webhook_id = ?",
                account_id, webhook_id,
            )  # fmt: skip
            if removed:
                self._run("DELETE FROM alerts WHERE webhook_id = ?", webhook_id)
        return bool(removed)

    def ask_test(self, account_id: int, webhook_id: int) -> bool:
        """Let a test be told, at once, whatever failed before; whether it is there."""
        return bool(
            self._change(
                "UPDATE webhooks SET tests_asked = tests_asked + 1, gone = 0 "
                "WHERE account_id = ? AND webhook_id = ?",
                account_id, webhook_id,
            )
        )  # fmt: skip

    def move(self, webhook_id: int, sequence: int, job_id: int) -> None:
        """Endings of jobs are told up to here."""
        self._run(
            "UPDATE webhooks SET sequence = ?, job_id = ? WHERE webhook_id = ?",
            sequence, job_id, webhook_id,
        )  # fmt: skip

    def come_back(self, sequence: int) -> None:
        """The history ends here now: who was told beyond it is told anew from here on.

        Its last groups may have been given up (`flopex journal cut`), and others have their
        sequences.
        """
        self._run(
            "UPDATE webhooks SET sequence = ?, job_id = 0 WHERE sequence > ?",
            max(0, sequence - 1), sequence,
        )  # fmt: skip

    def test_told(self, webhook_id: int, number: int) -> None:
        """This test was told, and those before it."""
        self._run("UPDATE webhooks SET tests_told = ? WHERE webhook_id = ?", number, webhook_id)

    def note(
        self, webhook_id: int, now_ns: int, status: str, *, failures: int, told: int,
        given_up: int, gone: bool,
    ) -> None:  # fmt: skip
        """How an attempt went.

        Args:
            webhook_id: Whose.
            now_ns: When.
            status: "200", or what was wrong.
            failures: Attempts that failed since the last that did not.
            told: Events that were taken.
            given_up: Events that are not tried again.
            gone: Whether nothing is to be told any more.
        """
        self._run(
            "UPDATE webhooks SET failures = ?, told = told + ?, given_up = given_up + ?, "
            "gone = ?, last_status = ?, last_time_ns = ? WHERE webhook_id = ?",
            failures, told, given_up, int(gone), status, now_ns, webhook_id,
        )  # fmt: skip

    # ---- alerts ----

    def add_alert(
        self, account_id: int, webhook_id: int, instrument: tuple[int, str], above: bool,
        price_nanos: int, now_ns: int, sequence: int,
    ) -> Alert | None:  # fmt: skip
        """A new one, for trades after this sequence; None where there is no such webhook.

        Raises:
            TooMany: The account, or all together, have their maximum.
        """
        with self._transaction():
            if webhook_id and not self._run(
                "SELECT 1 FROM webhooks WHERE account_id = ? AND webhook_id = ?",
                account_id, webhook_id,
            ):  # fmt: skip
                return None
            self._require_room("alerts", account_id, ALERTS_PER_ACCOUNT_MAX, ALERTS_MAX)
            self._run(
                "INSERT INTO alerts (account_id, webhook_id, instrument_id, instrument, above, "
                "price_nanos, create_time_ns, sequence) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                account_id, webhook_id, *instrument, int(above), price_nanos, now_ns, sequence,
            )  # fmt: skip
            (row,) = self._run(f"{_ALERT} WHERE alert_id = last_insert_rowid()")
            return Alert._make(row)

    def alerts(self, account_id: int) -> list[Alert]:
        """Those of an account, the oldest first."""
        rows = self._run(f"{_ALERT} WHERE account_id = ? ORDER BY alert_id", account_id)
        return [Alert._make(row) for row in rows]

    def armed(self) -> list[Alert]:
        """All that wait for their price."""
        return [Alert._make(row) for row in self._run(f"{_ALERT} WHERE trade_sequence = 0")]

    def untold(self, webhook_id: int, size: int) -> list[Alert]:
        """Those that have gone off and that their webhook was not told, at most so many."""
        rows = self._run(
            f"{_ALERT} WHERE webhook_id = ? AND trade_sequence > 0 AND told = 0 "
            "ORDER BY trade_sequence, alert_id LIMIT ?",
            webhook_id, size,
        )  # fmt: skip
        return [Alert._make(row) for row in rows]

    def remove_alert(self, account_id: int, alert_id: int) -> bool:
        """Take it away; whether it was there."""
        sql = "DELETE FROM alerts WHERE account_id = ? AND alert_id = ?"
        return bool(self._change(sql, account_id, alert_id))

    def alert_told(self, alert_id: int) -> None:
        """Its webhook knows."""
        self._run("UPDATE alerts SET told = 1 WHERE alert_id = ?", alert_id)

    def trades_seen(self) -> int:
        """The number of the last trade that alerts were compared with; 0 for none."""
        rows = self._run("SELECT number FROM places WHERE name = ?", _TRADES)
        return int(rows[0][0]) if rows else 0

    def see_trades(self, number: int, set_off: list[Alert]) -> None:
        """Alerts were compared up to this trade, and these have gone off; all in one step."""
        with self._transaction():
            for alert in set_off:
                self._run(
                    "UPDATE alerts SET trade_price_nanos = ?, trade_time_ns = ?, "
                    "trade_sequence = ? WHERE alert_id = ?",
                    alert.trade_price_nanos, alert.trade_time_ns, alert.trade_sequence,
                    alert.alert_id,
                )  # fmt: skip
            self._run(
                "INSERT INTO places VALUES (?, ?) ON CONFLICT (name) "
                "DO UPDATE SET number = excluded.number",
                _TRADES, number,
            )  # fmt: skip

    # ---- the file ----

    def _require_room(self, table: str, account_id: int, own_max: int, all_max: int) -> None:
        for where, values, most in (
            ("WHERE account_id = ?", (account_id,), own_max),
            ("", (), all_max),
        ):
            ((count,),) = self._run(f"SELECT COUNT(*) FROM {table} {where}", *values)  # noqa: S608
            if count >= most:
                whose = "the account has" if where else "the exchange has"
                raise TooMany(f"{whose} {most} {table}, its maximum; remove one first")

    def _webhook(self, sql: str) -> Webhook:
        (row,) = self._run(sql)
        return Webhook._make(row)

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _change(self, sql: str, *values: object) -> int:
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(StoreUnavailable):
                self._run("ROLLBACK")
            raise
        self._run("COMMIT")


def copy_store(source: Path, target: Path) -> int:
    """Copy a file that may be in use to a new one, which is durable then.

    Returns:
        How many webhooks it holds.

    Raises:
        StoreUnavailable: It cannot be read or written.
    """
    with contextlib.closing(Store(target)) as copy:
        with contextlib.closing(Store(source)) as store:
            store.copy_into(copy)
        count = len(copy.webhooks())
    with target.open("rb") as copied:
        os.fsync(copied.fileno())
    return count
