"""Model cards: what is one, and that its bytes are canonical."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.metering.cards import (
    DIMENSION_MAX,
    INSTANT,
    SMOLLM2_135M,
    CardError,
    ModelCard,
    decode_card,
)

LLAMA = ("layers", "width", "heads", "kv_heads", "head_width", "ff_width", "vocabulary")


def changed(card: ModelCard, **changes: Any) -> bytes:
    return json.dumps({**json.loads(card.encode()), **changes}).encode()


@pytest.mark.parametrize("card", [SMOLLM2_135M, INSTANT], ids=lambda card: card.name)
def test_cards_round_trip(card: ModelCard) -> None:
    assert decode_card(card.encode()) == card
    assert card.digest() == hashlib.sha256(card.encode()).digest()


@pytest.mark.parametrize("card", [SMOLLM2_135M, INSTANT], ids=lambda card: card.name)
def test_the_bytes_are_canonical(card: ModelCard) -> None:
    plain = json.dumps(json.loads(card.encode()), sort_keys=True, separators=(",", ":"))
    assert card.encode() == plain.encode()


@pytest.mark.parametrize("field", [*LLAMA, "bytes_per_token_milli"])
@pytest.mark.parametrize("value", [0, -1, DIMENSION_MAX + 1, 2**64, 1.5, "1", None, True])
def test_dimensions_have_bounds(field: str, value: Any) -> None:
    with pytest.raises(CardError):
        decode_card(changed(SMOLLM2_135M, **{field: value}))


@pytest.mark.parametrize("field", LLAMA)
def test_the_largest_dimension_is_taken(field: str) -> None:
    card = decode_card(changed(SMOLLM2_135M, **{field: DIMENSION_MAX}))
    assert getattr(card, field) == DIMENSION_MAX


def test_a_token_covers_a_byte() -> None:
    with pytest.raises(CardError, match="covers a byte"):
        decode_card(changed(INSTANT, bytes_per_token_milli=999))


@pytest.mark.parametrize("family", ["llama", "instant"])
def test_each_family_needs_its_numbers(family: str) -> None:
    with pytest.raises(CardError):
        decode_card(b'{"name":"x","family":"%b"}' % family.encode())


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a\n", "a/b", "é", "a" * 65, 5])
def test_names_have_a_grammar(name: Any) -> None:
    with pytest.raises(CardError):
        decode_card(changed(INSTANT, name=name))


@pytest.mark.parametrize("name", ["a", "0", "a" * 64, "smollm2-135m", "a.b_c"])
def test_good_names(name: str) -> None:
    assert decode_card(changed(INSTANT, name=name)).name == name


@pytest.mark.parametrize("weights", ["x", "a" * 63, "A" * 64, "a" * 65, "a" * 64 + "\n"])
def test_the_weights_digest_is_one(weights: str) -> None:
    with pytest.raises(CardError):
        decode_card(changed(INSTANT, weights_sha256=weights))


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b"\xff", b'{"name":"x"}', b'{"family":"instant"}', b"[" * 60_000],
)
def test_what_is_no_card(data: bytes) -> None:
    with pytest.raises(CardError):
        decode_card(data)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(CardError, match="surprise"):
        decode_card(changed(INSTANT, surprise=1))


@given(st.binary(max_size=200))
def test_noise_is_no_card(data: bytes) -> None:
    with pytest.raises(CardError):
        decode_card(data)


def test_prompt_tokens() -> None:
    card = SMOLLM2_135M
    assert card.prompt_tokens_max(100) == 100 + 32 + 8
    assert card.prompt_tokens_max(100, messages=3) == 100 + 32 + 24
    assert card.prompt_tokens_usual(100) == 34 + 32 + 8
    assert card.prompt_tokens_usual(0) == 40
    assert all(card.prompt_tokens_usual(n) <= card.prompt_tokens_max(n) for n in range(100))
