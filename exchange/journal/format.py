"""The bytes of a segment: a header, then framed groups, then zeros.

    segment  = header (4096) | block | block | ... | zeros up to segment_bytes
    header   = magic, format version, rules version, epoch, first sequence, block alignment,
               segment_bytes, genesis digest, previous hash | zeros | crc32 of all before it
    block    = head (80) | payload | trailer (8) | zeros up to the next multiple of the alignment
    head     = magic, payload bytes, first sequence, count, epoch, zero sectors, previous hash,
               crc32 of all before it, end mark
    trailer  = crc32 of the payload, end mark

All integers are little-endian and unsigned. A block's hash is sha256(head + payload), and the head
holds the hash of the block before (the first block of a segment: the header's previous hash; the
first segment: the genesis digest), so one hash vouches for everything before it.

Blocks begin at multiples of the alignment, at least a sector, so that a torn write of one group
never touches a group that was acknowledged. Segments are zeros before they are used, and a device
writes a sector whole or not at all, so a group that was cut short shows it: a whole sector of it
is zeros, more than the head says it had, or its end is missing. A block that fails its checksum
and shows neither was written whole and damaged later: those two are told apart, because the first
was never acknowledged and the second may have been.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final, NamedTuple
from zlib import crc32

FORMAT_VERSION: Final = 1
SECTOR_BYTES: Final = 512
HEADER_BYTES: Final = 4096
# Each segment says which it has. The journal takes the device's own block; the smallest is for what
# is written one small group at a time and kept for years.
BLOCK_ALIGNMENT: Final = 512
BLOCK_ALIGNMENTS: Final = (512, 1024, 2048, 4096)
SEGMENT_BYTES: Final = 64 << 20
SEGMENT_BYTES_MIN: Final = 8192
SEGMENT_BYTES_MAX: Final = 1 << 30
GROUP_BYTES_MAX: Final = 8 << 20
GROUP_COUNT_MAX: Final = 1 << 20
SEQUENCE_MAX: Final = (1 << 63) - 1
EPOCH_MAX: Final = (1 << 63) - 1
RULES_VERSION_MAX: Final = (1 << 32) - 1
FIRST_SEQUENCE: Final = 1

HEADER_MAGIC: Final = b"FLOPEXJL"
BLOCK_MAGIC: Final = b"FXGB"
# No byte of it is zero and none is a single bit, so neither a flipped bit nor a cut hides in it.
END_MARK: Final = b"FXGE"

_HEADER: Final = struct.Struct("<8sIIQQIQ32s32s")
_CRC: Final = struct.Struct("<I")
# Eight bytes of the head are reserved: zeros, under the checksum.
_HEAD: Final = struct.Struct("<4sIQIQI8x32s")
_HEAD_END: Final = struct.Struct("<I4s")
_TRAILER: Final = struct.Struct("<I4s")
_HEADER_CRC_AT: Final = HEADER_BYTES - _CRC.size
HEAD_BYTES: Final = _HEAD.size + _HEAD_END.size
TRAILER_BYTES: Final = _TRAILER.size
_ZERO_SECTOR: Final = bytes(SECTOR_BYTES)
_ZEROS: Final = bytes(max(BLOCK_ALIGNMENTS))


class GroupRecord(NamedTuple):
    """One commit group: `count` records that become durable together.

    Attributes:
        first_sequence: Sequence number of its first record.
        count: Number of records, at least 1.
        epoch: Of the engine that wrote it; never falls.
        payload: The records' bytes; what they mean is the caller's affair.
    """

    first_sequence: int
    count: int  # type: ignore[assignment]  # the format's word; nobody needs tuple.count
    epoch: int
    payload: bytes

    @property
    def next_sequence(self) -> int:
        """The sequence number after its last record."""
        return self.first_sequence + self.count


class SegmentHeader(NamedTuple):
    """The first page of a segment."""

    format_version: int
    rules_version: int
    epoch: int
    first_sequence: int
    alignment: int
    segment_bytes: int
    genesis: bytes
    previous_hash: bytes


class Position(NamedTuple):
    """Where the chain stands after some block: what the next one must fit."""

    next_sequence: int
    epoch: int
    chain_hash: bytes


class Block(NamedTuple):
    """A good block, and how many bytes it takes up."""

    group: GroupRecord
    extent: int
    chain_hash: bytes


class BadBlock(Exception):
    """No good block begins here. `offset` and `length` are relative to the block's start.

    Attributes:
        cut_short: The bytes look like a write that did not finish.
        empty: There are zeros where a head would be, but for one byte at most.
        extent: Bytes of the whole block if its head is sound, else 0.
    """

    def __init__(
        self,
        reason: str,
        offset: int,
        length: int,
        *,
        cut_short: bool = False,
        empty: bool = False,
        extent: int = 0,
    ) -> None:
        self.reason = reason
        self.offset = offset
        self.length = length
        self.cut_short = cut_short
        self.empty = empty
        self.extent = extent
        super().__init__(reason)


def align(size: int, alignment: int) -> int:
    """`size` rounded up to a multiple of `alignment`."""
    return -(-size // alignment) * alignment


def group_bytes_max(segment_bytes: int, alignment: int) -> int:
    """The largest payload that a segment of this size can hold, in bytes."""
    room = (segment_bytes - HEADER_BYTES) // alignment * alignment
    return min(GROUP_BYTES_MAX, room - HEAD_BYTES - TRAILER_BYTES)


def encode_header(header: SegmentHeader) -> bytes:
    """The header's page."""
    page = _HEADER.pack(HEADER_MAGIC, *header).ljust(_HEADER_CRC_AT, b"\0")
    return page + _CRC.pack(crc32(page))


def decode_header(page: bytes) -> SegmentHeader:
    """Read a header's page; the caller compares versions.

    Magic, format version and checksum stay where they are in every later format, so that a newer
    file is told from a damaged one.

    Raises:
        ValueError: The page is not what was written.
    """
    if len(page) < HEADER_BYTES:
        raise ValueError("the segment's header is cut short")
    (stored,) = _CRC.unpack_from(page, _HEADER_CRC_AT)
    if crc32(page[:_HEADER_CRC_AT]) != stored:
        raise ValueError("the segment's header does not match its checksum")
    magic, *fields = _HEADER.unpack_from(page)
    header = SegmentHeader(*fields)
    if magic != HEADER_MAGIC:
        raise ValueError("this is not a journal segment")
    if header.format_version == FORMAT_VERSION and not (
        header.alignment in BLOCK_ALIGNMENTS
        and SEGMENT_BYTES_MIN <= header.segment_bytes <= SEGMENT_BYTES_MAX
        and 0 < header.first_sequence <= SEQUENCE_MAX
    ):
        raise ValueError("the segment's header is out of bounds")
    return header


def count_zero_sectors(body: bytes) -> int:
    """How many whole sectors of a block hold only zeros. O(n), one search when there are none.

    Args:
        body: The block without its head, which is never zeros.
    """
    if body.find(_ZERO_SECTOR) < 0:
        return 0
    sectors = range(SECTOR_BYTES - HEAD_BYTES, len(body), SECTOR_BYTES)
    return sum(body.startswith(_ZERO_SECTOR, at) for at in sectors)


def encode_block(group: GroupRecord, chain_hash: bytes, alignment: int) -> tuple[bytes, bytes]:
    """A block and its hash. O(payload).

    Args:
        group: Within the bounds; the caller has checked.
        chain_hash: The hash of the block before.
        alignment: The segment's.
    """
    payload = group.payload
    size = HEAD_BYTES + len(payload) + TRAILER_BYTES
    trailer = _TRAILER.pack(crc32(payload), END_MARK)
    padding = align(size, alignment) - size
    head = _HEAD.pack(
        BLOCK_MAGIC,
        len(payload),
        group.first_sequence,
        group.count,
        group.epoch,
        # The trailer's last byte is none, so those of the padding lie all behind it.
        count_zero_sectors(payload + trailer) + padding // SECTOR_BYTES,
        chain_hash,
    )
    head += _HEAD_END.pack(crc32(head), END_MARK)
    hasher = sha256(head)
    hasher.update(payload)
    return b"".join((head, payload, trailer, _ZEROS[:padding])), hasher.digest()


class Head(NamedTuple):
    """A block's head whose checksum is right."""

    payload_bytes: int
    first_sequence: int
    count: int  # type: ignore[assignment]  # as in GroupRecord
    epoch: int
    zero_sectors: int
    previous_hash: bytes

    @property
    def size(self) -> int:
        """Head, payload and trailer, without the zeros after them, in bytes."""
        return HEAD_BYTES + self.payload_bytes + TRAILER_BYTES


def decode_head(buffer: memoryview) -> Head:
    """Read the head at the start of `buffer`, which may be too short to hold one.

    Raises:
        BadBlock: There is no sound head.
    """
    raw = bytes(buffer[:HEAD_BYTES])
    if len(raw) < HEAD_BYTES:
        raise BadBlock("no head fits here", 0, len(raw), empty=not any(raw))
    crc, mark = _HEAD_END.unpack_from(raw, _HEAD.size)
    magic, *fields = _HEAD.unpack_from(raw)
    if crc != crc32(raw[: _HEAD.size]) or mark != END_MARK:
        # A head has more bytes than that which are not zero, so it was never written.
        if raw.count(0) >= HEAD_BYTES - 1:
            raise BadBlock("no group begins here", 0, HEAD_BYTES, empty=True)
        reason = "a group's head does not match its checksum"
        raise BadBlock(reason, 0, HEAD_BYTES, cut_short=raw[-1] == 0)
    if magic != BLOCK_MAGIC:
        raise BadBlock("a group's head has another magic", 0, HEAD_BYTES)
    return Head(*fields)


def check_head(head: Head, position: Position, room: int) -> None:
    """Raise BadBlock unless this head follows `position` and its block fits into `room` bytes."""
    reason = None
    if head.first_sequence != position.next_sequence:
        reason = f"sequence {head.first_sequence} stands where {position.next_sequence} should"
    elif head.previous_hash != position.chain_hash:
        reason = f"the hash chain breaks at sequence {head.first_sequence}"
    elif head.epoch < position.epoch:
        reason = f"epoch {head.epoch} follows epoch {position.epoch}"
    elif not 0 < head.count <= GROUP_COUNT_MAX or not 0 < head.payload_bytes <= GROUP_BYTES_MAX:
        reason = "a group's head is out of bounds"
    elif head.size > room:
        reason = "a group runs over the end of its segment"
    if reason is not None:
        raise BadBlock(reason, 0, HEAD_BYTES)


def decode_body(head: Head, block: memoryview) -> Block:
    """Read the payload of a block whose head has passed `check_head`.

    Args:
        head: The block's own.
        block: All of the block, from its head to its last zero.

    Raises:
        BadBlock: The rest of the block is not what was written.
    """
    end = HEAD_BYTES + head.payload_bytes
    payload = bytes(block[HEAD_BYTES:end])
    crc, mark = _TRAILER.unpack_from(block, end)
    if mark != END_MARK or crc != crc32(payload):
        cut_short = block[head.size - 1] == 0 or (
            count_zero_sectors(bytes(block[HEAD_BYTES:])) > head.zero_sectors
        )
        raise BadBlock(
            f"the group at sequence {head.first_sequence} does not match its checksum",
            HEAD_BYTES,
            head.size - HEAD_BYTES,
            cut_short=cut_short,
            extent=len(block),
        )
    padding = bytes(block[head.size :])
    if padding != _ZEROS[: len(padding)]:
        at = len(padding) - len(padding.lstrip(b"\0"))
        raise BadBlock("bytes after a group are not zeros", head.size + at, 1, extent=len(block))
    hasher = sha256(block[:HEAD_BYTES])
    hasher.update(payload)
    group = GroupRecord(head.first_sequence, head.count, head.epoch, payload)
    return Block(group, len(block), hasher.digest())
