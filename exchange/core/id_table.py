"""What the client ids of one account led to, by id.

Compiled, this is a hash table in plain memory with no object for any id. An exchange remembers
millions of ids and seldom meets one again: so one costs 48 to 64 bytes while their number grows, a
new one is mostly found missing at the first look, and a snapshot's come back in one loop. The table
grows and shrinks bucket by bucket, so that no order waits until a million ids have been moved.
Interpreted, a dict is quicker, as its steps are not interpreted; where it doubles, it moves all.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, final

from librt.strings import BytesWriter, read_i64_be, read_i64_le, write_i64_be
from librt.vecs import append, vec
from mypy_extensions import i64, mypyc_attr

from matching.columns import numbers, pack
from matching.packed import COMPILED

CLIENT_ID_BYTES: Final = 16
"""A UUID."""
_CONTENT: Final = Struct("<Bq")
"""What a state holds of a content: the command's kind, and its digest."""
_CONTENT_BYTES: Final = _CONTENT.size

BUCKET_SLOTS: Final = 8_192
"""Most slots of a bucket that may be split: what is moved at once are at most half as many ids."""
DEPTH_MAX: Final = 16
"""Most bits by which buckets differ. What shares more of them grows in its bucket alone."""
_SLOTS_MIN: Final = 8
_SPARSE: Final = 8
"""A bucket with less than an id for so many slots gets half as many: far enough from half as many
ids as slots, above which it gets more, that none are moved to and fro."""
_TAG_BITS: Final = 31
_TAG: Final = 0x7FFF_FFFF
_ROW: Final = 0xFFFF_FFFF
_ROW_WORDS: Final = 4
"""The id's two halves, the digest, and the result above the kind's eight bits."""
_ROWS_MIN: Final = 4
_CHUNK_BITS: Final = 12
_CHUNK_ROWS: Final = 1 << _CHUNK_BITS
"""Rows that are made at once, but for the first ones; they never move."""
_IN_CHUNK: Final = _CHUNK_ROWS - 1
_RESULTS: Final = 1 << 55
"""Above every id that the exchange counts up to."""

# Secrets of this process: of Python's own hash, which is keyed.
_KEY: Final[i64] = hash(b"an id's hash begins with it")
_KEY_1: Final[i64] = hash(b"its first 32 bits")
_KEY_2: Final[i64] = hash(b"its second 32 bits")
_KEY_3: Final[i64] = hash(b"its third 32 bits")
_KEY_4: Final[i64] = hash(b"its last 32 bits")
_HALF: Final = 0xFFFF_FFFF
_STIR: Final = 0x2C1B_3C6D
"""Odd, so that no two hashes become one."""


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


@final
@mypyc_attr(acyclic=True)
class _Bucket:
    """Where the rows of those ids are whose hashes begin with the same bits: open addressing.

    A slot is 0, or the row's number below 31 bits of the id's hash, and an id stands in the first
    free slot from that of its hash's lower bits on. At most half as many ids as slots.

    Attributes:
        depth: How many bits, the highest of the 31, the ids share.
        count: How many ids they are.
        mask: The number of the last slot.
    """

    __slots__ = ("count", "depth", "mask", "slots")

    def __init__(self, size: i64, depth: i64) -> None:
        self.depth = depth
        self.count: i64 = 0
        self.mask: i64 = size - 1
        self.slots: vec[i64] = vec[i64]([0] * size)

    def is_full(self) -> bool:
        """Whether it may take no more."""
        return self.count * 2 >= self.mask

    def is_sparse(self, more: i64 = 0) -> bool:
        """Whether half the slots would do by far, with so many more ids."""
        return (self.count + more) * _SPARSE <= self.mask

    def put(self, entry: i64) -> None:
        """Let an id's entry stand in a free slot."""
        slot = entry >> 32 & self.mask
        while self.slots[slot]:
            slot = slot + 1 & self.mask
        self.slots[slot] = entry
        self.count += 1

    def pour(self, low: _Bucket, high: _Bucket) -> None:
        """Put all ids into two others, or twice the same, by the last bit that those go by."""
        shift = 32 + _TAG_BITS - low.depth
        for entry in self.slots:
            if entry:
                target = high if entry >> shift & 1 else low
                target.put(entry)

    def vacate(self, slot: i64) -> None:
        """Empty a slot, and move up what could not stand where its hash says because of it."""
        slots, mask = self.slots, self.mask
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
        self.count -= 1

    def rows(self) -> list[i64]:
        """The rows of all ids, in no order that means anything."""
        return [entry & _ROW for entry in self.slots if entry]

    def check(self, prefix: i64) -> None:
        """Assert that the ids belong here, and leave half the slots free. Costs O(slots)."""
        assert len(self.slots) == self.mask + 1 >= 2 * self.count
        assert len(self.rows()) == self.count, "the count is wrong"
        shift = 32 + _TAG_BITS - self.depth
        for entry in self.slots:
            assert not entry or entry >> shift == prefix, "an id is in another's bucket"


class IdTable:
    """Client ids of 16 bytes, and what each led to. Compiled code has rows, interpreted a dict.

    Rows are found by extendible hashing (Fagin, Nievergelt, Pippenger, Strong: ACM TODS 4(3),
    1979): the highest bits of an id's hash lead through a directory to its bucket. A full one is
    split in two by one more bit, where need be after each of the directory's entries was doubled;
    two that are all but empty become one. Rows and the directory stay until the last id goes.

    The hash has secret keys, so that nobody can choose ids that share one; where an id lies shows
    nowhere.
    """

    __slots__ = ("_buckets", "_by_id", "_count", "_depth", "_free", "_room", "_rows", "_used")

    def __init__(self) -> None:
        self._by_id: dict[bytes, Known] = {}
        self._clear()

    def _clear(self) -> None:
        self._count: i64 = 0
        self._depth: i64 = 0
        # By the highest `_depth` bits; several entries lead to a bucket of less depth.
        self._buckets: list[_Bucket] = []
        self._rows: vec[vec[i64]] = vec[vec[i64]]()  # in chunks
        self._room: i64 = 0  # rows in all chunks
        self._used: i64 = 0  # rows ever given out; the first is 1
        self._free: i64 = 0  # the last row given back, whose first word names the one before

    def __len__(self) -> int:
        return int(self._count) if COMPILED else len(self._by_id)

    def __contains__(self, client_id: bytes) -> bool:
        return self.get(client_id) is not None

    def get(self, client_id: bytes) -> Known | None:
        """What an id led to; None where it is not known. Costs O(1)."""
        if not COMPILED:
            return self._by_id.get(client_id)
        row = self._row(client_id)
        if not row:
            return None
        last = self._word(row, 3)
        return Known(int(last & 0xFF), self._word(row, 2), int(last >> 8))

    def led_to(self, client_id: bytes) -> tuple[i64, i64]:
        """Kind and result of what an id led to; twice 0 where it is not known. Costs O(1)."""
        if not COMPILED:
            known = self._by_id.get(client_id)
            return (0, 0) if known is None else (known.kind, known.result_id)
        row = self._row(client_id)
        last = self._word(row, 3) if row else 0
        return last & 0xFF, last >> 8

    def add(self, client_id: bytes, kind: i64, digest: i64, result_id: i64) -> None:
        """Remember a new id. Costs O(1), and O(BUCKET_SLOTS) when its bucket is full."""
        assert len(client_id) == CLIENT_ID_BYTES
        assert 0 <= kind <= 0xFF
        assert 0 <= result_id < _RESULTS
        if not COMPILED:
            assert client_id not in self._by_id, "a client id is new once"
            self._by_id[client_id] = Known(int(kind), digest, int(result_id))
            return
        tag = _tag(client_id)
        bucket = self._bucket_with_room(tag)
        slot = self._slot(bucket, client_id, tag)
        assert not bucket.slots[slot], "a client id is new once"
        row = self._new_row()
        chunk = self._rows[row >> _CHUNK_BITS]
        at = (row & _IN_CHUNK) * _ROW_WORDS
        chunk[at] = read_i64_be(client_id, 0)
        chunk[at + 1] = read_i64_be(client_id, 8)
        chunk[at + 2] = digest
        chunk[at + 3] = result_id << 8 | kind
        bucket.slots[slot] = tag << 32 | row
        bucket.count += 1
        self._count += 1

    def drop(self, client_id: bytes) -> None:
        """Forget an id, if it is known. Costs as `add` does."""
        if not COMPILED:
            self._by_id.pop(client_id, None)
            return
        if not self._count:
            return
        tag = _tag(client_id)
        bucket = self._bucket(tag)
        slot = self._slot(bucket, client_id, tag)
        row = bucket.slots[slot] & _ROW
        if not row:
            return
        self._rows[row >> _CHUNK_BITS][(row & _IN_CHUNK) * _ROW_WORDS] = self._free
        self._free = row
        bucket.vacate(slot)
        self._count -= 1
        if not self._count:
            self._clear()
        elif bucket.is_sparse():
            self._narrow(bucket, tag)

    def ids(self) -> list[bytes]:
        """All ids, sorted. Costs O(slots + ids x log ids)."""
        if not COMPILED:
            return sorted(self._by_id)
        return sorted([self._id(row) for bucket in self._each() for row in bucket.rows()])

    def check(self) -> None:
        """Assert that every id is found, and every row is an id's or free. Costs O(slots)."""
        ids = self.ids()
        assert len(ids) == len(set(ids)) == len(self), "an id stands twice"
        assert all(client_id in self for client_id in ids), "an id is not found"
        if not COMPILED:
            return
        assert len(self._buckets) in (0, 1 << self._depth), "the directory is no power of two"
        at: i64 = 0
        for bucket in self._each():
            span: i64 = 1 << self._depth - bucket.depth
            assert all(one is bucket for one in self._buckets[at : at + span]), "led astray"
            bucket.check(at // span)
            at += span
        free: i64 = 0
        row = self._free
        while row:
            free += 1
            row = self._word(row, 0)
        assert self._count + free == self._used <= max(0, self._room - 1), "a row is lost"

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
            self._make_room(count)
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
            self.add(client_id, kind, digest, result_id)
            number += 1

    def _sure(self, client_id: bytes) -> Known:
        known = self.get(client_id)
        assert known is not None
        return known

    def _bucket(self, tag: i64) -> _Bucket:
        """Where an id with such a hash is, or would be."""
        return self._buckets[tag >> _TAG_BITS - self._depth]

    def _each(self) -> list[_Bucket]:
        """Every bucket once, in the directory's order."""
        found: list[_Bucket] = []
        at: i64 = 0
        while at < len(self._buckets):
            bucket = self._buckets[at]
            found.append(bucket)
            at += 1 << self._depth - bucket.depth
        return found

    def _bucket_with_room(self, tag: i64) -> _Bucket:
        """Where a new id with such a hash goes."""
        if not self._buckets:
            self._make_room(1)
        bucket = self._bucket(tag)
        while bucket.is_full():
            self._widen(bucket, tag)
            bucket = self._bucket(tag)
        return bucket

    def _row(self, client_id: bytes) -> i64:
        """The row of an id; 0 where it is not known."""
        if not self._count or len(client_id) != CLIENT_ID_BYTES:
            return 0
        tag = _tag(client_id)
        bucket = self._bucket(tag)
        return bucket.slots[self._slot(bucket, client_id, tag)] & _ROW

    def _slot(self, bucket: _Bucket, client_id: bytes, tag: i64) -> i64:
        """Where an id stands in its bucket; the empty slot where it would, if it does not."""
        mask = bucket.mask
        slot = tag & mask
        while True:
            entry = bucket.slots[slot]
            if not entry:
                return slot
            if entry >> 32 == tag:
                row = entry & _ROW
                chunk = self._rows[row >> _CHUNK_BITS]
                at = (row & _IN_CHUNK) * _ROW_WORDS
                if chunk[at] == read_i64_be(client_id, 0) and (
                    chunk[at + 1] == read_i64_be(client_id, 8)
                ):
                    return slot
            slot = slot + 1 & mask

    def _word(self, row: i64, number: i64) -> i64:
        return self._rows[row >> _CHUNK_BITS][(row & _IN_CHUNK) * _ROW_WORDS + number]

    def _id(self, row: i64) -> bytes:
        written = BytesWriter()
        write_i64_be(written, self._word(row, 0))
        write_i64_be(written, self._word(row, 1))
        return written.getvalue()

    def _new_row(self) -> i64:
        row = self._free
        if row:
            self._free = self._word(row, 0)
            return row
        row = self._used = self._used + 1
        if row >= self._room:
            self._add_rows()
        return row

    def _add_rows(self) -> None:
        """As many rows as there are, until they are a chunk, and from then on one chunk more."""
        room = self._room
        if room >= _CHUNK_ROWS:
            self._rows = append(self._rows, vec[i64]([0] * (_CHUNK_ROWS * _ROW_WORDS)))
            self._room = room + _CHUNK_ROWS
            return
        self._room = max(_ROWS_MIN, room * 2)
        chunk = vec[i64]([0] * (self._room * _ROW_WORDS))
        at: i64 = 0
        while at < room * _ROW_WORDS:
            chunk[at] = self._rows[0][at]
            at += 1
        self._rows = vec[vec[i64]]([chunk])

    def _make_room(self, count: i64) -> None:
        """Buckets for so many ids, in a table without any."""
        size: i64 = _SLOTS_MIN
        while size <= count * 2 and size < BUCKET_SLOTS:
            size *= 2
        depth: i64 = 0
        while size << depth <= count * 2 and depth < DEPTH_MAX:
            depth += 1
        self._depth = depth
        self._buckets = [_Bucket(size, depth) for _ in range(1 << depth)]

    def _widen(self, bucket: _Bucket, tag: i64) -> None:
        """Give a full bucket twice the slots, or split it."""
        size = bucket.mask + 1
        depth = bucket.depth + 1
        if size < BUCKET_SLOTS or depth > DEPTH_MAX:
            self._resize(bucket, tag, size * 2)
            return
        if depth > self._depth:
            self._buckets = [one for one in self._buckets for _ in range(2)]
            self._depth = depth
        low, high = _Bucket(size, depth), _Bucket(size, depth)
        bucket.pour(low, high)
        prefix = tag >> _TAG_BITS - depth
        self._lead(prefix & ~1, low)
        self._lead(prefix | 1, high)

    def _narrow(self, bucket: _Bucket, tag: i64) -> None:
        """Give an all but empty bucket half the slots, or make it and its buddy one."""
        size = bucket.mask + 1
        depth = bucket.depth
        if size > (BUCKET_SLOTS if depth else _SLOTS_MIN):
            self._resize(bucket, tag, size // 2)
            return
        if not depth:
            return
        prefix = tag >> _TAG_BITS - depth
        buddy = self._buckets[(prefix ^ 1) << self._depth - depth]
        if buddy.depth == depth and bucket.is_sparse(buddy.count):
            joint = _Bucket(size, depth - 1)
            bucket.pour(joint, joint)
            buddy.pour(joint, joint)
            self._lead(prefix >> 1, joint)
            if joint.is_sparse():
                self._narrow(joint, tag)  # its buddy may have waited for that

    def _resize(self, bucket: _Bucket, tag: i64, size: i64) -> None:
        resized = _Bucket(size, bucket.depth)
        bucket.pour(resized, resized)
        self._lead(tag >> _TAG_BITS - bucket.depth, resized)

    def _lead(self, prefix: i64, bucket: _Bucket) -> None:
        """Let the hashes that begin with these bits lead to a bucket."""
        shift = self._depth - bucket.depth
        at, end = prefix << shift, prefix + 1 << shift
        while at < end:
            self._buckets[at] = bucket
            at += 1


def _tag(client_id: bytes) -> i64:
    """An id's hash: multilinear (Lemire, Kaser: Strongly universal string hashing is fast, 2014).

    Of any two ids, all pairs of hashes are alike likely to who does not know the keys; the last two
    steps leave it so, and let ids that follow each other lie apart. Compiled, Python's own hash
    costs three times as much, as it comes as an object. Sums and products of words wrap around.
    """
    first, last = read_i64_be(client_id, 0), read_i64_be(client_id, 8)
    mixed = (first >> 32 & _HALF) * _KEY_1 + (first & _HALF) * _KEY_2
    mixed += (last >> 32 & _HALF) * _KEY_3 + (last & _HALF) * _KEY_4
    tag = _KEY + mixed >> 64 - _TAG_BITS & _TAG
    tag = (tag ^ tag >> _TAG_BITS // 2) * _STIR & _TAG
    return tag ^ tag >> _TAG_BITS // 2
