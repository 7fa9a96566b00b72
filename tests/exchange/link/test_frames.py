"""The link's bytes: every frame comes back as it was, however it was cut; all else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.link.frames import (
    ENDING,
    HEADER,
    OPENING,
    PAYLOAD_BYTES_MAX,
    Ending,
    Frame,
    FrameDecoder,
    Kind,
    LinkError,
    Opening,
    count,
    pack,
    read_count,
    unpack,
)
from exchange.rpc.errors import Code, RpcError
from tests.exchange.link.decoding import body_of, decode_anything, encode, frames_of, seeds

FRAMES = st.lists(
    st.builds(
        Frame, st.sampled_from([int(k) for k in Kind]), st.integers(0, 2**32 - 1), st.binary()
    ),
    max_size=8,
)


@given(FRAMES, st.lists(st.integers(0, 200), max_size=5))
def test_frames_come_back_however_they_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(Kind(f.kind), f.call, f.payload) for f in frames)
    assert frames_of(data, cuts) == frames


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    decode_anything(data)


@given(st.sampled_from(seeds()), st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_byte_is_another_frame_or_refused(seed: bytes, at: int, flip: int) -> None:
    damaged = bytearray(seed)
    damaged[at % len(seed)] ^= flip
    decode_anything(bytes(damaged))


def test_every_kind_has_a_seed() -> None:
    frames = frames_of(seeds()[0], []) or []
    assert {frame.kind for frame in frames} == set(Kind)
    assert all(body_of(frame) is not None for frame in frames)


def test_the_longest_payload_is_taken_and_one_more_byte_is_not() -> None:
    data = bytes(PAYLOAD_BYTES_MAX)
    (frame,) = FrameDecoder().feed(encode(Kind.MESSAGE, 1, data))
    assert frame.payload == data
    with pytest.raises(LinkError, match="payload"):
        FrameDecoder().feed(HEADER.pack(PAYLOAD_BYTES_MAX + 1, Kind.MESSAGE, 1))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(LinkError, match="kind"):
        FrameDecoder().feed(HEADER.pack(0, 99, 1))


@given(
    st.sampled_from([code for code in Code if code]),
    st.text(),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.integers(0, 2**62),
)
def test_an_error_comes_back_as_it_was(
    code: Code, message: str, metadata: dict[str, str], retry_after_ns: int
) -> None:
    error = RpcError(code, "REASON", message, metadata, retry_after_ns)
    again = unpack(ENDING, pack(Ending.of(error))).error()
    assert again is not None
    assert again.details() == error.details()
    assert (again.code, again.message) == (error.code, error.message)


def test_bodies_that_are_none() -> None:
    assert unpack(ENDING, pack(Ending())).error() is None
    with pytest.raises(LinkError, match="status"):
        Ending(code=99).error()
    for payload in (b"", b"\xc0", pack(Ending()), pack(Opening("m", {}, None)) + b"x"):
        with pytest.raises(LinkError):
            unpack(OPENING, payload)
    with pytest.raises(LinkError, match="count"):
        read_count(b"123")
    assert read_count(count(2**32 - 1)) == 2**32 - 1
