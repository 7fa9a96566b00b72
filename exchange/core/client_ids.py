"""Client ids: what each led to, so that a repeat is harmless.

A repeat must say what the first command said, or its id is used twice. Of the first only its kind
and eight bytes over the whole are kept: its *content*.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from librt.strings import BytesWriter
from mypy_extensions import i64

from exchange.core.commands import PlaceOrder
from exchange.core.id_table import CLIENT_ID_BYTES
from exchange.core.limits import (
    CLIENT_ID_AHEAD_MAX_NS,
    CLIENT_IDS_PER_ACCOUNT_MAX,
    NS_PER_MS,
)
from exchange.core.reasons import Reason
from exchange.core.records import Record
from matching.columns import numbers, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.accounts import Account

_P: Final = 2**31 - 1
_Q: Final = 2**31 - 19
_PLACE: Final = PlaceOrder.KIND
_TIME_BYTES: Final = 6
"""Of a UUIDv7: its milliseconds since the epoch, the most significant first."""


class Remembered(NamedTuple):
    """A client id that was found: the first result, or why it is refused."""

    reason: Reason
    result_id: int


def content_digest(command: Record) -> i64:
    """What must be equal, beside the kind, for a repeat to be a repeat."""
    digest = blake2b(command.content(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def placement_digest(
    instrument_id: i64,
    words: i64,
    price: i64,
    quantity: i64,
    expire_time_ns: i64,
    max_cost: i64,
) -> i64:
    """`content_digest` of a plain order, from its fields: no other command comes so often.

    Two polynomial hashes, each modulo a prime of 31 bits, so that every product fits a machine
    word. Two contents that were not chosen with the factors in mind are taken for the same with a
    chance of 2^-62, and of 2^-31 where they differ by multiples of one of the primes alone.
    `words` holds, eight bits each, what else a small number says.
    """
    # 2 and 38 are 2^32 modulo the primes: the instrument stands above the 32 bits of the words.
    first: i64 = (instrument_id * 2 + words) % _P * 0x0A3B7978 + price % _P
    first = first % _P * 0x00CA92CC + quantity % _P
    second: i64 = (instrument_id * 38 + words) % _Q * 0x15EA5F5D + price % _Q
    second = second % _Q * 0x3B8E603B + quantity % _Q
    if expire_time_ns or max_cost:
        first = first % _P * 0x1628028C + expire_time_ns % _P
        first = first % _P * 0x044CD63C + max_cost % _P
        second = second % _Q * 0x13FF8CF7 + expire_time_ns % _Q
        second = second % _Q * 0x1F323D7C + max_cost % _Q
    return first % _P | second % _Q << 32


def is_uuid7(client_id: bytes) -> bool:
    """Whether 16 bytes are a UUIDv7 (RFC 9562, section 5.7)."""
    return client_id[6] >> 4 == 7 and client_id[8] >> 6 == 2


class _Leaving:
    """Client ids that are forgotten together, as what they led to ended together.

    Attributes:
        due_ns: When.
        accounts: Whose each is.
        joint: The ids, one behind the other; the last ones to leave have theirs in `_last_ids`.
    """

    __slots__ = ("accounts", "due_ns", "joint")

    def __init__(self, due_ns: int) -> None:
        self.due_ns = due_ns
        self.accounts: list[Account] = []
        self.joint = b""

    def forget(self) -> None:
        at = 0
        for account in self.accounts:
            account.client_ids.drop(self.joint[at : at + CLIENT_ID_BYTES])
            at += CLIENT_ID_BYTES


class ClientIds:
    """Which client ids are remembered, and until when.

    An id is remembered until its order or job has ended and the retention has passed. An unknown
    id that is older than the retention is refused, so no id can ever act twice.
    """

    def __init__(self, retention_ns: int) -> None:
        self._retention_ns = retention_ns
        self._forget: deque[_Leaving] = deque()
        self._last: _Leaving | None = None  # in it, which more may join
        self._last_ids = BytesWriter()  # of those
        self._ended = 0  # ids in it
        # What a new id must not lie before, and what it must lie before: the first six bytes of
        # each are its time. Made anew when time has gone on.
        self._bounded_at_ns = -1
        self._oldest = b""
        self._beyond = b""

    def find(
        self, account: Account, client_id: bytes, kind: int, digest: i64, now_ns: int
    ) -> Remembered | None:
        """What this id led to, or why it may not act; None where it is new and may."""
        known = account.client_ids.get(client_id)
        if known is not None:
            if known.digest != digest or known.kind != kind:
                return Remembered(Reason.DUPLICATE_CLIENT_ID, 0)
            return Remembered(Reason.NONE, known.result_id)
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

    def ended(self, account: Account, client_id: bytes, now_ns: int) -> None:
        """What the id led to is over: forget it once a late repeat would be too old."""
        due_ns = now_ns + self._retention_ns + CLIENT_ID_AHEAD_MAX_NS
        self._forget_at(due_ns, account, client_id)

    def _forget_at(self, due_ns: int, account: Account, client_id: bytes) -> None:
        last = self._last
        if last is None or last.due_ns != due_ns:
            self._join()
            last = self._last = _Leaving(due_ns)
            self._forget.append(last)
        last.accounts.append(account)
        self._last_ids.write(client_id)
        self._ended += 1

    def _join(self) -> None:
        """Nobody joins the last ones to leave any more."""
        if self._last is not None:
            self._last.joint = self._last_ids.getvalue()
        self._last = None
        self._last_ids.truncate(0)

    def sweep(self, now_ns: int) -> None:
        """Forget what is due."""
        while self._forget and self._forget[0].due_ns < now_ns:
            if len(self._forget) == 1:
                self._join()
            leaving = self._forget.popleft()
            leaving.forget()
            self._ended -= len(leaving.accounts)

    def __len__(self) -> int:
        """Ids that are to be forgotten; those of open orders and jobs are not among them."""
        return self._ended

    def state(self) -> tuple[object, ...]:
        """Canonical state: columns of when, whose and which, the next to be forgotten first."""
        dues: list[int] = []
        owners: list[int] = []
        for leaving in self._forget:
            dues += [leaving.due_ns] * len(leaving.accounts)
            owners += [account.account_id for account in leaving.accounts]
        joint = [leaving.joint for leaving in self._forget]
        return (pack(dues), pack(owners), b"".join([*joint, self._last_ids.getvalue()]))

    def restore(self, state: Sequence[Any], accounts: dict[int, Account]) -> None:
        """Become what `state` said, over these accounts; raises ValueError where it is no state."""
        dues, owners, joint = state
        count = len(joint) // CLIENT_ID_BYTES
        if len(joint) != count * CLIENT_ID_BYTES:
            msg = f"{len(joint)} bytes are no client ids"
            raise ValueError(msg)
        owner_ids = unpack(owners, count)
        due = numbers(dues, count)
        self._forget.clear()
        self._ended = count
        start: i64 = 0
        while start < count:
            due_ns = due[start]
            end = start + 1
            while end < count and due[end] == due_ns:
                end += 1
            leaving = _Leaving(int(due_ns))
            leaving.accounts = [accounts[owner_id] for owner_id in owner_ids[start:end]]
            leaving.joint = joint[start * CLIENT_ID_BYTES : end * CLIENT_ID_BYTES]
            self._forget.append(leaving)
            start = end
        self._last_ids.truncate(0)
        self._last = self._forget[-1] if self._forget else None
        if self._last is not None:
            self._last_ids.write(self._last.joint)
            self._last.joint = b""
