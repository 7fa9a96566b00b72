"""One small layer over two databases: SQLite in a file, PostgreSQL by URL.

Statements are written once, with `?` for a value. Both drivers are DB-API, and both databases know
`ON CONFLICT`, so the dialects differ in how to connect, in the names of three types, and in who may
write. The read model can always be made again from the journal, so neither waits for its disk: what
a crash takes away, it takes away together with the sequence that says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from exchange.processors import paced
from exchange.readmodel.errors import (
    ReadModelLocked,
    ReadModelMissing,
    ReadModelUnavailable,
    ReadModelUrlInvalid,
)
from exchange.readmodel.schema import Kind

if TYPE_CHECKING:
    import psycopg

SQLITE_SCHEME: Final = "sqlite"
POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
BUSY_WAIT_S: Final = 10.0
"""How long a statement waits for another connection's write."""
LOCK_WAIT_S: Final = 1.0
LOCK_KEY: Final = 0x_466C_6F70_6578
"""Of the advisory lock that the one writer holds in PostgreSQL."""

Row = tuple[Any, ...]


def sqlite_url(path: Path) -> str:
    """The URL of a read model in a file."""
    return f"{SQLITE_SCHEME}:///{path.absolute()}"


def check_url(url: str) -> None:
    """Refuse a URL that `connect` could never open.

    Raises:
        ReadModelUrlInvalid: no such kind of database, or its driver is missing.
    """
    parts = urlsplit(url)
    if parts.scheme in POSTGRES_SCHEMES:
        try:
            import psycopg  # noqa: F401 - whether it can be
        except ImportError as error:
            raise ReadModelUrlInvalid(
                "PostgreSQL needs its driver: pip install 'flopex[postgres]'"
            ) from error
    elif parts.scheme != SQLITE_SCHEME or parts.netloc or not parts.path.startswith("//"):
        raise ReadModelUrlInvalid(
            f"{parts.scheme or url!r} is no read model: it is sqlite:////path/to/file or "
            "postgresql://user@host/name"
        )


def connect(url: str, *, read_only: bool = False) -> Database:
    """Open the database of a URL: `sqlite:////path/to/file` or `postgresql://...`.

    Args:
        url: Which.
        read_only: The connection cannot change anything.

    Raises:
        ReadModelUrlInvalid: no such kind of database, or its driver is missing.
        ReadModelMissing: there is no such file, and it is only to be read.
        ReadModelUnavailable: it cannot be reached.
    """
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme == SQLITE_SCHEME:
        return SqliteDatabase(Path(parts.path[1:]), read_only=read_only)
    return PostgresDatabase(url, read_only=read_only)


class Database(ABC):
    """A connection. It belongs to one thread at a time; every error is a ReadModelError."""

    types: ClassVar[dict[Kind, str]]

    @abstractmethod
    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Rows of a statement."""

    @abstractmethod
    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement; how many rows it changed."""

    @abstractmethod
    def change_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row."""

    @abstractmethod
    def has_table(self, name: str) -> bool:
        """Whether a table is there."""

    @abstractmethod
    def lock(self) -> None:
        """Become the one writer, until the connection closes.

        Raises:
            ReadModelLocked: another process is.
        """

    @abstractmethod
    def _begin(self, *, write: bool) -> str:
        """The statement that begins a transaction."""

    @abstractmethod
    def close(self) -> None:
        """Give the connection and the lock back."""

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        """All or nothing; one that only reads sees one state throughout."""
        self.change(self._begin(write=write))
        try:
            yield
        except BaseException:
            # The connection itself may be what failed; what began is undone then, too.
            with contextlib.suppress(ReadModelUnavailable):
                self.change("ROLLBACK")
            raise
        self.change("COMMIT")


class SqliteDatabase(Database):
    """A file beside the journal. Readers do not wait for the writer (write-ahead logging)."""

    types: ClassVar = {Kind.INT: "INTEGER", Kind.TEXT: "TEXT", Kind.BYTES: "BLOB"}

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._lock_fd = -1
        mode = "ro" if read_only else "rwc"
        if read_only and not path.exists():
            raise ReadModelMissing(f"there is no read model in {path} yet")
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_WAIT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            if not read_only:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
        except (sqlite3.Error, OSError) as error:
            raise ReadModelUnavailable(f"{path}: {error}") from error

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """See Database."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """See Database."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def change_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """See Database."""
        try:
            self._connection.executemany(sql, paced(rows))
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def has_table(self, name: str) -> bool:
        """See Database."""
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(self.query(sql, (name,)))

    def lock(self) -> None:
        """See Database: a lock on a file beside it, which its process takes along when it ends."""
        path = self._path.with_name(self._path.name + ".lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise ReadModelLocked(f"another process feeds {self._path}") from error
        self._lock_fd = fd

    def _begin(self, *, write: bool) -> str:
        return "BEGIN IMMEDIATE" if write else "BEGIN"

    def close(self) -> None:
        """See Database."""
        self._connection.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _unavailable(self, error: sqlite3.Error) -> ReadModelUnavailable:
        return ReadModelUnavailable(f"{self._path}: {error}")


class PostgresDatabase(Database):
    """A server, by psycopg (`pip install 'flopex[postgres]'`)."""

    types: ClassVar = {Kind.INT: "BIGINT", Kind.TEXT: "TEXT", Kind.BYTES: "BYTEA"}

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        import psycopg

        self._errors: type[Exception] = psycopg.Error
        self._where = urlsplit(url).hostname or "the local PostgreSQL"
        try:
            connection: psycopg.Connection[Row] = psycopg.connect(
                url, autocommit=True, application_name="flopex read model"
            )
            connection.execute("SET synchronous_commit = off")
            if read_only:
                connection.execute("SET default_transaction_read_only = on")
        except psycopg.Error as error:
            raise ReadModelUnavailable(f"{self._where}: {error}") from error
        self._connection = connection

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """See Database."""
        try:
            rows: list[Row] = self._connection.execute(_marks(sql), values).fetchall()
        except self._errors as error:
            raise self._unavailable(error) from error
        return rows

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """See Database."""
        try:
            changed: int = self._connection.execute(_marks(sql), values).rowcount
        except self._errors as error:
            raise self._unavailable(error) from error
        return changed

    def change_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """See Database."""
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(_marks(sql), paced(rows))
        except self._errors as error:
            raise self._unavailable(error) from error

    def has_table(self, name: str) -> bool:
        """See Database."""
        return self.query("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]

    def lock(self) -> None:
        """See Database: an advisory lock of this connection.

        The server may take a moment to notice that the connection which held it is gone.
        """
        deadline = time.monotonic() + LOCK_WAIT_S
        while self.query("SELECT pg_try_advisory_lock(?)", (LOCK_KEY,)) != [(True,)]:
            if time.monotonic() > deadline:
                raise ReadModelLocked(f"another process feeds the read model of {self._where}")
            time.sleep(LOCK_WAIT_S / 20)

    def _begin(self, *, write: bool) -> str:
        return "BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ"

    def close(self) -> None:
        """See Database."""
        self._connection.close()

    def _unavailable(self, error: Exception) -> ReadModelUnavailable:
        return ReadModelUnavailable(f"{self._where}: {error}")


def _marks(sql: str) -> Any:
    """The statement with psycopg's marks; no statement of ours has either sign as text."""
    return sql.replace("?", "%s").encode()
