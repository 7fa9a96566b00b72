"""Decision traces, and FLOPs as an integer function of them.

FLOPs = 2 x the multiply-adds of every matrix product that the request needs: projections,
attention scores and values at the causal shapes, feed-forward, language-model head. Element-wise
work, norms, softmax and look-ups count nothing. Padding and what an implementation computes beside
the need are not billed. Dense models are metered here, the adaptive model in
`exchange.metering.adaptive`; the functions below take the trace of either.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from exchange.metering.adaptive import (
    AdaptiveTrace,
    AdaptiveTraceError,
    adaptive_flops,
    adaptive_flops_worst,
    decode_adaptive,
    is_adaptive,
)
from exchange.metering.cards import ModelCard

TOKENS_MAX: Final = 1 << 24
_DENSE: Final = struct.Struct("<4sII")
_DENSE_MAGIC: Final = b"DNS1"


class TraceError(ValueError):
    """The bytes are not a decision trace of this model's family."""


class DenseTrace(NamedTuple):
    """What a dense model did: all depth is fixed, so the token counts decide everything.

    `prompt_tokens` were prefilled in one pass; that pass gives the first token. Each of the
    `decode_steps` passes after it feeds one token and gives the next. An end-of-text token counts
    as given though no text comes of it.
    """

    prompt_tokens: int
    decode_steps: int

    @property
    def tokens_given(self) -> int:
        """Tokens sampled, an end-of-text token included."""
        return self.decode_steps + 1 if self.prompt_tokens else 0

    def encode(self) -> bytes:
        """Twelve bytes."""
        return _DENSE.pack(_DENSE_MAGIC, self.prompt_tokens, self.decode_steps)


Trace = DenseTrace | AdaptiveTrace


def decode_trace(data: bytes) -> Trace:
    """The trace that these bytes hold.

    Raises:
        TraceError: wrong length, mark or range.
    """
    if is_adaptive(data):
        try:
            return decode_adaptive(data)
        except AdaptiveTraceError as error:
            raise TraceError(str(error)) from error
    if len(data) != _DENSE.size:
        raise TraceError(f"a dense trace has {_DENSE.size} bytes, not {len(data)}")
    magic, prompt, steps = _DENSE.unpack(data)
    if magic != _DENSE_MAGIC:
        raise TraceError("not a dense trace")
    if prompt > TOKENS_MAX or steps > TOKENS_MAX or (not prompt and steps):
        raise TraceError("token counts out of range")
    return DenseTrace(prompt, steps)


def _llama_flops(card: ModelCard, trace: DenseTrace) -> int:
    attended = card.heads * card.head_width
    kv = card.kv_heads * card.head_width
    projections = card.width * (2 * attended + 2 * kv)
    linear = 2 * (projections + 3 * card.width * card.ff_width)
    positions = trace.prompt_tokens + trace.decode_steps
    # Position i attends to i + 1 positions: scores and values are one product each.
    attention = 4 * attended * (positions * (positions + 1) // 2)
    head = 2 * card.width * card.vocabulary * trace.tokens_given
    return card.layers * (linear * positions + attention) + head


def flops(card: ModelCard, trace: Trace) -> int:
    """FLOPs of a trace, exact; 0 where nothing ran.

    Raises:
        TraceError: the trace is not one of the card's family.

    >>> from exchange.metering.cards import SMOLLM2_135M
    >>> flops(SMOLLM2_135M, DenseTrace(1, 0))
    269028864
    """
    if not trace.prompt_tokens:
        return 0
    if isinstance(trace, AdaptiveTrace) != (card.family == "adaptive"):
        raise TraceError(f"not a trace of family {card.family}")
    if isinstance(trace, AdaptiveTrace):
        return adaptive_flops(card.shape, trace)
    if card.family == "instant":
        return card.flops_per_token * (trace.prompt_tokens + trace.decode_steps)
    return _llama_flops(card, trace)


def flops_worst(card: ModelCard, prompt_tokens: int, output_tokens: int) -> int:
    """Most FLOPs of reading a prompt and giving this many tokens (at least one)."""
    if card.family == "adaptive":
        return adaptive_flops_worst(card.shape, prompt_tokens, max(output_tokens, 1))
    return flops(card, DenseTrace(prompt_tokens, max(output_tokens - 1, 0)))


def tokens_affordable(card: ModelCard, prompt_tokens: int, budget_flops: int) -> int:
    """Most tokens that can be given within a budget; 0 where not even the first one can.

    Cost rises with the number of tokens, so a bisection finds it.
    """
    if prompt_tokens < 1 or flops_worst(card, prompt_tokens, 1) > budget_flops:
        return 0
    low, high = 1, TOKENS_MAX
    while low < high:
        middle = (low + high + 1) // 2
        if flops_worst(card, prompt_tokens, middle) <= budget_flops:
            low = middle
        else:
            high = middle - 1
    return low
