"""FLOPs against a count by doing the arithmetic, and what a budget can buy."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exchange.metering.cards import INSTANT, SMOLLM2_135M, ModelCard
from exchange.metering.traces import (
    TOKENS_MAX,
    DenseTrace,
    TraceError,
    decode_trace,
    flops,
    flops_worst,
    tokens_affordable,
)

Matrix = NDArray[np.float64]

TINY = ModelCard(
    name="tiny",
    family="llama",
    layers=2,
    width=12,
    heads=4,
    kv_heads=2,
    head_width=3,
    ff_width=20,
    vocabulary=31,
)


class CountedLlama:
    """A llama-shaped decoder whose every matrix product is done and counted.

    It shares no formula with the meter: it keeps a cache of keys and values, feeds one position at
    a time, asks for the vocabulary only where a token is sampled, and adds up the multiply-adds of
    the products as numpy sees their shapes.
    """

    def __init__(self, card: ModelCard, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.card = card
        self.multiply_adds = 0
        wide, narrow = card.heads * card.head_width, card.kv_heads * card.head_width
        shapes = {
            "query": (card.width, wide),
            "key": (card.width, narrow),
            "value": (card.width, narrow),
            "output": (wide, card.width),
            "gate": (card.width, card.ff_width),
            "up": (card.width, card.ff_width),
            "down": (card.ff_width, card.width),
        }
        self.layers = [
            {name: rng.normal(size=shape) for name, shape in shapes.items()}
            for _ in range(card.layers)
        ]
        self.embedding = rng.normal(size=(card.vocabulary, card.width))
        self.cache: list[list[tuple[Matrix, Matrix]]] = [[] for _ in range(card.layers)]

    def product(self, left: Matrix, right: Matrix) -> Matrix:
        self.multiply_adds += left.shape[0] * left.shape[1] * right.shape[1]
        return left @ right

    def feed(self, token: int, sampled: bool) -> int:
        """One position through all layers; the next token where one is sampled."""
        hidden = self.embedding[token][np.newaxis, :]
        for weights, cache in zip(self.layers, self.cache, strict=True):
            hidden = hidden + self.attend(hidden, weights, cache)
            gate = self.product(hidden, weights["gate"])
            up = self.product(hidden, weights["up"])
            hidden = hidden + self.product(np.tanh(gate) * up, weights["down"])
            hidden = hidden / np.linalg.norm(hidden)
        if not sampled:
            return 0
        return int(self.product(hidden, self.embedding.T).argmax())

    def attend(
        self, hidden: Matrix, weights: dict[str, Matrix], cache: list[tuple[Matrix, Matrix]]
    ) -> Matrix:
        card = self.card
        query = self.product(hidden, weights["query"]).reshape(card.heads, card.head_width)
        key = self.product(hidden, weights["key"]).reshape(card.kv_heads, card.head_width)
        value = self.product(hidden, weights["value"]).reshape(card.kv_heads, card.head_width)
        cache.append((key, value))
        found = []
        for head in range(card.heads):
            shared = head * card.kv_heads // card.heads
            keys = np.stack([k[shared] for k, _ in cache])
            values = np.stack([v[shared] for _, v in cache])
            scores = self.product(query[head][np.newaxis, :], keys.T)
            found.append(self.product(np.exp(scores) / np.exp(scores).sum(), values))
        return self.product(np.concatenate(found, axis=1), weights["output"])

    def run(self, trace: DenseTrace) -> int:
        """Prefill and decode; the FLOPs done."""
        token = 0
        for position in range(trace.prompt_tokens):
            token = self.feed(position % self.card.vocabulary, position + 1 == trace.prompt_tokens)
        for _ in range(trace.decode_steps):
            token = self.feed(token, sampled=True)
        return 2 * self.multiply_adds


@pytest.mark.parametrize(
    "trace",
    [DenseTrace(p, d) for p in (1, 2, 7, 16) for d in (0, 1, 9)] + [DenseTrace(0, 0)],
)
def test_flops_are_those_of_the_matrix_products(trace: DenseTrace) -> None:
    assert CountedLlama(TINY).run(trace) == flops(TINY, trace)


@given(
    st.builds(
        ModelCard,
        name=st.just("any"),
        family=st.just("llama"),
        layers=st.integers(1, 3),
        width=st.integers(1, 9),
        heads=st.sampled_from((2, 4)),
        kv_heads=st.sampled_from((1, 2)),
        head_width=st.integers(1, 5),
        ff_width=st.integers(1, 9),
        vocabulary=st.integers(1, 9),
    ),
    st.integers(1, 6),
    st.integers(0, 6),
)
@settings(max_examples=60)
def test_flops_of_any_llama_shape(card: ModelCard, prompt: int, steps: int) -> None:
    trace = DenseTrace(prompt, steps)
    assert CountedLlama(card).run(trace) == flops(card, trace)


def test_the_first_models_weights_are_the_cards() -> None:
    """One position costs twice the weights, the tied embedding included, and its attention."""
    card = SMOLLM2_135M
    weights = 134_515_008  # parameters of SmolLM2-135M, norms included
    norms = (2 * card.layers + 1) * card.width
    attention = 4 * card.layers * card.heads * card.head_width
    assert flops(card, DenseTrace(1, 0)) == 2 * (weights - norms) + attention


@given(st.integers(1, 10**4), st.integers(0, 10**4))
def test_a_decoded_token_costs_at_least_a_prefilled_one(prompt: int, steps: int) -> None:
    decoded = flops(SMOLLM2_135M, DenseTrace(prompt, steps + 1))
    prefilled = flops(SMOLLM2_135M, DenseTrace(prompt + 1, steps))
    assert decoded - prefilled == 2 * SMOLLM2_135M.width * SMOLLM2_135M.vocabulary


def test_instant_costs_per_token() -> None:
    assert flops(INSTANT, DenseTrace(3, 4)) == 7 * INSTANT.flops_per_token
    assert flops(INSTANT, DenseTrace(0, 0)) == 0


@pytest.mark.parametrize("card", [TINY, SMOLLM2_135M, INSTANT], ids=lambda card: card.name)
@pytest.mark.parametrize("prompt", [1, 2, 50, 2_000])
@pytest.mark.parametrize("tokens", [1, 2, 3, 100, 1_000_000])
def test_a_budget_buys_exactly_what_it_covers(card: ModelCard, prompt: int, tokens: int) -> None:
    worst = flops_worst(card, prompt, tokens)
    assert tokens_affordable(card, prompt, worst) == tokens
    assert tokens_affordable(card, prompt, worst - 1) == tokens - 1
    assert tokens_affordable(card, prompt, worst + 1) == tokens


def test_a_budget_without_a_prompt_or_of_nothing_buys_nothing() -> None:
    assert tokens_affordable(TINY, 0, 10**18) == 0
    assert tokens_affordable(TINY, 1, 0) == 0
    assert tokens_affordable(TINY, 1, -1) == 0


def test_the_most_that_a_budget_buys_is_bounded() -> None:
    assert tokens_affordable(INSTANT, 1, 10**40) == TOKENS_MAX


@given(st.integers(0, TOKENS_MAX), st.integers(0, TOKENS_MAX))
def test_traces_round_trip(prompt: int, steps: int) -> None:
    trace = DenseTrace(prompt, steps if prompt else 0)
    assert decode_trace(trace.encode()) == trace


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DenseTrace(1, 1).encode()[:-1],
        DenseTrace(1, 1).encode() + b"\x00",
        b"DNS2" + DenseTrace(1, 1).encode()[4:],
        DenseTrace(TOKENS_MAX + 1, 0).encode(),
        DenseTrace(1, TOKENS_MAX + 1).encode(),
        DenseTrace(0, 1).encode(),
    ],
)
def test_what_is_no_trace(data: bytes) -> None:
    with pytest.raises(TraceError):
        decode_trace(data)


@given(st.binary(max_size=20))
def test_noise_is_no_trace(data: bytes) -> None:
    with suppress(TraceError):
        assert decode_trace(data).encode() == data


def test_tokens_given_count_the_prefills_own() -> None:
    assert [DenseTrace(0, 0).tokens_given, DenseTrace(5, 0).tokens_given] == [0, 1]
    assert DenseTrace(5, 3).tokens_given == 4
