"""The gate's arithmetic as array code, once for NumPy, torch and CuPy: the specification.

Nothing here may depend on a library's own exp, log, sum or sort order. Sums fold halves onto each
other, which is what the butterflies of the CUDA kernels compute; exp and log are made of
multiplications, additions and a table, each rounded as IEEE 754 says; sorts are stable. A kernel
that differs from this module in one bit is wrong.

`worker.model.gating` states what the functions mean; here arguments have been checked.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import array_api_compat
import numpy as np

from worker.model.gate_types import PPM, Array, Decision, GateError

TILE: Final = 4096
"""Logits that one block reads: each of 256 threads takes 8, and 8 more half a tile further on."""
NARROW: Final = 256
"""Rows up to here are one warp's: 8 logits for each of 32 lanes, summed in the same order."""
TILES_MAX: Final = 64

EXP_FLOOR: Final = -86.0
"""Where exp becomes 0; just above it exp is still a normal number, so nothing is ever denormal."""
# exp(d) = 2^(n/32) x (1 + g (A1 + g A2)) where d 32/ln 2 = n + g, |g| <= 1/2. A1 is ln 2/32 plus
# the share of the cubic term that a line can carry on that range.
EXP_SCALE: Final = float(np.float32(46.166241))
EXP_A1: Final = float(np.float32(0.021661167))
EXP_A2: Final = float(np.float32(2.3459620e-4))
POWERS: Final = np.array([2.0 ** (j / 32) for j in range(32)]).astype(np.float32)
# log(2^k f) = k ln 2 + log f, f in [sqrt 1/2, sqrt 2), log f = 2 atanh((f - 1) / (f + 1)).
LN2: Final = float(np.float32(0.69314718))
SQRT_HALF_BITS: Final = 0x3F3504F3
LOG_SERIES: Final = tuple(float(np.float32(x)) for x in (0.22222222, 0.28571429, 0.4, 0.66666667))


def library(array: Array) -> str:
    """`numpy`, `torch` or `cupy`.

    Raises:
        GateError: it is no array of theirs.
    """
    for name, mine in (
        ("numpy", array_api_compat.is_numpy_array),
        ("torch", array_api_compat.is_torch_array),
        ("cupy", array_api_compat.is_cupy_array),
    ):
        if mine(array):
            return name
    raise GateError(f"{type(array).__name__} is no NumPy, torch or CuPy array")


def on_gpu(array: Array) -> bool:
    """Whether the array is in a CUDA device's memory."""
    kind = library(array)
    return kind == "cupy" or (kind == "torch" and bool(array.is_cuda))


def kind_of(array: Array) -> str:
    """The name of its element type, the same in all libraries."""
    return str(array.dtype).removeprefix("torch.")


def shape(array: Array, name: str, ndim: int, *kinds: str) -> tuple[int, ...]:
    """Check and return an array's shape.

    Raises:
        GateError: another number of axes or another element type.
    """
    library(array)
    if array.ndim != ndim or kind_of(array) not in kinds:
        axes = "x".join(map(str, array.shape)) or "no axes"
        raise GateError(
            f"{name} is {kind_of(array)} of shape {axes}: "
            f"{' or '.join(kinds)} with {ndim} axes is needed"
        )
    return tuple(array.shape)


def together(*arrays: Array) -> None:
    """Check that arrays belong to one library and lie on one device.

    Raises:
        GateError: they do not.
    """
    places = sorted({f"{library(array)} on {_device(array)}" for array in arrays})
    if len(places) > 1:
        raise GateError(f"arrays of {' and '.join(places)}: all must be in one place")


def column(value: float | Array, name: str, rows: int, kind: str, like: Array) -> Array:
    """One number for each row: the given array, checked, or the given number repeated.

    Raises:
        GateError: an array of another shape or type.
    """
    if isinstance(value, float | int):
        xp = array_api_compat.array_namespace(like)
        return xp.full((rows,), value, dtype=getattr(xp, kind), device=_device(like))
    if shape(value, name, 1, kind) != (rows,):
        raise GateError(f"{name} has {value.shape[0]} rows instead of {rows}")
    return value


def detached(array: Array) -> Array:
    """The same numbers without a record of gradients."""
    return array.detach() if library(array) == "torch" else array


def wants_gradient(array: Array) -> bool:
    """Whether torch records gradients for this array now."""
    if library(array) != "torch":
        return False
    import torch

    return bool(array.requires_grad) and torch.is_grad_enabled()


def soft_weights(logits: Array, experts: Array) -> Array:
    """Torch's own softmax over the chosen experts, in their columns: the gradients' way."""
    used = experts >= 0
    picked = logits.gather(-1, experts.clamp(min=0).long())
    picked = picked.masked_fill(~used, -float("inf"))
    # A row without experts has nothing to normalise; its weights stay 0.
    empty = ~used.any(dim=-1, keepdim=True)
    return picked.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(~used, 0.0)


def dense_weights(experts: Array, weights: Array, n_experts: int) -> Array:
    """(T, n_experts): each expert's weight, 0 where it is not chosen."""
    xp = array_api_compat.array_namespace(weights)
    every = xp.arange(n_experts, dtype=experts.dtype, device=_device(experts))
    # A row names an expert once, so each sum has one term that is not 0.
    zero = xp.zeros((), dtype=weights.dtype, device=_device(weights))
    picked = xp.where(experts[:, :, None] == every, weights[:, :, None], zero)
    return xp.sum(picked, axis=1)


def route(
    logits: Array, top_p: Array, experts_max: Array, width: int
) -> tuple[Array, Array, Array, Array]:
    """See `gating.route`: experts, weights, counts, margins."""
    xp = array_api_compat.array_namespace(logits)
    rows, n_experts = logits.shape
    top = xp.max(logits, axis=-1)
    defined = xp.isfinite(top)  # a maximum is NaN if anything is
    x = xp.where(defined[:, None], logits, xp.zeros_like(logits)) + 0.0
    shifted = xp.where(defined, top, xp.zeros_like(top))[:, None]
    parts = _exp(_below(x, shifted, xp), xp)
    # Zeros change no sum, so the next power of two stands for EXPERTS_MAX.
    padding = (1 << (n_experts - 1).bit_length()) - n_experts
    padded = xp.concat([parts, xp.zeros_like(parts[:, :padding])], axis=-1)
    total = _fold(padded if padding else parts, -1)

    order = xp.argsort(x, axis=-1, descending=True, stable=True)
    sorted_parts = xp.take_along_axis(parts, order, axis=-1)
    available = xp.sum(xp.astype(parts > 0, xp.int32), axis=-1)
    limit = xp.minimum(xp.clip(experts_max, 1, width), available)
    wanted = top_p * total

    # Walk down the order until the chosen reach what is wanted. `nearest` keeps the smallest
    # distance of a test to its edge, `last` what the last chosen expert added.
    reached = last = xp.zeros_like(total)
    nearest = xp.full_like(total, float("inf"))
    counts = xp.zeros((rows,), dtype=xp.int32, device=_device(x))
    for column_ in range(width):
        part = sorted_parts[:, column_]
        asked = (counts == column_) & (column_ < limit)
        short = ~(reached >= wanted)
        if column_:
            nearest = xp.where(asked, xp.minimum(nearest, xp.abs(reached - wanted)), nearest)
        taken = asked & (short | (column_ == 0))
        reached = xp.where(taken, reached + part, reached)
        last = xp.where(taken, part, last)
        counts = counts + xp.astype(taken, xp.int32)
    following = xp.concat([sorted_parts, xp.zeros_like(sorted_parts[:, :1])], axis=-1)
    following = xp.take_along_axis(following, xp.astype(counts, xp.int64)[:, None], axis=-1)[:, 0]
    gap = xp.where(counts < available, last - following, xp.full_like(last, float("inf")))
    margins = xp.minimum(nearest, gap) / total

    counts = xp.where(defined, counts, xp.zeros_like(counts))
    used = xp.arange(width, dtype=xp.int32, device=_device(x)) < counts[:, None]
    chosen = xp.astype(order[:, :width], xp.int8)
    experts = xp.where(used, chosen, xp.full_like(chosen, -1))
    weights = sorted_parts[:, :width] / reached[:, None]
    weights = xp.where(used, weights, xp.zeros_like(weights))
    margins = xp.where(defined, margins, xp.full_like(margins, float("nan")))
    return experts, weights, counts, margins


def sort_by_expert(experts: Array, n_experts: int) -> tuple[Array, Array]:
    """See `gating.sort_by_expert`: entries, offsets."""
    xp = array_api_compat.array_namespace(experts)
    flat = xp.astype(xp.reshape(experts, (-1,)), xp.int32)
    unused = (flat < 0) | (flat >= n_experts)
    flat = xp.where(unused, xp.full_like(flat, n_experts), flat)
    order = xp.astype(xp.argsort(flat, stable=True), xp.int32)
    numbers = xp.arange(n_experts + 1, dtype=xp.int32, device=_device(flat))
    offsets = xp.astype(xp.sum(flat[None, :] < numbers[:, None], axis=-1), xp.int32)
    places = xp.arange(flat.shape[0], dtype=xp.int32, device=_device(flat))
    entries = xp.where(places < offsets[-1], order, xp.full_like(order, -1))
    return entries, offsets


def exit_confidence(logits: Array) -> tuple[Array, Array, Array, Array]:
    """See `gating.exit_confidence`: tokens, probabilities, entropies, margins."""
    x = _widened(logits)
    xp = array_api_compat.array_namespace(x)
    top = xp.max(x, axis=-1)
    defined = xp.isfinite(top)
    x = xp.where(defined[:, None], x, xp.zeros_like(x))
    top = xp.where(defined, top, xp.zeros_like(top))
    tokens = xp.astype(xp.argmax(x, axis=-1), xp.int32)
    places = xp.arange(x.shape[1], dtype=xp.int32, device=_device(x))
    others = xp.where(places == tokens[:, None], xp.full_like(x, -float("inf")), x)
    second = xp.max(others, axis=-1)

    maxima, sums, moments = _tile_sums(x, xp)
    # What each tile measured from its own maximum is moved to the row's.
    moved = _below(maxima, top[:, None], xp)
    scales = _exp(moved, xp)
    total = _fold(sums * scales, -1)
    moment = _fold((moments + sums * moved) * scales, -1)

    runner_up = _exp(_below(second, top, xp), xp)
    nothing = xp.full_like(top, float("nan"))
    return (
        xp.where(defined, tokens, xp.full_like(tokens, -1)),
        xp.where(defined, 1.0 / total, nothing),
        xp.where(defined, _log(total, xp) - moment / total, nothing),
        xp.where(defined, (1.0 - runner_up) / total, nothing),
    )


def _tile_sums(x: Array, xp: Any) -> tuple[Array, Array, Array]:
    """(rows, TILES_MAX) each: a tile's maximum m, sum of exp(x - m), sum of exp(x - m) (x - m).

    Rows that a warp handles alone are one shorter tile: the zeros that a whole one would add change
    no sum.
    """
    rows, classes = x.shape
    tile = TILE if classes > NARROW else NARROW
    tiles = -(-classes // tile)
    low = -float("inf")
    padding = xp.full((rows, tiles * tile - classes), low, dtype=xp.float32, device=_device(x))
    x = xp.reshape(xp.concat([x, padding], axis=-1), (rows, tiles, tile))
    maxima = xp.max(x, axis=-1)
    # A tile of -inf alone: any finite number may stand for its maximum, its terms are 0.
    start = xp.where(maxima > low, maxima, xp.zeros_like(maxima))
    shifted = _below(x, start[:, :, None], xp)
    parts = _exp(shifted, xp)
    # As the threads lie: half of the tile, warp, lane, element. Each folds with its own kind first.
    lanes = (rows, tiles, tile // NARROW // 8 or 1, min(8, tile // NARROW), 32, 8)

    def folded(terms: Array) -> Array:
        terms = xp.reshape(terms, lanes)
        for axis in (2, 5, 4, 3):
            terms = xp.expand_dims(_fold(terms, axis), axis=axis)
        sums = xp.reshape(terms, (rows, tiles))
        rest = xp.zeros((rows, TILES_MAX - tiles), dtype=xp.float32, device=_device(x))
        return xp.concat([sums, rest], axis=-1)

    rest = xp.full((rows, TILES_MAX - tiles), low, dtype=xp.float32, device=_device(x))
    return xp.concat([maxima, rest], axis=-1), folded(parts), folded(parts * shifted)


def halt(
    now_logits: Array,
    ever_logits: Array,
    halt_ppm: Array,
    hopeless_ppm: Array,
    price_ppm: Array,
    steps_left: Array,
    next_flops: Array,
    left_flops: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """See `gating.halt`: decisions, now_ppm, ever_ppm, live, n_live."""
    xp = array_api_compat.array_namespace(now_logits)
    undefined = xp.isnan(now_logits) | xp.isnan(ever_logits)
    zero = xp.zeros_like(now_logits)
    now = to_ppm(sigmoid(xp.where(undefined, zero, now_logits)))
    ever = to_ppm(sigmoid(xp.where(undefined, zero, ever_logits)))
    decisions = xp.full_like(now, int(Decision.GO_ON))
    # The last test is written first, so that the first one has the last word.
    for test, decision in (
        (next_flops > left_flops, Decision.BUDGET),
        (steps_left < 1, Decision.STEPS),
        (ever - now <= price_ppm, Decision.PRICE),
        (ever < hopeless_ppm, Decision.HOPELESS),
        (now >= halt_ppm, Decision.ANSWER),
        (undefined, Decision.UNDEFINED),
    ):
        decisions = xp.where(test, xp.full_like(decisions, int(decision)), decisions)
    nobody = xp.full_like(now, -1)
    stops = xp.astype(decisions != int(Decision.GO_ON), xp.int32)
    rows = xp.astype(xp.argsort(stops, stable=True), xp.int32)
    n_live = xp.astype(xp.sum(1 - stops, axis=0, keepdims=True), xp.int32)
    places = xp.arange(rows.shape[0], dtype=xp.int32, device=_device(rows))
    return (
        xp.astype(decisions, xp.int8),
        xp.where(undefined, nobody, now),
        xp.where(undefined, nobody, ever),
        xp.where(places < n_live, rows, xp.full_like(rows, -1)),
        n_live,
    )


def select_within_budget(
    scores: Array, costs: Array, offsets: Array, budgets: Array
) -> tuple[Array, Array, Array]:
    """See `gating.select_within_budget`: chosen, thresholds, spent."""
    xp = array_api_compat.array_namespace(scores)
    bounds = [int(x) for x in offsets]
    if bounds[0] != 0 or bounds[-1] != scores.shape[0] or sorted(bounds) != bounds:
        raise GateError(f"offsets must rise from 0 to {scores.shape[0]}")
    if bool(xp.any(costs < 0)):
        raise GateError("a cost is negative")
    chosen = xp.zeros(scores.shape, dtype=xp.bool, device=_device(scores))
    thresholds = xp.full(budgets.shape, float("inf"), dtype=xp.float32, device=_device(scores))
    spent = xp.zeros_like(budgets)
    for request in range(budgets.shape[0]):
        start, end = bounds[request], bounds[request + 1]
        mine = scores[start:end]
        scored = xp.nonzero(~xp.isnan(mine))[0]
        order = scored[xp.argsort(mine[scored] + 0.0, descending=True, stable=True)]
        run = xp.cumulative_sum(costs[start:end][order])
        taken = int(xp.sum(xp.astype(run <= budgets[request], xp.int64)))
        if taken:
            chosen[start + order[:taken]] = True
            thresholds[request] = mine[order[taken - 1]] + 0.0
            spent[request] = run[taken - 1]
    return chosen, thresholds, spent


def top_k(scores: Array, k: int) -> Array:
    """See `gating.top_k`."""
    xp = array_api_compat.array_namespace(scores)
    order = xp.argsort(scores + 0.0, axis=-1, descending=True, stable=True)
    return xp.astype(order[:, :k], xp.int32)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)), from the exp of a number that is not positive."""
    xp = array_api_compat.array_namespace(logits)
    part = _exp(_floored(-xp.abs(logits), xp), xp)
    return xp.where(logits >= 0, xp.ones_like(part), part) / (1.0 + part)


def to_ppm(probabilities: Array) -> Array:
    """Millionths, rounded down; the product is rounded to fp32 first."""
    xp = array_api_compat.array_namespace(probabilities)
    return xp.astype(xp.floor(probabilities * float(PPM)), xp.int32)


def exponential(x: Array) -> Array:
    """The gate's exp, of numbers that are not positive."""
    xp = array_api_compat.array_namespace(x)
    return _exp(_floored(x, xp), xp)


def logarithm(x: Array) -> Array:
    """The gate's natural logarithm, of numbers that are 1 or more."""
    return _log(x, array_api_compat.array_namespace(x))


def _below(x: Array, top: Array, xp: Any) -> Array:
    """Floored distance of numbers that are not above `top`; it may be further than fp32 reaches."""
    with np.errstate(over="ignore"):
        return _floored(x - top, xp)


def _floored(x: Array, xp: Any) -> Array:
    return xp.where(x < EXP_FLOOR, xp.full_like(x, EXP_FLOOR), x)


def _exp(x: Array, xp: Any) -> Array:
    """Exponential of floored numbers that are not positive; 0 at the floor."""
    scaled = x * EXP_SCALE
    whole = xp.round(scaled)
    rest = scaled - whole
    n = xp.astype(whole, xp.int32)
    power = xp.take(_powers(xp, _device(x)), xp.reshape(n & 31, (-1,)), axis=0)
    power = xp.reshape(power, x.shape) * (((n >> 5) + 127) << 23).view(xp.float32)
    value = power + power * (rest * (EXP_A1 + rest * EXP_A2))
    return xp.where(x <= EXP_FLOOR, xp.zeros_like(value), value)


@cache
def _powers(xp: Any, device: Any) -> Array:
    return xp.asarray(POWERS, device=device)


def _log(x: Array, xp: Any) -> Array:
    """Natural logarithm of normal positive numbers."""
    bits = x.view(xp.int32)
    k = (bits - SQRT_HALF_BITS) >> 23
    f = (bits - (k << 23)).view(xp.float32)
    s = (f - 1.0) / (f + 1.0)
    square = s * s
    series = xp.zeros_like(s)
    for coefficient in LOG_SERIES:
        series = series * square + coefficient
    return xp.astype(k, xp.float32) * LN2 + (s * 2.0 + s * (square * series))


def _fold(x: Array, axis: int) -> Array:
    """Sum over an axis whose length is a power of two: half onto half, until one is left."""
    axis %= x.ndim
    before = (slice(None),) * axis
    length = x.shape[axis]
    while length > 1:
        length //= 2
        x = x[(*before, slice(0, length))] + x[(*before, slice(length, 2 * length))]
    return x[(*before, 0)]


def _widened(logits: Array) -> Array:
    """fp32 of bf16, whose bits are the upper half of an fp32 number's."""
    if kind_of(logits) == "bfloat16":
        return logits.float()
    if kind_of(logits) == "uint16":
        return (logits.astype("uint32") << 16).view("float32")
    return logits


def _device(array: Array) -> Any:
    return array_api_compat.device(array)
