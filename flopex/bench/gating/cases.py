"""Inputs for the gate's functions: awkward ones for checks, plain ones for timings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

FUNCTIONS = ("route", "sort_by_expert", "exit_confidence", "halt", "select_within_budget")
"""Names in `worker.model.gate_reference` and in `worker.model.kernels.host.Kernels` alike."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call: `function(*arrays, *numbers)`, the same for the reference and for the kernels."""

    function: str
    label: str
    arrays: tuple[np.ndarray, ...]
    numbers: tuple[int, ...] = ()
    moved_bytes: int = 0
    """What must be read and written at least once."""


def awkward(rng: np.random.Generator, shape: tuple[int, int], share: float = 0.05) -> np.ndarray:
    """Logits with many ties, zeros of both signs, infinities, NaN and rows of nothing but -inf."""
    x = np.round(rng.normal(scale=3.0, size=shape), rng.integers(0, 4)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        rows = np.nonzero(rng.random(shape[0]) < share)[0]
        x[rows, rng.integers(0, shape[1], size=len(rows))] = value
    x[rng.random(shape[0]) < share] = -np.inf
    x[rng.random(shape) < share] = -np.inf
    return x


def plain(rng: np.random.Generator, shape: tuple[int, int], share: float = 0.0) -> np.ndarray:
    """Logits as a model gives them."""
    del share
    return rng.normal(scale=3.0, size=shape).astype(np.float32)


def bf16_bits(x: np.ndarray) -> np.ndarray:
    """The upper halves of fp32 numbers: bf16, rounded towards zero."""
    bits: np.ndarray = (x.view(np.uint32) >> 16).astype(np.uint16)
    return bits


def route(
    rng: np.random.Generator, tokens: int, experts: int, width: int, logits: Any = awkward
) -> Case:
    """Tokens with a top-p and a most of their own."""
    arrays = (
        logits(rng, (tokens, experts)),
        rng.uniform(0.3, 1.0, tokens).astype(np.float32),
        rng.integers(1, width + 1, tokens).astype(np.int32),
    )
    moved = tokens * (4 * experts + 16 + 5 * width)
    return Case("route", f"{tokens} x {experts}, width {width}", arrays, (width,), moved)


def sort_by_expert(rng: np.random.Generator, tokens: int, experts: int, width: int) -> Case:
    """Choices of which about a quarter are unused."""
    choices = rng.integers(0, experts, (tokens, width))
    choices[rng.random(choices.shape) < 0.25] = -1
    label = f"{tokens} x {width} of {experts}"
    moved = tokens * width * 5 + 4 * (experts + 1)
    return Case("sort_by_expert", label, (choices.astype(np.int8),), (experts,), moved)


def exit_confidence(
    rng: np.random.Generator, rows: int, classes: int, kind: str, logits: Any = awkward
) -> Case:
    """Rows of logits, fp32 or bf16 (as its bits)."""
    x = logits(rng, (rows, classes))
    if kind == "bf16":
        x = bf16_bits(x)
    moved = x.nbytes + 16 * rows
    return Case("exit_confidence", f"{rows} x {classes} {kind}", (x,), (), moved)


def halt(rng: np.random.Generator, rows: int, logits: Any = awkward) -> Case:
    """Rows of which some are stopped by each rule."""
    heads = logits(rng, (2, max(rows, 1)), share=0.0)[:, :rows]
    if logits is awkward:
        heads[:, ::97] = np.nan
        heads[0, 1::89] = np.inf
        heads[1, 2::83] = -np.inf
    arrays = (
        np.ascontiguousarray(heads[0]),
        np.ascontiguousarray(heads[1]),
        rng.integers(500_000, 1_000_001, rows).astype(np.int32),
        rng.integers(0, 300_000, rows).astype(np.int32),
        rng.integers(-1_000_000, 100_000, rows).astype(np.int32),
        rng.integers(0, 8, rows).astype(np.int32),
        rng.integers(0, 10**12, rows),
        rng.integers(0, 10**13, rows),
    )
    return Case("halt", f"{rows} rows", arrays, (), rows * (8 + 32 + 13))


def select_within_budget(
    rng: np.random.Generator, requests: int, items: int, logits: Any = awkward
) -> Case:
    """Requests of 0 to 2 x `items` items; budgets from less than nothing to more than all."""
    sizes = rng.integers(0, 2 * items + 1, requests)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    n = int(offsets[-1])
    scores = np.ascontiguousarray(logits(rng, (1, max(n, 1)), share=0.0)[0, :n])
    if logits is awkward:
        scores[::31] = np.nan
        scores[7::41] = np.inf
    costs = rng.integers(0, 10**9, n) * rng.integers(0, 2, n)
    budgets = rng.integers(-1, 10**9 * (items + 1), requests)
    label = f"{requests} requests, {n} items"
    moved = n * 13 + requests * 24
    return Case("select_within_budget", label, (scores, costs, offsets, budgets), (), moved)
