"""The fuzzer's target on its own seeds and on some thousand inputs; `make fuzz-journal` goes on."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.journal.decoding import KINDS, decode_anything, seeds

MUTATIONS = 3_000


def test_the_seeds_are_what_they_should_be() -> None:
    assert [decode_anything(seed) for seed in seeds()] == [True, True, False, True, True]


def test_changed_seeds_are_refused_or_are_what_was_written() -> None:
    chance = Random(1)
    accepted = 0
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(seeds()))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
        accepted += decode_anything(bytes(data))
    assert 0 < accepted < MUTATIONS


@settings(max_examples=300)
@given(st.integers(0, KINDS - 1), st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(kind: int, rest: bytes) -> None:
    decode_anything(bytes([kind]) + rest)
