"""Every ledger entry, in a file: rebuilt from the journal at each start, never a source of truth.

An entry names the entry before it of its debit account and of its credit account, so an account's
entries are read newest first by following links, and memory grows with accounts, not with entries.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

BUFFER_BYTES_MAX: Final = 1 << 16
"""Bytes that wait to be written; reading looks at them too."""
_RECORD: Final = struct.Struct("<QqQqQQIIB7x")


class Entry(NamedTuple):
    """One double entry.

    Attributes:
        number: Its place, from 1.
        sequence: Journal sequence of the command that caused it.
        amount_nanos: Nano-dollars.
        reference_id: Lease or trade; 0 for none.
        event_time_ns: Journal time, nanoseconds since the epoch.
        kind: `exchange.core.events.EntryKind`.
    """

    number: int
    sequence: int
    amount_nanos: int
    reference_id: int
    event_time_ns: int
    previous_of_debit: int
    previous_of_credit: int
    debit_account_id: int
    credit_account_id: int
    kind: int


class LedgerFile:
    """Appends entries and reads them back; one process, one thread.

    Args:
        directory: Where the file goes; it has no name and vanishes with the process.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        self._fd = self._file.fileno()
        self._buffer = bytearray()
        self._written = 0  # bytes in the file
        self._count = 0
        self._newest: dict[int, int] = {}

    def __len__(self) -> int:
        return self._count

    def append(
        self,
        sequence: int,
        event_time_ns: int,
        kind: int,
        debit_account_id: int,
        credit_account_id: int,
        amount_nanos: int,
        reference_id: int,
    ) -> None:
        """Add an entry. O(1)."""
        newest = self._newest
        self._buffer += _RECORD.pack(
            sequence,
            amount_nanos,
            reference_id,
            event_time_ns,
            newest.get(debit_account_id, 0),
            newest.get(credit_account_id, 0),
            debit_account_id,
            credit_account_id,
            kind,
        )
        self._count += 1
        newest[debit_account_id] = newest[credit_account_id] = self._count
        if len(self._buffer) >= BUFFER_BYTES_MAX:
            self._flush()

    def read(self, first: int, count: int) -> list[Entry]:
        """Up to `count` entries from number `first` (from 1) on, oldest first."""
        if first > self._count:
            return []
        self._flush()
        data = os.pread(self._fd, count * _RECORD.size, (first - 1) * _RECORD.size)
        return [Entry(n, *fields) for n, fields in enumerate(_RECORD.iter_unpack(data), first)]

    def newest_of(self, account_id: int, before: int = 0) -> Iterator[Entry]:
        """An account's entries, newest first.

        Args:
            account_id: Whose.
            before: Begin with this entry of the account; 0 for its newest.
        """
        number = before or self._newest.get(account_id, 0)
        while number:
            found = self.read(number, 1)
            if not found or account_id not in (
                found[0].debit_account_id,
                found[0].credit_account_id,
            ):
                return
            entry = found[0]
            yield entry
            of_debit = entry.debit_account_id == account_id
            number = entry.previous_of_debit if of_debit else entry.previous_of_credit

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _flush(self) -> None:
        while self._buffer:
            done = os.pwrite(self._fd, self._buffer, self._written)
            del self._buffer[:done]
            self._written += done
