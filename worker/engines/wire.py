"""What a worker and its engine's child process say to each other over pipes.

A frame is a little-endian length of four bytes and a MessagePack struct with its type's name.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

FRAME_BYTES_MAX: Final = 8 << 20
"""Longest frame; a prompt of the largest payload fits."""
LENGTH: Final = struct.Struct("<I")


class FrameError(Exception):
    """The bytes are not a frame of this protocol."""


class Load(msgspec.Struct, tag=True, frozen=True):
    """First: load these weights; the child's socket goes into `directory`, which is private.

    `fast`: tokens that followed the same words earlier are drafted and checked several at a time.
    """

    gguf: str
    directory: str
    threads: int
    context_tokens: int
    fast: bool = False


class Prepare(msgspec.Struct, tag=True, frozen=True):
    """Apply the model's chat template (or take the prompt as it is) and count the tokens."""

    messages: tuple[tuple[str, str], ...]
    prompt: str


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Run the prepared prompt and give at most `output_tokens`, the last one included."""

    output_tokens: int
    seed: int
    temperature_milli: int


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Stop after the present token."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The model is loaded."""


class Prepared(msgspec.Struct, tag=True, frozen=True):
    """The prompt's length in tokens."""

    prompt_tokens: int


class Progress(msgspec.Struct, tag=True, frozen=True):
    """This many tokens of the prompt have been read."""

    prompt_tokens: int


class Given(msgspec.Struct, tag=True, frozen=True):
    """New text, and how many tokens have been given so far in this run."""

    text: str
    tokens_so_far: int


class Ended(msgspec.Struct, tag=True, frozen=True):
    """The run is over, by the engine's own counters.

    `finished`: the model ended its answer. `stopped`: it was told to. `positions`: tokens that
    went through the model, those of the prompt included. `refused`: drafted tokens that the model
    was made to check and did not want; they are in no other number.
    """

    finished: bool
    stopped: bool
    prompt_tokens: int
    tokens: int
    positions: int
    refused: int = 0


class Broken(msgspec.Struct, tag=True, frozen=True):
    """The request or the engine failed."""

    detail: str


ToChild = Load | Prepare | Generate | Stop
FromChild = Ready | Prepared | Progress | Given | Ended | Broken

_encoder: Final = msgspec.msgpack.Encoder()
_to_child: Final = msgspec.msgpack.Decoder(ToChild)
_from_child: Final = msgspec.msgpack.Decoder(FromChild)


def encode(message: ToChild | FromChild) -> bytes:
    """A frame.

    Raises:
        FrameError: it would be longer than FRAME_BYTES_MAX.
    """
    body = _encoder.encode(message)
    check_length(len(body))
    return LENGTH.pack(len(body)) + body


def check_length(length: int) -> None:
    """Refuse a frame that is too long.

    Raises:
        FrameError: it is.
    """
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are taken")


def decode_to_child(body: bytes) -> ToChild:
    """The message in a frame's body.

    Raises:
        FrameError: it is none.
    """
    try:
        message: ToChild = _to_child.decode(body)
    except msgspec.DecodeError as error:
        raise FrameError(str(error)) from error
    return message


def decode_from_child(body: bytes) -> FromChild:
    """The message in a frame's body.

    Raises:
        FrameError: it is none.
    """
    try:
        message: FromChild = _from_child.decode(body)
    except msgspec.DecodeError as error:
        raise FrameError(str(error)) from error
    return message
