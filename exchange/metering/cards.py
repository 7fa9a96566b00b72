"""Model cards: the numbers from which a model's FLOPs follow.

A card is canonical JSON (sorted keys, no spaces); its SHA-256 is the `model_digest` of receipts.
The operator enters cards; nobody else can change what a FLOP of a model is.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import msgspec

from exchange.metering.adaptive import (
    EXPERTS_MAX,
    STEPS_MAX,
    AdaptiveShape,
)

DIMENSION_MAX: Final = 1 << 24
"""Largest single number of a card; keeps every product a small Python integer."""

NAME_PATTERN: Final = r"[a-z0-9][a-z0-9._-]{0,63}"


class CardError(ValueError):
    """The bytes are not a model card."""


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """One model's dimensions.

    family "llama": a dense decoder (Touvron et al. 2023) with grouped-query attention and a gated
    feed-forward layer. family "instant": a fixed number of FLOPs per token, for load tests. family
    "adaptive": `adaptive` holds its dimensions (`exchange.metering.adaptive`); only such a card has
    that field.

    `template_tokens` bounds what the chat template adds for a conversation, beside
    `message_tokens` for each message. `bytes_per_token_milli` is the usual length of a token, in
    thousandths of a byte: it sizes default budgets and run times and bounds nothing.
    """

    name: str
    family: Literal["llama", "instant", "adaptive"]
    weights_sha256: str = ""
    layers: int = 0
    width: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_width: int = 0
    ff_width: int = 0
    vocabulary: int = 0
    flops_per_token: int = 0
    template_tokens: int = 0
    message_tokens: int = 0
    bytes_per_token_milli: int = 1_000
    adaptive: AdaptiveShape | msgspec.UnsetType = msgspec.UNSET

    @property
    def shape(self) -> AdaptiveShape:
        """Dimensions of an adaptive model; only its card has them."""
        assert isinstance(self.adaptive, AdaptiveShape), f"{self.name} is not adaptive"
        return self.adaptive

    def encode(self) -> bytes:
        """Canonical JSON."""
        return msgspec.json.encode(self, order="sorted")

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON, 32 bytes."""
        return hashlib.sha256(self.encode()).digest()

    def prompt_tokens_max(self, payload_bytes: int, messages: int = 1) -> int:
        """Most tokens that a payload can become: a token covers at least one byte."""
        return payload_bytes + self.template_tokens + self.message_tokens * messages

    def prompt_tokens_usual(self, text_bytes: int, messages: int = 1) -> int:
        """How many tokens a text of this length usually becomes, rounded up."""
        body = -(-text_bytes * 1_000 // self.bytes_per_token_milli)
        return body + self.template_tokens + self.message_tokens * messages


def decode_card(data: bytes) -> ModelCard:
    """The card that these bytes hold.

    Raises:
        CardError: not JSON, unknown or missing fields, a dimension out of range.
    """
    try:
        card = msgspec.json.decode(data, type=ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CardError(f"not a model card: {error}") from error
    _check(card)
    return card


def _check(card: ModelCard) -> None:
    import re

    if not re.fullmatch(NAME_PATTERN, card.name):
        raise CardError(f"model name {card.name!r} does not match {NAME_PATTERN}")
    if not re.fullmatch(r"(?:[0-9a-f]{64})?", card.weights_sha256):
        raise CardError("weights_sha256 must be 64 hexadecimal digits, or empty")
    numbers = {f: getattr(card, f) for f in card.__struct_fields__}
    for field, value in numbers.items():
        if isinstance(value, int) and not 0 <= value <= DIMENSION_MAX:
            raise CardError(f"{field} must lie between 0 and {DIMENSION_MAX}, not {value}")
    needed = {
        "llama": ("layers", "width", "heads", "kv_heads", "head_width", "ff_width", "vocabulary"),
        "instant": ("flops_per_token",),
        "adaptive": (),
    }[card.family]
    for field in needed:
        if numbers[field] < 1:
            raise CardError(f"{field} must be at least 1 for family {card.family}")
    if (card.family == "adaptive") != isinstance(card.adaptive, AdaptiveShape):
        raise CardError("the field adaptive belongs to family adaptive, which needs it")
    if isinstance(card.adaptive, AdaptiveShape):
        _check_adaptive(card.adaptive)
    if card.bytes_per_token_milli < 1_000:
        raise CardError("bytes_per_token_milli must be at least 1000: a token covers a byte")


def _check_adaptive(shape: AdaptiveShape) -> None:
    for field, value in msgspec.structs.asdict(shape).items():
        if not 1 <= value <= DIMENSION_MAX:
            raise CardError(f"adaptive.{field} must lie between 1 and {DIMENSION_MAX}, not {value}")
    if shape.experts > EXPERTS_MAX or shape.experts_active > shape.experts:
        raise CardError(f"at most {EXPERTS_MAX} experts, and no more active than there are")
    if shape.steps_max > STEPS_MAX:
        raise CardError(f"adaptive.steps_max must be at most {STEPS_MAX}")


SMOLLM2_135M: Final = ModelCard(
    name="smollm2-135m",
    family="llama",
    weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    head_width=64,
    ff_width=1_536,
    vocabulary=49_152,
    template_tokens=32,
    message_tokens=8,
    bytes_per_token_milli=3_000,
)
"""SmolLM2-135M-Instruct in the Q4_1 GGUF form (Apache-2.0); quantising changes no FLOP count."""

INSTANT: Final = ModelCard(name="instant", family="instant", flops_per_token=1_000_000)
"""The instant engine's card: one MFLOP per token."""
