"""What the client ids of one account led to, by id.

Compiled, this is a hash table in plain memory with no object for any id. An exchange remembers
millions of ids and seldom meets one again: so one costs 48 to 96 bytes while their number grows (a
table keeps its size until its last id goes), a new one is mostly found missing at the first look,
and a snapshot's come back in one loop. Interpreted, a dict is quicker, as its steps are not
interpreted.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from librt.strings import BytesWriter, read_i64_be, read_i64_le, write_i64_be
from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from matching.columns import numbers, pack
from matching.packed import COMPILED

CLIENT_ID_BYTES: Final = 16
"""A UUID."""
_CONTENT: Final = Struct("<Bq")
"""What a state holds of a content: the command's kind, and its digest."""
_CONTENT_BYTES: Final = _CONTENT.size

_SLOTS_MIN: Final = 8
_TAG: Final = 0x7FFF_FFFF
_ROW: Final = 0xFFFF_FFFF
_ROW_WORDS: Final = 4
"""The id's two halves, the digest, and the result above the kind's eight bits."""
_RESULTS: Final = 1 << 55
"""Above every id that the exchange counts up to."""


@mypyc_attr(acyclic=True)
class Known:
    """What a client id led to.

    Attributes:
        kind: Of the command that came with it (`Record.KIND`).
        digest: Eight bytes over what that said, as a number.
        result_id: The order, the job or the transfer.
    """

    __slots__ = ("digest", "kind", "result_id")

    def __init__(self, kind: int, digest: i64, result_id: int) -> None:
        self.kind = kind
        self.digest = digest
        self.result_id = result_id

    def content(self) -> bytes:
        """Kind and digest, as a state holds them."""
        return _CONTENT.pack(self.kind, self.digest)


class IdTable:
    """Client ids of 16 bytes, and what each led to. Compiled code has rows, interpreted a dict.

    Rows are found by open addressing: a slot is 0, or the row's number below 31 bits of the id's
    hash, and an id stands in the first free slot from that of its hash on. Python's hash is keyed,
    so that nobody can choose ids that share one; where an id lies shows nowhere. At most half as
    many ids as slots.
    """

    __slots__ = ("_by_id", "_count", "_free", "_mask", "_rows", "_slots", "_used")

    def __init__(self) -> None:
        self._by_id: dict[bytes, Known] = {}
        self._clear()

    def _clear(self) -> None:
        self._count: i64 = 0
        self._used: i64 = 0  # rows ever given out; the first is 1
        self._free: i64 = 0  # the last row given back, whose first word names the one before
        self._mask: i64 = -1
        self._slots: vec[i64] = vec[i64]()
        self._rows: vec[i64] = vec[i64]()

    def __len__(self) -> int:
        return int(self._count) if COMPILED else len(self._by_id)

    def __contains__(self, client_id: bytes) -> bool:
        return self.get(client_id) is not None

    def get(self, client_id: bytes) -> Known | None:
        """What an id led to; None where it is not known. Costs O(1)."""
        if not COMPILED:
            return self._by_id.get(client_id)
        if not self._count or len(client_id) != CLIENT_ID_BYTES:
            return None
        entry = self._slots[self._slot(client_id, _tag(client_id))]
        return self._known(entry & _ROW) if entry else None

    def led_to(self, client_id: bytes) -> tuple[i64, i64]:
        """Kind and result of what an id led to; twice 0 where it is not known. Costs O(1)."""
        if not COMPILED:
            known = self._by_id.get(client_id)
            return (0, 0) if known is None else (known.kind, known.result_id)
        if not self._count or len(client_id) != CLIENT_ID_BYTES:
            return 0, 0
        entry = self._slots[self._slot(client_id, _tag(client_id))]
        last = self._rows[(entry & _ROW) * _ROW_WORDS + 3] if entry else 0
        return last & 0xFF, last >> 8

    def add(self, client_id: bytes, kind: i64, digest: i64, result_id: i64) -> None:
        """Remember a new id. Costs O(1), and O(ids) when the table grows."""
        assert len(client_id) == CLIENT_ID_BYTES
        assert 0 <= kind <= 0xFF
        assert 0 <= result_id < _RESULTS
        if not COMPILED:
            assert client_id not in self._by_id, "a client id is new once"
            self._by_id[client_id] = Known(int(kind), digest, int(result_id))
            return
        if self._count * 2 + 2 > self._mask:
            self.reserve(self._count + 1)
        tag = _tag(client_id)
        slot = self._slot(client_id, tag)
        assert not self._slots[slot], "a client id is new once"
        row = self._free
        if row:
            self._free = self._rows[row * _ROW_WORDS]
        else:
            row = self._used = self._used + 1
        at = row * _ROW_WORDS
        rows = self._rows
        rows[at] = read_i64_be(client_id, 0)
        rows[at + 1] = read_i64_be(client_id, 8)
        rows[at + 2] = digest
        rows[at + 3] = result_id << 8 | kind
        self._slots[slot] = tag << 32 | row
        self._count += 1

    def drop(self, client_id: bytes) -> None:
        """Forget an id, if it is known. Costs O(1)."""
        if not COMPILED:
            self._by_id.pop(client_id, None)
            return
        slot = self._slot(client_id, _tag(client_id)) if self._count else -1
        entry = self._slots[slot] if slot >= 0 else 0
        if not entry:
            return
        row = entry & _ROW
        self._rows[row * _ROW_WORDS] = self._free
        self._free = row
        self._count -= 1
        if self._count:
            self._vacate(slot)
        else:
            self._clear()

    def ids(self) -> list[bytes]:
        """All ids, sorted. Costs O(slots + ids x log ids)."""
        if not COMPILED:
            return sorted(self._by_id)
        return sorted([self._id(entry & _ROW) for entry in self._slots if entry])

    def reserve(self, count: i64) -> None:
        """Have slots and rows for so many ids."""
        if count * 2 <= self._mask:
            return
        size: i64 = _SLOTS_MIN
        while size <= count * 2:
            size *= 2
        rows = vec[i64]([0] * (size // 2 * _ROW_WORDS))
        at: i64 = 0
        before = self._rows
        while at < len(before):
            rows[at] = before[at]
            at += 1
        self._rows = rows
        slots = vec[i64]([0] * size)
        mask = self._mask = size - 1
        for entry in self._slots:
            if entry:
                slot = entry >> 32 & mask
                while slots[slot]:
                    slot = slot + 1 & mask
                slots[slot] = entry
        self._slots = slots

    def check(self) -> None:
        """Assert that every id is found, and every row is an id's or free. Costs O(ids)."""
        ids = self.ids()
        assert len(ids) == len(set(ids)) == len(self), "an id stands twice"
        assert all(client_id in self for client_id in ids), "an id is not found"
        if not COMPILED:
            return
        free: i64 = 0
        row = self._free
        while row:
            free += 1
            row = self._rows[row * _ROW_WORDS]
        assert self._count + free == self._used, "a row is lost"

    def state(self) -> tuple[bytes, bytes, bytes]:
        """Canonical state: the ids in order, their contents, and a column of their results."""
        ids = self.ids()
        known = [self._sure(client_id) for client_id in ids]
        return (
            b"".join(ids),
            b"".join([one.content() for one in known]),
            pack([one.result_id for one in known]),
        )

    @classmethod
    def restored(cls, joint: bytes, contents: bytes, results: bytes) -> IdTable:
        """The table whose `state` it was.

        Raises:
            ValueError: these are not as many contents or results as ids, or ids are not in order.
        """
        count: i64 = len(joint) // CLIENT_ID_BYTES
        if len(joint) != count * CLIENT_ID_BYTES or len(contents) != count * _CONTENT_BYTES:
            msg = f"{len(joint)} bytes of ids do not have {len(contents)} bytes of contents"
            raise ValueError(msg)
        table = cls()
        table._fill(count, joint, contents, numbers(results, int(count)))
        return table

    def _fill(self, count: i64, joint: bytes, contents: bytes, result_of: vec[i64]) -> None:
        """Remember the ids of a state, in a table without any."""
        if COMPILED and count:
            self.reserve(count)
        slots, rows, mask = self._slots, self._rows, self._mask
        before = b""
        number: i64 = 0
        while number < count:
            place = number * CLIENT_ID_BYTES
            client_id = joint[place : place + CLIENT_ID_BYTES]
            if client_id <= before:
                msg = "client ids are not in order, or one is there twice"
                raise ValueError(msg)
            before = client_id
            kind: i64 = contents[number * _CONTENT_BYTES]
            digest = read_i64_le(contents, number * _CONTENT_BYTES + 1)
            result_id = result_of[number]
            if not 0 <= result_id < _RESULTS:
                msg = f"{result_id} is no id that the exchange has counted up to"
                raise ValueError(msg)
            number += 1  # also of its row
            if not COMPILED:
                self._by_id[client_id] = Known(int(kind), digest, int(result_id))
                continue
            at = number * _ROW_WORDS
            rows[at] = read_i64_be(joint, place)
            rows[at + 1] = read_i64_be(joint, place + 8)
            rows[at + 2] = digest
            rows[at + 3] = result_id << 8 | kind
            tag = _tag(client_id)
            slot = tag & mask
            while slots[slot]:
                slot = slot + 1 & mask
            slots[slot] = tag << 32 | number
        if COMPILED:
            self._count = self._used = count

    def _sure(self, client_id: bytes) -> Known:
        known = self.get(client_id)
        assert known is not None
        return known

    def _slot(self, client_id: bytes, tag: i64) -> i64:
        """Where an id stands; the empty slot in which it would, where it does not."""
        slots, rows, mask = self._slots, self._rows, self._mask
        high = read_i64_be(client_id, 0)
        low = read_i64_be(client_id, 8)
        slot = tag & mask
        while True:
            entry = slots[slot]
            if not entry:
                return slot
            if entry >> 32 == tag:
                at = (entry & _ROW) * _ROW_WORDS
                if rows[at] == high and rows[at + 1] == low:
                    return slot
            slot = slot + 1 & mask

    def _vacate(self, slot: i64) -> None:
        """Empty a slot, and move up what could not stand where its hash says because of it."""
        slots, mask = self._slots, self._mask
        at = slot
        while True:
            at = at + 1 & mask
            entry = slots[at]
            if not entry:
                break
            home = entry >> 32 & mask
            if (at - home & mask) >= (at - slot & mask):
                slots[slot] = entry
                slot = at
        slots[slot] = 0

    def _id(self, row: i64) -> bytes:
        written = BytesWriter()
        write_i64_be(written, self._rows[row * _ROW_WORDS])
        write_i64_be(written, self._rows[row * _ROW_WORDS + 1])
        return written.getvalue()

    def _known(self, row: i64) -> Known:
        last = self._rows[row * _ROW_WORDS + 3]
        return Known(int(last & 0xFF), self._rows[row * _ROW_WORDS + 2], int(last >> 8))


def _tag(client_id: bytes) -> i64:
    return i64(hash(client_id)) & _TAG
