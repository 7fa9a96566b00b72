"""Accounts, API keys, and the client ids that make repeats harmless."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from exchange.core.commands import AccountKind
from exchange.core.limits import (
    CLIENT_ID_AHEAD_MAX_NS,
    CLIENT_IDS_PER_ACCOUNT_MAX,
    NS_PER_MS,
)
from exchange.core.reasons import Reason
from exchange.core.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exchange.core.message_limits import MessageLimits
    from exchange.core.open_orders import OpenOrder

EXTERNAL_ID: Final = 1
"""The world outside, in credit: deposits come from it, withdrawals go to it."""
EXTERNAL_PAPER_ID: Final = 2
"""The source of paper money, so that paper never mixes with credit."""


class Account:
    """An account and its counters; its money is the ledger's."""

    __slots__ = (
        "account_id",
        "client_ids",
        "exposure",
        "halted",
        "job_ids",
        "kind",
        "limits",
        "name",
        "open_jobs",
        "orders",
        "positions",
        "queued_bytes",
    )

    def __init__(self, account_id: int, kind: AccountKind, name: str) -> None:
        self.account_id = account_id
        self.kind = kind
        self.name = name
        self.halted = False
        self.limits: MessageLimits | None = None  # what it may send, where the operator says so
        self.orders: dict[int, OpenOrder] = {}  # open ones, oldest first
        self.open_jobs = 0
        self.queued_bytes = 0
        self.job_ids: dict[int, None] = {}  # remembered jobs, oldest first
        self.positions: dict[int, int] = {}  # instrument -> MFLOP, negative is short
        self.exposure: dict[tuple[int, int], int] = {}  # (instrument, side) -> open MFLOP
        self.client_ids: dict[bytes, tuple[bytes, int]] = {}  # id -> (content, result)

    @property
    def open_orders(self) -> int:
        """How many orders work."""
        return len(self.orders)

    def result_of(self, kinds: Iterable[type[Record]], client_id: bytes) -> int | None:
        """What a remembered client id led to, if it came with such a command; else None."""
        known = self.client_ids.get(client_id)
        return known[1] if known and any(known[0][0] == kind.KIND for kind in kinds) else None

    def state(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return (
            self.account_id,
            int(self.kind),
            self.name,
            self.halted,
            list(self.orders),
            self.open_jobs,
            self.queued_bytes,
            sorted(self.positions.items()),
            sorted(self.exposure.items()),
            sorted(self.client_ids.items()),
            self.limits.state() if self.limits else (),
        )


EXTERNAL: Final = frozenset({EXTERNAL_ID, EXTERNAL_PAPER_ID})
"""Nobody's accounts: they hold no key, take no deposit and own no worker."""


class Key(NamedTuple):
    """What an API key may do; the key itself is known by its SHA-256 only."""

    account_id: int
    roles: int
    label: str


class Remembered(NamedTuple):
    """A client id that was found: the first result, or why it is refused."""

    reason: Reason
    result_id: int


_NEW: Final = Remembered(Reason.NONE, 0)


def content_digest(command: Record) -> bytes:
    """What must be equal for a repeat to be a repeat: the kind, and eight bytes over the whole."""
    return command.KIND_BYTE + blake2b(command.content(), digest_size=8).digest()


def id_time_ns(client_id: bytes) -> int | None:
    """The time in a UUIDv7 (RFC 9562, section 5.7), or None where it is none."""
    if client_id[6] >> 4 != 7 or client_id[8] >> 6 != 2:
        return None
    return int.from_bytes(client_id[:6]) * NS_PER_MS


class ClientIds:
    """Which client ids are remembered, and until when.

    An id is remembered until its order or job has ended and the retention has passed. An unknown
    id that is older than the retention is refused, so no id can ever act twice.
    """

    def __init__(self, retention_ns: int) -> None:
        self._retention_ns = retention_ns
        self._forget: deque[tuple[int, Account, bytes]] = deque()

    def find(self, account: Account, client_id: bytes, content: bytes, now_ns: int) -> Remembered:
        """Whether this id may act: (NONE, 0) for a new one, (NONE, result) for a repeat."""
        known = account.client_ids.get(client_id)
        if known is not None:
            if known[0] != content:
                return Remembered(Reason.DUPLICATE_CLIENT_ID, 0)
            return Remembered(Reason.NONE, known[1])
        made_ns = id_time_ns(client_id)
        if made_ns is None:
            return Remembered(Reason.CLIENT_ID_INVALID, 0)
        if made_ns < now_ns - self._retention_ns:
            return Remembered(Reason.CLIENT_ID_TOO_OLD, 0)
        if made_ns > now_ns + CLIENT_ID_AHEAD_MAX_NS:
            return Remembered(Reason.CLIENT_ID_IN_FUTURE, 0)
        if len(account.client_ids) >= CLIENT_IDS_PER_ACCOUNT_MAX:
            return Remembered(Reason.TOO_MANY_CLIENT_IDS, 0)
        return _NEW

    def remember(self, account: Account, client_id: bytes, content: bytes, result_id: int) -> None:
        """Remember what an id led to."""
        account.client_ids[client_id] = (content, result_id)

    def ended(self, account: Account, client_id: bytes, now_ns: int) -> None:
        """What the id led to is over: forget it once a late repeat would be too old."""
        due = now_ns + self._retention_ns + CLIENT_ID_AHEAD_MAX_NS
        self._forget.append((due, account, client_id))

    def sweep(self, now_ns: int) -> None:
        """Forget what is due."""
        while self._forget and self._forget[0][0] < now_ns:
            _, account, client_id = self._forget.popleft()
            account.client_ids.pop(client_id, None)

    def state(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return tuple((due, account.account_id, ident) for due, account, ident in self._forget)
