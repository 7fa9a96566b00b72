"""The bytes of a group of receipts, and of an entry of the index."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from exchange.receipts.errors import ReceiptInvalid

RECEIPT_BYTES_MAX: Final = 1 << 20
BATCH_BYTES_MAX: Final = 4 << 20
BATCH_RECEIPTS_MAX: Final = 256
# 16 bytes each in the index, which then stays within the largest file of a common file system.
LEASE_ID_MAX: Final = (1 << 38) - 1
ENTRY_BYTES: Final = 16

_RECORD: Final = struct.Struct("<QQI")
_ENTRY: Final = struct.Struct("<QI")
_CRC: Final = struct.Struct("<I")
_EMPTY_ENTRY: Final = bytes(ENTRY_BYTES)


class Receipt(NamedTuple):
    """What is kept about one lease.

    Attributes:
        lease_id: From 1.
        time_ns: When it came in, nanoseconds since the epoch; the retention counts from it.
        content: The signed bytes and the signature, or whatever the caller has.
    """

    lease_id: int
    time_ns: int
    content: bytes


class Place(NamedTuple):
    """Where a receipt's group lies: the segment that begins with a number, and the offset in it."""

    segment: int
    offset: int


def record_bytes(content_bytes: int) -> int:
    """What a receipt takes in its group, in bytes."""
    return _RECORD.size + content_bytes


def check_batch(receipts: Sequence[Receipt]) -> None:
    """Raise ReceiptInvalid unless these can be stored together."""
    if not 0 < len(receipts) <= BATCH_RECEIPTS_MAX:
        raise ReceiptInvalid(f"a batch has 1 to {BATCH_RECEIPTS_MAX} receipts, not {len(receipts)}")
    for receipt in receipts:
        if not 0 < receipt.lease_id <= LEASE_ID_MAX:
            raise ReceiptInvalid(f"lease {receipt.lease_id} is outside 1 to {LEASE_ID_MAX}")
        if len(receipt.content) > RECEIPT_BYTES_MAX:
            raise ReceiptInvalid(
                f"the receipt of lease {receipt.lease_id} has {len(receipt.content)} bytes, more "
                f"than {RECEIPT_BYTES_MAX}"
            )
    if sum(record_bytes(len(receipt.content)) for receipt in receipts) > BATCH_BYTES_MAX:
        raise ReceiptInvalid(f"a batch has at most {BATCH_BYTES_MAX} bytes")


def encode_receipts(receipts: Sequence[Receipt]) -> bytes:
    """The payload of a group."""
    parts = []
    for lease_id, time_ns, content in receipts:
        parts += [_RECORD.pack(lease_id, time_ns, len(content)), content]
    return b"".join(parts)


def decode_receipts(payload: bytes) -> Iterator[Receipt]:
    """The receipts of a group whose checksum is right."""
    at = 0
    while at < len(payload):
        lease_id, time_ns, size = _RECORD.unpack_from(payload, at)
        at += _RECORD.size
        yield Receipt(lease_id, time_ns, payload[at : at + size])
        at += size


def encode_entry(key: int, place: Place) -> bytes:
    """An entry of the index; its checksum covers the key that it is stored under."""
    raw = _ENTRY.pack(*place)
    return raw + _CRC.pack(_checksum(key, raw))


def decode_entry(key: int, raw: bytes) -> Place | None:
    """An entry of the index; None where there is none.

    Raises:
        ValueError: It is not what was written.
    """
    if raw in (b"", _EMPTY_ENTRY):
        return None
    if len(raw) != ENTRY_BYTES or _CRC.unpack_from(raw, _ENTRY.size)[0] != _checksum(
        key, raw[: _ENTRY.size]
    ):
        raise ValueError("an entry of the index does not match its checksum")
    return Place(*_ENTRY.unpack_from(raw))


def _checksum(key: int, raw: bytes) -> int:
    return crc32(raw, crc32(key.to_bytes(8, "little")))
