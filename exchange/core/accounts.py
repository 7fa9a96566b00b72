"""Accounts, API keys, and the client ids that make repeats harmless."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from librt.strings import BytesWriter, write_i32_le

from exchange.core.commands import AccountKind, PlaceOrder
from exchange.core.limits import (
    CLIENT_ID_AHEAD_MAX_NS,
    CLIENT_IDS_PER_ACCOUNT_MAX,
    NS_PER_MS,
)
from exchange.core.message_limits import MessageLimits
from exchange.core.reasons import Reason
from exchange.core.records import Record
from matching.columns import cut, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exchange.core.open_orders import OpenOrder

_P: Final = 2**31 - 1
_Q: Final = 2**31 - 19
_PLACE: Final = PlaceOrder.KIND.to_bytes()
_BID: Final = 1
_TIME_BYTES: Final = 6
"""Of a UUIDv7: its milliseconds since the epoch, the most significant first."""

EXTERNAL_ID: Final = 1
"""The world outside, in credit: deposits come from it, withdrawals go to it."""
EXTERNAL_PAPER_ID: Final = 2
"""The source of paper money, so that paper never mixes with credit."""

CLIENT_ID_BYTES: Final = 16
"""A UUID."""
CONTENT_BYTES: Final = 9
"""What is remembered of a command: its kind, and eight bytes over the whole."""


class Stake:
    """What an account has in one instrument, in MFLOP: its position, and what is open per side.

    Attributes:
        position: Bought minus sold; negative is short.
        bids: What its open bids may still buy.
        asks: What its open asks may still sell.
    """

    __slots__ = ("asks", "bids", "position")

    def __init__(self) -> None:
        self.position = 0
        self.bids = 0
        self.asks = 0

    def expose(self, side: int, change_mflop: int) -> None:
        """More, or less, is open on one side."""
        if side == _BID:
            self.bids += change_mflop
        else:
            self.asks += change_mflop

    def worst(self, side: int) -> int:
        """How far the position could go to this side if all that is open there filled."""
        return self.position + self.bids if side == _BID else self.asks - self.position


class Account:
    """An account and its counters; its money is the ledger's."""

    __slots__ = (
        "account_id",
        "client_ids",
        "halted",
        "job_ids",
        "kind",
        "limits",
        "name",
        "open_jobs",
        "orders",
        "queued_bytes",
        "stakes",
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
        self.stakes: dict[int, Stake] = {}  # by instrument, those ever touched
        self.client_ids: dict[bytes, tuple[bytes, int]] = {}  # id -> (content, result)

    @property
    def open_orders(self) -> int:
        """How many orders work."""
        return len(self.orders)

    def stake(self, instrument_id: int) -> Stake:
        """What it has in an instrument."""
        found = self.stakes.get(instrument_id)
        if found is None:
            found = self.stakes[instrument_id] = Stake()
        return found

    @property
    def positions(self) -> dict[int, int]:
        """Instrument to MFLOP, negative is short; those that are not 0."""
        return {i: stake.position for i, stake in self.stakes.items() if stake.position}

    @property
    def exposure(self) -> dict[tuple[int, int], int]:
        """(instrument, side) to open MFLOP, where any is."""
        both = {
            (instrument_id, side): left
            for instrument_id, stake in self.stakes.items()
            for side, left in ((1, stake.bids), (2, stake.asks))
        }
        return {key: left for key, left in both.items() if left}

    def result_of(self, kinds: Iterable[type[Record]], client_id: bytes) -> int | None:
        """What a remembered client id led to, if it came with such a command; else None."""
        known = self.client_ids.get(client_id)
        return known[1] if known and any(known[0][0] == kind.KIND for kind in kinds) else None

    def state(self) -> tuple[object, ...]:
        """Canonical state; its orders and jobs have their own."""
        known = sorted(self.client_ids.items())
        return (
            self.account_id,
            int(self.kind),
            self.name,
            self.halted,
            self.open_jobs,
            self.queued_bytes,
            sorted(self.positions.items()),
            sorted(self.exposure.items()),
            self.limits.state() if self.limits else (),
            b"".join([client_id for client_id, _ in known]),
            b"".join([content for _, (content, _) in known]),
            pack([result_id for _, (_, result_id) in known]),
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Account:
        """The account whose `state` it was, without its orders and jobs."""
        account_id, kind, name, halted, jobs, queued, positions, exposure, *known = state
        account = cls(account_id, AccountKind(kind), name)
        account.halted = halted
        account.open_jobs = jobs
        account.queued_bytes = queued
        for instrument_id, position in positions:
            account.stake(instrument_id).position = position
        for (instrument_id, side), left in exposure:
            account.stake(instrument_id).expose(side, left)
        limits, joint, contents, results = known
        account.limits = MessageLimits.restored(limits) if limits else None
        count = len(joint) // CLIENT_ID_BYTES
        ids = cut(joint, CLIENT_ID_BYTES, count)
        what = zip(cut(contents, CONTENT_BYTES, count), unpack(results, count), strict=True)
        account.client_ids = dict(zip(ids, what, strict=True))
        return account


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


def content_digest(command: Record) -> bytes:
    """What must be equal for a repeat to be a repeat: the kind, and eight bytes over the whole."""
    return command.KIND_BYTE + blake2b(command.content(), digest_size=CONTENT_BYTES - 1).digest()


def placement_digest(
    words: int, price: int, quantity: int, expire_time_ns: int, max_cost: int
) -> bytes:
    """`content_digest` of a plain order, from its fields: no other command comes so often.

    Two polynomial hashes, each modulo a prime of 31 bits, so that every product fits a machine
    word. Two contents that were not chosen with the factors in mind are taken for the same with a
    chance of 2^-62, and of 2^-31 where they differ by multiples of one of the primes alone.
    `words` holds the instrument and, eight bits each, what else a small number says.
    """
    first = ((words % _P * 0x0A3B7978 + price) % _P * 0x00CA92CC + quantity) % _P
    second = ((words % _Q * 0x15EA5F5D + price) % _Q * 0x3B8E603B + quantity) % _Q
    if expire_time_ns or max_cost:
        first = ((first * 0x1628028C + expire_time_ns) % _P * 0x044CD63C + max_cost) % _P
        second = ((second * 0x13FF8CF7 + expire_time_ns) % _Q * 0x1F323D7C + max_cost) % _Q
    made = BytesWriter()
    made.write(_PLACE)
    write_i32_le(made, first)
    write_i32_le(made, second)
    return made.getvalue()


def is_uuid7(client_id: bytes) -> bool:
    """Whether 16 bytes are a UUIDv7 (RFC 9562, section 5.7)."""
    return client_id[6] >> 4 == 7 and client_id[8] >> 6 == 2


class ClientIds:
    """Which client ids are remembered, and until when.

    An id is remembered until its order or job has ended and the retention has passed. An unknown
    id that is older than the retention is refused, so no id can ever act twice.
    """

    def __init__(self, retention_ns: int) -> None:
        self._retention_ns = retention_ns
        self._forget: deque[tuple[int, Account, bytes]] = deque()
        # What a new id must not lie before, and what it must lie before: the first six bytes of
        # each are its time. Made anew when time has gone on.
        self._bounded_at_ns = -1
        self._oldest = b""
        self._beyond = b""

    def find(
        self, account: Account, client_id: bytes, content: bytes, now_ns: int
    ) -> Remembered | None:
        """What this id led to, or why it may not act; None where it is new and may."""
        known = account.client_ids.get(client_id)
        if known is not None:
            if known[0] != content:
                return Remembered(Reason.DUPLICATE_CLIENT_ID, 0)
            return Remembered(Reason.NONE, known[1])
        if now_ns != self._bounded_at_ns:
            self._bound(now_ns)
        if not is_uuid7(client_id):
            return Remembered(Reason.CLIENT_ID_INVALID, 0)
        if client_id < self._oldest:
            return Remembered(Reason.CLIENT_ID_TOO_OLD, 0)
        if client_id >= self._beyond:
            return Remembered(Reason.CLIENT_ID_IN_FUTURE, 0)
        if len(account.client_ids) >= CLIENT_IDS_PER_ACCOUNT_MAX:
            return Remembered(Reason.TOO_MANY_CLIENT_IDS, 0)
        return None

    def _bound(self, now_ns: int) -> None:
        """Which times a new id may have: whole milliseconds, and bytes compare as they do."""
        self._bounded_at_ns = now_ns
        oldest_ms = -(-(now_ns - self._retention_ns) // NS_PER_MS)
        newest_ms = (now_ns + CLIENT_ID_AHEAD_MAX_NS) // NS_PER_MS
        self._oldest = max(0, oldest_ms).to_bytes(_TIME_BYTES)
        self._beyond = (newest_ms + 1).to_bytes(_TIME_BYTES)

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

    def __len__(self) -> int:
        """Ids that are to be forgotten; those of open orders and jobs are not among them."""
        return len(self._forget)

    def state(self) -> tuple[object, ...]:
        """Canonical state: columns of when, whose and which, the next to be forgotten first."""
        forget = self._forget
        return (
            pack([due for due, _, _ in forget]),
            pack([account.account_id for _, account, _ in forget]),
            b"".join([client_id for _, _, client_id in forget]),
        )

    def restore(self, state: Sequence[Any], accounts: Mapping[int, Account]) -> None:
        """Become what `state` said, over these accounts."""
        dues, owners, joint = state
        count = len(joint) // CLIENT_ID_BYTES
        whose = [accounts[account_id] for account_id in unpack(owners, count)]
        ids = cut(joint, CLIENT_ID_BYTES, count)
        self._forget = deque(zip(unpack(dues, count), whose, ids, strict=True))
