"""What a group's commands did to the orders of others: compiled with the core.

Most of what a busy exchange does concerns the account that asked for it, so nearly all of a group
is looked at here and left out.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

from exchange.core.event_rows import (
    CLOSED,
    FILLED,
    OTHER,
    PARTIES_AT,
    EventRows,
    event_of,
    row_bytes,
)
from exchange.core.events import AnyEvent, OrderReplaced, OrderTriggered
from exchange.core.placements import asker

_Replaced: Final = OrderReplaced
_Triggered: Final = OrderTriggered
"""Compiled, a constant is at hand, where an imported name is looked up each time."""
_BYTE: Final = (1 << 8) - 1
_LOW: Final = (1 << 32) - 1

Happened = bytes | AnyEvent
"""A fill or an end as its row (`exchange.core.event_rows`), anything else as an event."""


class Push:
    """What another's command did to an account's orders.

    It has copies: who reads late must not keep whole groups in memory.

    Attributes:
        account_id: Whose orders.
        sequence: The command's number in the journal.
        now_ns: Journal time, nanoseconds since the epoch.
        happened: What happened to them, in order.
    """

    __slots__ = ("account_id", "happened", "now_ns", "sequence")

    def __init__(self, account_id: int, sequence: int, now_ns: int, first: Happened) -> None:
        self.account_id = account_id
        self.sequence = sequence
        self.now_ns = now_ns
        self.happened: list[Happened] = [first]

    @property
    def events(self) -> list[AnyEvent]:
        """What happened, as events."""
        return [event_of(one) if isinstance(one, bytes) else one for one in self.happened]


class Pushes:
    """Collects the pushes of one group.

    Args:
        accounts: Those who listen.
        now_ns: The group's journal time, nanoseconds since the epoch.

    Attributes:
        found: The pushes in the journal's order.
    """

    __slots__ = ("_accounts", "_last", "_now_ns", "found")

    def __init__(self, accounts: Container[int], now_ns: int) -> None:
        self.found: list[Push] = []
        self._accounts = accounts
        self._now_ns = now_ns
        self._last: dict[int, Push] = {}

    def collect(self, first_sequence: int, records: bytes, begins: bytes, told: EventRows) -> None:
        """Find what concerns an account that listens, and was not done by itself.

        Args:
            first_sequence: Of the first command.
            records: The group's commands.
            begins: Where each begins (`record_begins`).
            told: Their events.
        """
        rows, first, accounts = told.rows, told.first, self._accounts
        at: i64 = told.begin(0)
        end: i64 = told.end
        while at < end:
            head: i64 = read_i64_le(rows, at)
            kind = head & _BYTE
            size = row_bytes(rows, at)
            if kind in (FILLED, CLOSED):
                # A stop or an auction trades by another's command: both may be told.
                parties: i64 = read_i64_le(rows, at + PARTIES_AT)
                owner: int = parties & _LOW
                taker: int = parties >> 32 & _LOW if kind == FILLED else 0
                if owner in accounts or taker in accounts:
                    number: i64 = (head >> 32) - first
                    asks = asker(records, begins, number)
                    row = rows[at : at + size]
                    self._hear(first_sequence + number, asks, owner, row)
                    if taker:
                        self._hear(first_sequence + number, asks, taker, row)
            elif kind == OTHER:
                event = told.other_at(at)
                if type(event) is _Replaced or type(event) is _Triggered:
                    number = (head >> 32) - first
                    asks = asker(records, begins, number)
                    self._hear(first_sequence + number, asks, event.account_id, event)
            at += size

    def _hear(self, sequence: int, asks: int, account_id: int, what: Happened) -> None:
        if account_id == asks or account_id not in self._accounts:
            return
        push = self._last.get(account_id)
        if push is not None and push.sequence == sequence:
            push.happened.append(what)
            return
        push = self._last[account_id] = Push(account_id, sequence, self._now_ns, what)
        self.found.append(push)
