"""The codec: what goes in comes out, damage is an error, and numpy reads the same layout."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.core.commands import COMMANDS, Advance, CancelOrder, Command, OpenAccount, decode
from exchange.core.records import HEAD, RECORD_BYTES_MAX, Record, RecordError, dtype, record_at
from tests.exchange.core.chaos import FIELD_SIZES, INTEGER_RANGES, field_codes
from tests.exchange.core.sizes import RECORD_EXAMPLES

KINDS = sorted(COMMANDS.values(), key=lambda kind: kind.KIND)


def field_values(code: str) -> st.SearchStrategy[Any]:
    if code in INTEGER_RANGES:
        return st.integers(*INTEGER_RANGES[code])
    if code in FIELD_SIZES:
        return st.binary(min_size=FIELD_SIZES[code], max_size=FIELD_SIZES[code])
    if code == "ints":
        return st.lists(st.integers(*INTEGER_RANGES["q"]), max_size=20).map(tuple)
    if code == "str":
        return st.text(st.characters(codec="utf-8"), max_size=40)
    return st.binary(max_size=200)


def records(kind: type[Record]) -> st.SearchStrategy[Record]:
    return st.builds(kind, **{n: field_values(c) for n, c in field_codes(kind).items()})


any_record = st.sampled_from(KINDS).flatmap(records)


@given(st.lists(any_record, max_size=5))
@settings(max_examples=RECORD_EXAMPLES)
def test_round_trip(group: list[Record]) -> None:
    assert decode(b"".join(record.encode() for record in group)) == group


@given(any_record, st.data())
@settings(max_examples=RECORD_EXAMPLES)
def test_a_cut_or_longer_record_is_an_error(record: Record, data: st.DataObject) -> None:
    encoded = record.encode()
    cut = encoded[: data.draw(st.integers(1, len(encoded) - 1))]
    with pytest.raises(RecordError):
        decode(cut)
    kind, _, length = HEAD.unpack_from(encoded)
    with pytest.raises(RecordError):
        decode(HEAD.pack(kind, 0, length + 1) + encoded[HEAD.size :] + b"\x00")


@given(st.lists(any_record, min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=RECORD_EXAMPLES)
def test_damage_is_another_record_or_an_error(group: list[Record], rng: random.Random) -> None:
    """Nothing but RecordError comes out; that damage is noticed at all is the journal's part."""
    damaged = bytearray(b"".join(record.encode() for record in group))
    for _ in range(rng.randint(1, 4)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    try:
        found = decode(bytes(damaged))
    except RecordError:
        return
    assert b"".join(record.encode() for record in found) == damaged


@given(st.binary(max_size=300))
def test_noise_is_an_error(noise: bytes) -> None:
    try:
        found = decode(noise)
    except RecordError:
        return
    assert b"".join(record.encode() for record in found) == noise


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_numpy_reads_the_fixed_part(kind: type[Record]) -> None:
    layout = dtype(kind)
    assert layout.itemsize == kind.layout().fixed.size
    rng = random.Random(kind.KIND)
    values: dict[str, Any] = {}
    for name, code in field_codes(kind).items():
        if code in INTEGER_RANGES:
            values[name] = rng.randint(*INTEGER_RANGES[code])
        elif code in FIELD_SIZES:
            values[name] = rng.randbytes(FIELD_SIZES[code])
        else:
            values[name] = {"ints": (1, 2), "str": "é", "bytes": b"abc"}[code]
    body = memoryview(kind(**values).encode())[HEAD.size :]
    row = np.frombuffer(body, dtype=layout, count=1)[0]
    sizes = {"ints": 16, "str": 2, "bytes": 3}
    for name, code in field_codes(kind).items():
        if code in FIELD_SIZES:
            assert row[name].tobytes() == values[name]
        else:
            assert row[name] == sizes.get(code, values[name])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_integer_field_refuses_what_does_not_fit(kind: type[Record]) -> None:
    plain = {"16s": bytes(16), "32s": bytes(32), "ints": (), "str": "", "bytes": b""}
    codes = field_codes(kind)
    values = {name: plain.get(code, 0) for name, code in codes.items()}
    kind(**values).encode()
    for name, code in codes.items():
        if code in INTEGER_RANGES:
            low, high = INTEGER_RANGES[code]
            wrong: list[Any] = [low - 1, high + 1, 0.5, None]
        elif code in FIELD_SIZES:
            wrong = [bytes(FIELD_SIZES[code] - 1), bytes(FIELD_SIZES[code] + 1), b""]
        elif code == "ints":
            wrong = [(2**63,), ("a",)]
        elif code == "str":
            wrong = ["\ud800"]
        else:
            wrong = [bytes(RECORD_BYTES_MAX + 1)]
        for value in wrong:
            with pytest.raises(RecordError):
                kind(**{**values, name: value}).encode()


def test_kinds_are_those_of_the_union_and_differ() -> None:
    assert set(COMMANDS.values()) == set(Command.__args__)
    assert all(number == kind.KIND for number, kind in COMMANDS.items())


def test_bytes_are_as_documented() -> None:
    encoded = OpenAccount(2, "né").encode()
    assert encoded == struct.pack("<HHI", 10, 0, 8) + struct.pack("<BI", 2, 3) + "né".encode()
    assert Advance(-2).encode() == struct.pack("<HHIq", 1, 0, 8, -2)


def test_unknown_kinds_and_flags_are_errors() -> None:
    with pytest.raises(RecordError, match="kind 999"):
        decode(HEAD.pack(999, 0, 0))
    with pytest.raises(RecordError, match="damaged"):
        decode(HEAD.pack(1, 1, 8) + bytes(8))
    with pytest.raises(RecordError, match="kind 257"):  # its low byte is a known kind
        decode(HEAD.pack(257, 0, 8) + bytes(8))
    with pytest.raises(RecordError, match="9 bytes, not 8"):
        decode(HEAD.pack(1, 0, 9) + bytes(9))


def test_lengths_are_bounded() -> None:
    longest = OpenAccount(1, "a" * (RECORD_BYTES_MAX - 5))
    assert decode(longest.encode()) == [longest]
    with pytest.raises(RecordError, match="RECORD_BYTES_MAX"):
        OpenAccount(1, longest.name + "a").encode()
    too_long = HEAD.pack(10, 0, RECORD_BYTES_MAX + 1) + bytes(RECORD_BYTES_MAX + 1)
    with pytest.raises(RecordError):
        record_at(memoryview(too_long), 0)


def test_text_must_be_text() -> None:
    body = struct.pack("<BI", 1, 1) + b"\xff"
    with pytest.raises(RecordError):
        decode(HEAD.pack(10, 0, len(body)) + body)


def test_a_short_id_is_not_padded() -> None:
    with pytest.raises(RecordError, match="client_order_id"):
        CancelOrder(1, 0, b"short").encode()
