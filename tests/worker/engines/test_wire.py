from __future__ import annotations

import pytest

from worker.engines import wire


@pytest.mark.parametrize(
    "message",
    [
        wire.Load("a.gguf", "d", 2, 8_192),
        wire.Prepare((("user", "hé"),), ""),
        wire.Generate(5, 2**64 - 1, 700),
        wire.Stop(),
    ],
)
def test_what_the_parent_says_arrives(message: wire.ToChild) -> None:
    frame = wire.encode(message)
    assert wire.LENGTH.unpack(frame[: wire.LENGTH.size]) == (len(frame) - wire.LENGTH.size,)
    assert wire.decode_to_child(frame[wire.LENGTH.size :]) == message


@pytest.mark.parametrize(
    "message",
    [
        wire.Ready(),
        wire.Prepared(3),
        wire.Progress(2),
        wire.Given("😀", 3),
        wire.Ended(True, False, 3, 4, 6),
        wire.Broken("why"),
    ],
)
def test_what_the_child_says_arrives(message: wire.FromChild) -> None:
    assert wire.decode_from_child(wire.encode(message)[wire.LENGTH.size :]) == message


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x81\xa4type\xa4Evil", b"\xc1"])
def test_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(wire.FrameError):
        wire.decode_from_child(body)
    with pytest.raises(wire.FrameError):
        wire.decode_to_child(body)


def test_frames_have_a_longest_length() -> None:
    text = "x" * wire.FRAME_BYTES_MAX
    with pytest.raises(wire.FrameError, match=str(wire.FRAME_BYTES_MAX)):
        wire.encode(wire.Given(text, 1))
    with pytest.raises(wire.FrameError):
        wire.check_length(wire.FRAME_BYTES_MAX + 1)
    wire.check_length(wire.FRAME_BYTES_MAX)
