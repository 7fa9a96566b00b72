"""What must hold when the link's decoders are given any bytes: for the tests and for the fuzzer."""

from __future__ import annotations

from exchange.link.frames import (
    ASKING,
    ENDING,
    HELLO,
    OPENING,
    READY,
    Asking,
    Ending,
    Frame,
    FrameDecoder,
    Hello,
    Kind,
    LinkError,
    Opening,
    Ready,
    count,
    header,
    pack,
    read_count,
    unpack,
)
from exchange.rpc.errors import busy


def encode(kind: Kind, call: int, payload: bytes = b"") -> bytes:
    return header(kind, call, len(payload)) + payload


def frames_of(data: bytes, cuts: list[int]) -> list[Frame] | None:
    """The frames of bytes that come in pieces; None where they are no frames."""
    decoder, frames, last = FrameDecoder(), list[Frame](), 0
    try:
        for cut in (*sorted(cuts), len(data)):
            frames += decoder.feed(data[last:cut])
            decoder.check()
            last = max(last, cut)
    except LinkError:
        return None
    return frames


def decode_anything(data: bytes) -> None:
    """Frames do not depend on how the bytes came, and bodies are read or refused."""
    whole = frames_of(data, [])
    if len(data) > 1:
        assert frames_of(data, [1, len(data) // 2]) == whole
    for frame in whole or ():
        assert frame.kind in set(Kind)
        body_of(frame)


def body_of(frame: Frame) -> object:
    """A frame's body; None where it is refused."""
    decoders = {
        Kind.OPEN: OPENING,
        Kind.ASK: ASKING,
        Kind.END: ENDING,
        Kind.HELLO: HELLO,
        Kind.READY: READY,
    }
    try:
        if frame.kind in (Kind.CREDIT, Kind.STOP):
            return read_count(frame.payload)
        if frame.kind not in decoders:
            return frame.payload
        found: object = unpack(decoders[Kind(frame.kind)], frame.payload)  # type: ignore[arg-type]
        if isinstance(found, Ending):
            found.error()
    except LinkError:
        return None
    return found


def seeds() -> list[bytes]:
    """A stream of every kind of frame, and each alone."""
    opening = pack(Opening("/exchange.v1.OrderService/Trade", {"authorization": "x"}, 1.5))
    asking = pack(Asking("/exchange.v1.OrderService/PlaceOrder", {}, None, b"bytes"))
    frames = [
        encode(Kind.HELLO, 0, pack(Hello(1, b"{}"))),
        encode(Kind.READY, 0, pack(Ready("127.0.0.1:1", ""))),
        encode(Kind.OPEN, 1, opening),
        encode(Kind.MESSAGE, 1, b"bytes"),
        encode(Kind.HALF_CLOSE, 1),
        encode(Kind.CREDIT, 1, count(70_000)),
        encode(Kind.END, 1, pack(Ending.of(busy("full")))),
        encode(Kind.CANCEL, 2),
        encode(Kind.DRAIN, 0),
        encode(Kind.STOP, 0, count(5_000)),
        encode(Kind.FAILED, 0, b"no"),
        encode(Kind.ASK, 3, asking),
        encode(Kind.ANSWER, 3, b"bytes"),
    ]
    return [b"".join(frames), *frames]
