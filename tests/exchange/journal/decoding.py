"""Any bytes as a journal: what the decoder may do with them. For the fuzzer and its small test.

The first byte of the input chooses what the rest is:

    0  the blocks of a segment, under a good header
    1  changes to a good journal: offset (2 bytes), new byte
    2  fields of heads whose checksums are made right, so that what lies behind them is reached
    3  fields of a header whose checksum is made right
"""

from __future__ import annotations

import struct
from functools import cache
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from exchange.journal import (
    FORMAT_VERSION,
    GroupRecord,
    JournalDamaged,
    JournalFollower,
    JournalMismatch,
)
from exchange.journal.format import (
    BLOCK_MAGIC,
    END_MARK,
    HEAD_BYTES,
    HEADER_BYTES,
    HEADER_MAGIC,
    SECTOR_BYTES,
    SegmentHeader,
    align,
    decode_head,
    decode_header,
    encode_block,
    encode_header,
)
from exchange.journal.segment import segment_path
from exchange.journal.simulated import SimulatedDisk
from exchange.journal.walk import JournalWalk, genesis_digest

FOLDER = Path("journal")
SEGMENT_BYTES = 8192
KINDS = 4
GOOD = SegmentHeader(
    FORMAT_VERSION, 3, 1, 1, SECTOR_BYTES, SEGMENT_BYTES, genesis_digest(b"x"), genesis_digest(b"x")
)
PAYLOADS = (b"x", bytes(600), b"head" + bytes(900) + b"tail")


def decode_anything(data: bytes) -> bool:
    """Read these bytes as a journal; whether it was taken as whole.

    Raises:
        AssertionError: something was accepted that was never written, or a refusal names no place.
    """
    kind, rest = data[:1], data[1:]
    content = (_raw, _changed, _heads, _header)[int.from_bytes(kind) % KINDS](rest)
    path = segment_path(FOLDER, GOOD.first_sequence)
    disk = SimulatedDisk()
    disk.open(path, create=True).pwrite(content, 0)
    try:
        walk = JournalWalk(disk, FOLDER)
        groups = list(walk.groups())
    except JournalDamaged as damage:
        return _check_refusal(damage, path)
    except JournalMismatch:
        return False
    _check_accepted(content, groups)
    used_bytes = walk.stats[0].used_bytes
    assert walk.position.next_sequence == GOOD.first_sequence + sum(g.count for g in groups)
    if walk.torn_tail is not None:
        assert walk.torn_tail.offset == used_bytes
        return False
    assert not any(content[used_bytes : walk.stats[0].segment_bytes])
    follower = JournalFollower(FOLDER, files=disk)
    assert follower.poll() == groups
    follower.close()
    return True


def _check_refusal(damage: JournalDamaged, path: Path) -> bool:
    assert damage.path == path
    assert damage.offset >= 0
    assert damage.length > 0
    assert damage.reason
    return False


def _check_accepted(content: bytes, groups: list[GroupRecord]) -> None:
    """What was accepted is, byte for byte, what writing it gives.

    But for the count of zero sectors, which only helps to judge a block that is not whole.
    """
    header = decode_header(content[:HEADER_BYTES])
    chain_hash, offset = header.previous_hash, HEADER_BYTES
    for group in groups:
        block, _ = encode_block(group, chain_hash, header.alignment)
        # The file may have been cut where the zeros begin.
        found = content[offset : offset + len(block)].ljust(len(block), b"\0")
        assert found[HEAD_BYTES:] == block[HEAD_BYTES:]
        head = decode_head(memoryview(found))
        written = decode_head(memoryview(block))
        assert head == written._replace(zero_sectors=head.zero_sectors)
        chain_hash = sha256(found[: HEAD_BYTES + head.payload_bytes]).digest()
        offset += len(block)


def _raw(data: bytes) -> bytes:
    return encode_header(GOOD) + data[: SEGMENT_BYTES - HEADER_BYTES]


def _changed(data: bytes) -> bytes:
    content = bytearray(_good_journal())
    for offset, byte in struct.iter_unpack("<HB", data[: len(data) // 3 * 3]):
        content[offset % len(content)] = byte
    return bytes(content)


def _heads(data: bytes) -> bytes:
    """Blocks of a few fuzzed fields each, chained as they should be or not."""
    blocks = []
    chain_hash = GOOD.previous_hash
    fields = struct.Struct("<IQIQIBH")
    for at in range(0, len(data) - fields.size + 1, fields.size):
        count, sequence, zeros, epoch, payload_bytes, flags, repeats = fields.unpack_from(data, at)
        payload = data[at : at + 64] * (repeats % 24)
        head = struct.pack(
            "<4sIQIQI8x32s",
            BLOCK_MAGIC,
            len(payload) if flags & 1 else payload_bytes,
            sequence % 8 if flags & 2 else sequence,
            count % 4 if flags & 4 else count,
            epoch % 4 if flags & 8 else epoch,
            zeros,
            chain_hash if flags & 16 else bytes(32),
        )
        head += struct.pack("<I4s", crc32(head), END_MARK)
        block = head + payload + struct.pack("<I4s", crc32(payload), END_MARK)
        blocks.append(block.ljust(align(len(block), SECTOR_BYTES), b"\0"))
        chain_hash = sha256(head + payload).digest()
    return encode_header(GOOD) + b"".join(blocks)[: SEGMENT_BYTES - HEADER_BYTES]


def _header(data: bytes) -> bytes:
    page = (HEADER_MAGIC + data[:112]).ljust(HEADER_BYTES - 4, b"\0")
    return page + struct.pack("<I", crc32(page)) + _good_journal()[HEADER_BYTES:]


@cache
def _good_journal() -> bytes:
    blocks = []
    chain_hash, sequence = GOOD.previous_hash, GOOD.first_sequence
    for payload in PAYLOADS:
        group = GroupRecord(sequence, 2, 1, payload)
        block, chain_hash = encode_block(group, chain_hash, SECTOR_BYTES)
        blocks.append(block)
        sequence = group.next_sequence
    return (encode_header(GOOD) + b"".join(blocks)).ljust(SEGMENT_BYTES, b"\0")


def seeds() -> list[bytes]:
    """Inputs to begin with: one of each kind that is accepted, where there is one."""
    good = _good_journal()
    head = struct.pack("<IQIQIBH", 2, 1, 0, 1, 0, 31, 3)
    return [
        b"\x00" + good[HEADER_BYTES:].rstrip(b"\0"),
        b"\x01",
        b"\x01" + struct.pack("<HB", HEADER_BYTES + 100, 7),
        b"\x02" + head + struct.pack("<IQIQIBH", 1, 3, 0, 1, 0, 31, 20),
        b"\x03" + good[len(HEADER_MAGIC) : 120],
    ]
