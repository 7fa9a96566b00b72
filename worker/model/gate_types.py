"""The words of the gate: its bounds, its decisions, and what its functions take and return."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

Array = Any
"""A NumPy array, a torch tensor or a CuPy array."""

EXPERTS_MAX: Final = 64
"""Two for each lane of a warp."""
CLASSES_MAX: Final = 262_144
"""Longest row that `exit_confidence` takes: a vocabulary of 256k."""
PPM: Final = 1_000_000
"""Fixed point of probabilities in traces and policies."""
PRICE_PPM_MAX: Final = 2**31 - 1
NO_PRICE_PPM: Final = -(2**31)
"""A price that no gain is below: the price test never stops such a row."""


class Decision(IntEnum):
    """What `halt` says of a row; the tests are made in the order of UNDEFINED, then as listed.

    The numbers are those that traces record (`exchange.metering.adaptive.Decision`), and one more.
    """

    GO_ON = 0
    ANSWER = 1
    """It knows: P(right now) has reached the policy's bar."""
    HOPELESS = 2
    """It never will: P(ever right) is below the policy's bar."""
    PRICE = 3
    """What further thinking would gain is worth less to the buyer than it costs."""
    STEPS = 4
    """The model has no further step."""
    BUDGET = 5
    """The worst case of the next step does not fit what is left of the budget."""
    UNDEFINED = 6
    """A head gave NaN."""


class Routing(NamedTuple):
    """The experts of T tokens, in the order of falling logits."""

    experts: Array
    """(T, width) int8; -1 where unused."""
    weights: Array
    """(T, width) fp32; softmax over the chosen experts, 0 where unused."""
    counts: Array
    """(T,) int32; how many are chosen; 0 for an undefined row."""
    margins: Array
    """(T,) fp32; how far, in probability, the nearest decision was from falling otherwise."""


class Dispatch(NamedTuple):
    """Entries (row x width + column of `Routing.experts`) laid out by expert."""

    entries: Array
    """(T x width,) int32; those of expert 0, rising, then those of expert 1; -1 behind them."""
    offsets: Array
    """(n_experts + 1,) int32; expert e has entries[offsets[e] : offsets[e + 1]]."""


class Confidence(NamedTuple):
    """How sure B rows of logits are."""

    tokens: Array
    """(B,) int32; index of the largest logit; -1 for an undefined row."""
    probabilities: Array
    """(B,) fp32; of that token."""
    entropies: Array
    """(B,) fp32, in nats."""
    margins: Array
    """(B,) fp32; probability of the first less that of the second."""


class Limits(NamedTuple):
    """What B rows may do, as integers; each field is an array of B."""

    halt_ppm: Array
    """int32; P(right now) at which the row answers."""
    hopeless_ppm: Array
    """int32; P(ever right) below which it gives up."""
    price_ppm: Array
    """int32; gain in P(right) that only just pays for the FLOPs ahead; see `price_ppm`."""
    steps_left: Array
    """int32; steps that the model still has."""
    next_flops: Array
    """int64; worst case of the next step."""
    left_flops: Array
    """int64; what is left of the budget."""


class Halting(NamedTuple):
    """What B rows do next, and the rows that go on, gathered."""

    decisions: Array
    """(B,) int8; values of `Decision`."""
    now_ppm: Array
    """(B,) int32; P(right now), 0 to PPM; -1 for an undefined row."""
    ever_ppm: Array
    """(B,) int32; P(ever right), likewise."""
    live: Array
    """(B,) int32; the rows that go on, rising; -1 behind the last."""
    n_live: Array
    """(1,) int32; how many those are: on the device, so that asking costs a wait only once."""


class Selection(NamedTuple):
    """What R requests take of their N items."""

    chosen: Array
    """(N,) bool."""
    thresholds: Array
    """(R,) fp32; the lowest score taken; +inf where nothing is."""
    spent: Array
    """(R,) int64; cost of what is taken: at most the budget."""


class Backend(NamedTuple):
    """Who computes."""

    name: str
    """`cuda-kernels`, or `numpy`, `torch` or `cupy` for array code of that library."""
    reason: str
    """Why the kernels are not used; empty where they are."""


class GateError(ValueError):
    """An array or a number that the gate cannot decide on; nothing was computed."""
