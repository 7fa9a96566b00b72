"""The details of a failed call: a small reader of `google.rpc.Status` and what it carries.

The base installation has no googleapis-common-protos, and three messages do not need it. What
cannot be read counts as absent: a proxy on the way may send anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

DETAILS_KEY: Final = "grpc-status-details-bin"
_VARINT_BYTES_MAX: Final = 10
_ERROR_INFO: Final = b"google.rpc.ErrorInfo"
_RETRY_INFO: Final = b"google.rpc.RetryInfo"
_FIXED_BYTES: Final = {1: 8, 5: 4}

Value = int | bytes


@dataclass(frozen=True, slots=True)
class Details:
    """What an error says beside its code and message.

    Attributes:
        reason: Upper snake case; empty where the error has none.
        domain: Who defines the reason.
        metadata: The dynamic parts of the message, for programs.
        retry_after_s: Repeat after this many seconds; None where repeating was not suggested.
    """

    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None


def decode_details(data: bytes) -> Details:
    """Read a serialized google.rpc.Status; an empty `Details` where it cannot be read."""
    reason = domain = ""
    metadata: dict[str, str] = {}
    retry_after_s: float | None = None
    try:
        for kind, value in _details(data):
            if kind == _ERROR_INFO:
                reason, domain, metadata = _error_info(value)
            elif kind == _RETRY_INFO:
                retry_after_s = _retry_info(value)
    except (ValueError, IndexError):
        return Details()
    return Details(reason, domain, metadata, retry_after_s)


def _details(status: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type name and bytes of each detail."""
    for number, packed in _fields(status):
        if number == 3 and isinstance(packed, bytes):
            inner = dict(_fields(packed))
            kind, value = inner.get(1, b""), inner.get(2, b"")
            if isinstance(kind, bytes) and isinstance(value, bytes):
                yield kind.rpartition(b"/")[2], value


def _error_info(data: bytes) -> tuple[str, str, dict[str, str]]:
    texts = {1: "", 2: ""}
    metadata: dict[str, str] = {}
    for number, value in _fields(data):
        if isinstance(value, bytes) and number in texts:
            texts[number] = value.decode()
        elif isinstance(value, bytes) and number == 3:
            entry = dict(_fields(value))
            key, text = entry.get(1, b""), entry.get(2, b"")
            if isinstance(key, bytes) and isinstance(text, bytes):
                metadata[key.decode()] = text.decode()
    return texts[1], texts[2], metadata


def _retry_info(data: bytes) -> float | None:
    delay = dict(_fields(data)).get(1)
    if not isinstance(delay, bytes):
        return None
    parts = dict(_fields(delay))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        return None
    # A negative varint reads as a number beyond any sensible delay.
    return None if seconds >> 63 or nanos >> 63 else seconds + nanos / 1e9


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field, in the protobuf wire format.

    Raises:
        ValueError: the bytes are none.
        IndexError: the bytes end too early.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire_type = tag & 7
        if wire_type == 0:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        if wire_type == 2:
            size, at = _varint(data, at)
        elif wire_type in _FIXED_BYTES:
            size = _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"wire type {wire_type}")
        if at + size > len(data):
            raise ValueError("cut short")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at this place, and the place after it."""
    value = 0
    for position in range(_VARINT_BYTES_MAX):
        byte = data[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise ValueError("a varint without end")
