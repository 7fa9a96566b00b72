"""The link's bytes: frames of a length, a kind, a call's number and a payload.

Both ends are of one installation, so there is one version, and another is refused. What comes over
the link is believed no more than what comes from outside: a frame that is too long, of no known
kind, or that cannot be read ends the link with `LinkError`.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple, TypeVar

import msgspec

from exchange.rpc.calls import MESSAGE_BYTES_MAX
from exchange.rpc.errors import Code, RpcError

VERSION: Final = 2
HEADER: Final = struct.Struct("<IBI")
"""Bytes of payload, kind, number of the call (0: of none)."""
PAYLOAD_BYTES_MAX: Final = 2 * MESSAGE_BYTES_MAX
"""Longest payload: the longest response."""
CALL_MAX: Final = (1 << 32) - 1
"""Numbers of calls end here; a gateway that has made so many is started anew."""

_COUNT: Final = struct.Struct("<I")


class LinkError(Exception):
    """The other end does not keep to the protocol: the link must be closed."""


class Kind(enum.IntEnum):
    """What a frame says."""

    HELLO = 1
    """Engine's first: version and the gateway's settings."""
    READY = 2
    """Gateway's first: where it listens."""
    FAILED = 3
    """Or: why it cannot start."""
    OPEN = 4
    """Gateway: a call begins; its number is one more than the last one's."""
    MESSAGE = 5
    """A request, or a response."""
    HALF_CLOSE = 6
    """Gateway: no more requests follow."""
    CANCEL = 7
    """Gateway: the caller has gone."""
    END = 8
    """Engine: the call is over."""
    CREDIT = 9
    """So many more bytes may be sent."""
    DRAIN = 10
    """Engine: new work is refused from now on."""
    STOP = 11
    """Engine: end, after so many milliseconds at most."""
    ASK = 12
    """Gateway: OPEN, its only MESSAGE and HALF_CLOSE in one, for a call that takes one request."""
    ANSWER = 13
    """Engine: what an ASK has as its only MESSAGE, and that the call ended well."""


_KINDS: Final = frozenset(int(kind) for kind in Kind)


class Frame(NamedTuple):
    """One frame."""

    kind: int
    call: int
    payload: bytes


class Opening(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What OPEN carries; `left_s` is None where the call has no deadline."""

    method: str
    metadata: dict[str, str]
    left_s: float | None


class Asking(Opening, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What ASK carries: an opening, and the request."""

    request: bytes


class Ending(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What END carries: as `RpcError`, with code 0 where all is well."""

    code: int = 0
    reason: str = ""
    message: str = ""
    metadata: dict[str, str] = {}
    retry_after_ns: int = 0

    @classmethod
    def of(cls, error: RpcError) -> Ending:
        """The end by an error."""
        return cls(
            int(error.code), error.reason, error.message, error.metadata, error.retry_after_ns
        )

    def error(self) -> RpcError | None:
        """The error; None where all is well.

        Raises:
            LinkError: there is no such status.
        """
        if not self.code:
            return None
        try:
            code = Code(self.code)
        except ValueError as error:
            raise LinkError(f"no status {self.code}") from error
        return RpcError(code, self.reason, self.message, self.metadata, self.retry_after_ns)


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What HELLO carries; `settings` is for the gateway alone to read."""

    version: int
    settings: bytes


class Ready(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What READY carries: host:port of gRPC and of HTTP, the latter empty without it."""

    address: str
    http_address: str


OPENING: Final = msgspec.msgpack.Decoder(Opening)
ASKING: Final = msgspec.msgpack.Decoder(Asking)
ENDING: Final = msgspec.msgpack.Decoder(Ending)
HELLO: Final = msgspec.msgpack.Decoder(Hello)
READY: Final = msgspec.msgpack.Decoder(Ready)
_ENCODER: Final = msgspec.msgpack.Encoder()

B = TypeVar("B")


def pack(body: msgspec.Struct) -> bytes:
    """A body's payload."""
    return _ENCODER.encode(body)


def unpack(decoder: msgspec.msgpack.Decoder[B], payload: bytes) -> B:
    """A payload's body.

    Raises:
        LinkError: the payload is none.
    """
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LinkError(f"a payload cannot be read: {error}") from error


def count(value: int) -> bytes:
    """The payload of CREDIT and STOP."""
    return _COUNT.pack(value)


def read_count(payload: bytes) -> int:
    """What `count` packed.

    Raises:
        LinkError: the payload is none.
    """
    if len(payload) != _COUNT.size:
        raise LinkError(f"a count of {len(payload)} bytes")
    value: int = _COUNT.unpack(payload)[0]
    return value


def header(kind: Kind, call: int, payload_bytes: int) -> bytes:
    """What stands before a payload."""
    return HEADER.pack(payload_bytes, kind, call)


class FrameDecoder:
    """Makes frames of bytes as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete with these bytes.

        Raises:
            LinkError: the bytes are no frames; nothing that follows can be read any more.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at, size = 0, len(buffer)
        while size - at >= HEADER.size:
            payload_bytes, kind, call = HEADER.unpack_from(buffer, at)
            if payload_bytes > PAYLOAD_BYTES_MAX:
                raise LinkError(f"a payload of {payload_bytes} bytes")
            if kind not in _KINDS:
                raise LinkError(f"no kind of frame is {kind}")
            end = at + HEADER.size + payload_bytes
            if end > size:
                break
            frames.append(Frame(kind, call, bytes(buffer[at + HEADER.size : end])))
            at = end
        del buffer[:at]
        return frames

    def check(self) -> None:
        """Assert that less than one frame waits, and that it will be one."""
        buffer = self._buffer
        if len(buffer) >= HEADER.size:
            payload_bytes, kind, _ = HEADER.unpack_from(buffer)
            assert kind in _KINDS
            assert len(buffer) - HEADER.size < payload_bytes <= PAYLOAD_BYTES_MAX
