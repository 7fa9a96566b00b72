"""The fuzzer's target on its seeds and on some thousand inputs; `make fuzz-requests` goes on."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.rpc.decoding import DECODERS, decode_anything, seeds

MUTATIONS = 10_000


def test_the_seeds_are_taken_and_reach_every_decoder() -> None:
    assert [seed for seed in seeds() if not decode_anything(seed)] == []
    assert {seed[0] for seed in seeds()} == set(range(len(DECODERS)))


def test_changed_seeds_are_taken_or_refused() -> None:
    chance = Random(1)
    inputs = seeds()
    taken = 0
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(inputs))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(1, len(data) + 1)
            data[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
        taken += decode_anything(bytes(data))
    assert 0 < taken < MUTATIONS


@settings(max_examples=300)
@given(st.integers(0, len(DECODERS) - 1), st.binary(max_size=400))
def test_any_bytes_are_taken_or_refused(kind: int, rest: bytes) -> None:
    decode_anything(bytes([kind]) + rest)
