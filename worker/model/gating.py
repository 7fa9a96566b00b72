"""The gate's arithmetic: what to compute next, for whom, and when to stop.

Five decisions, each a plain function on arrays: which experts a token takes (`route`), how to lay
tokens out by expert (`sort_by_expert`), how sure an answer is (`exit_confidence`), whether a row
goes on (`halt`), and which items a request's budget covers (`select_within_budget`).

They take NumPy, torch or CuPy arrays and return the same kind on the same device. On a GPU they run
as one CUDA kernel each (`worker.model.kernels`) where CuPy is installed, else as the array code in
`worker.model.gate_reference`, which is also the specification; `backend` says which, and why.

What holds everywhere:

* Every row is decided by its own numbers, never by its neighbours': a bill is nobody else's affair.
* Among equal numbers the lowest index comes first.
* Arithmetic is fp32, in one fixed order, out of operations that IEEE 754 defines to the last bit
  (exp and log included), so the same logits give the same bits on every backend.
* A row without a defined softmax (a NaN or +inf in it, or nothing but -inf) gets no decision: no
  expert, token -1, `Decision.UNDEFINED`.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

from worker.model import gate_reference as reference
from worker.model.gate_types import (
    CLASSES_MAX,
    EXPERTS_MAX,
    NO_PRICE_PPM,
    PPM,
    PRICE_PPM_MAX,
    Array,
    Backend,
    Confidence,
    Decision,
    Dispatch,
    GateError,
    Halting,
    Limits,
    Routing,
    Selection,
)

if TYPE_CHECKING:
    from worker.model.kernels.host import Kernels

__all__ = [
    "CLASSES_MAX",
    "EXPERTS_MAX",
    "NO_PRICE_PPM",
    "PPM",
    "PRICE_PPM_MAX",
    "Array",
    "Backend",
    "Confidence",
    "Decision",
    "Dispatch",
    "GateError",
    "Halting",
    "Limits",
    "Routing",
    "Selection",
    "backend",
    "dense_weights",
    "exit_confidence",
    "halt",
    "price_ppm",
    "route",
    "select_within_budget",
    "sigmoid",
    "sort_by_expert",
    "to_ppm",
    "top_k",
]

log = logging.getLogger(__name__)


def backend(array: Array) -> Backend:
    """Who computes for arrays such as this one."""
    name = reference.library(array)
    if not reference.on_gpu(array):
        return Backend(name, "the array is in the memory of the CPU")
    why = _kernels_missing()
    return Backend(name, why) if why else Backend("cuda-kernels", "")


def route(logits: Array, top_p: float | Array, experts_max: int | Array, *, width: int) -> Routing:
    """Choose experts: the fewest whose probabilities reach `top_p`, 1 to `experts_max`.

    An expert whose probability rounds to 0 is never chosen. Where torch records gradients for the
    logits, they flow through the weights as through a softmax over the chosen experts.

    Args:
        logits: (T, E) fp32, E at most EXPERTS_MAX.
        top_p: a number, or (T,) fp32 with one for each token.
        experts_max: a number, or (T,) int32 with one for each token.
        width: columns of the result, 1 to E; no token gets more experts.

    Raises:
        GateError: a shape, a type or a number is not as stated.
    """
    rows, experts = reference.shape(logits, "logits", 2, "float32")
    if not 1 <= experts <= EXPERTS_MAX:
        raise GateError(f"{experts} experts: 1 to {EXPERTS_MAX} can be routed to")
    if not 1 <= width <= experts:
        raise GateError(f"width {width}: it must be 1 to the number of experts, {experts}")
    if isinstance(top_p, float | int) and not 0 < top_p <= 1:
        raise GateError(f"top_p {top_p}: it must be above 0 and at most 1")
    if isinstance(experts_max, int) and experts_max < 1:
        raise GateError(f"experts_max {experts_max}: a token needs one expert at least")
    top_ps = reference.column(top_p, "top_p", rows, "float32", logits)
    limits = reference.column(experts_max, "experts_max", rows, "int32", logits)
    reference.together(logits, top_ps, limits)
    if kernels := _kernels(logits):
        routing = Routing(*kernels.route(reference.detached(logits), top_ps, limits, width))
    else:
        routing = Routing(*reference.route(reference.detached(logits), top_ps, limits, width))
    if reference.wants_gradient(logits):
        soft = reference.soft_weights(logits, routing.experts)
        return routing._replace(weights=routing.weights + (soft - soft.detach()))
    return routing


def dense_weights(routing: Routing, n_experts: int) -> Array:
    """The weights of `route` as (T, n_experts), 0 for an expert that is not chosen."""
    return reference.dense_weights(routing.experts, routing.weights, n_experts)


def sort_by_expert(experts: Array, n_experts: int) -> Dispatch:
    """Lay the entries of `Routing.experts` out by expert: stable, unused ones left out.

    Raises:
        GateError: experts are not (T, width) int8, or n_experts is not 1 to EXPERTS_MAX.
    """
    reference.shape(experts, "experts", 2, "int8")
    if not 1 <= n_experts <= EXPERTS_MAX:
        raise GateError(f"{n_experts} experts: 1 to {EXPERTS_MAX} can be sorted by")
    if kernels := _kernels(experts):
        return Dispatch(*kernels.sort_by_expert(experts, n_experts))
    return Dispatch(*reference.sort_by_expert(experts, n_experts))


def exit_confidence(logits: Array) -> Confidence:
    """How sure each row of logits is of its first choice.

    Args:
        logits: (B, V), V at most CLASSES_MAX; fp32, or bf16 (in NumPy and CuPy, which have no bf16,
            its bits as uint16).

    Raises:
        GateError: a shape or a type is not as stated.
    """
    _, classes = reference.shape(logits, "logits", 2, "float32", "bfloat16", "uint16")
    if not 1 <= classes <= CLASSES_MAX:
        raise GateError(f"rows of {classes} logits: 1 to {CLASSES_MAX} can be read")
    if kernels := _kernels(logits):
        return Confidence(*kernels.exit_confidence(reference.detached(logits)))
    return Confidence(*reference.exit_confidence(reference.detached(logits)))


def halt(now_logits: Array, ever_logits: Array, limits: Limits) -> Halting:
    """Decide for each row whether it goes on, and gather those that do.

    The heads' logits become probabilities in millionths; from there on everything is a comparison
    of integers, which anybody can repeat from a trace.

    Args:
        now_logits: (B,) fp32; the logit of P(the answer is right now).
        ever_logits: (B,) fp32; the logit of P(it will be right when the model is done).
        limits: what each row may do.

    Raises:
        GateError: a shape or a type is not as stated.
    """
    (rows,) = reference.shape(now_logits, "now_logits", 1, "float32")
    kinds = ("int32", "int32", "int32", "int32", "int64", "int64")
    fields = [("ever_logits", ever_logits, "float32")]
    fields += list(zip(Limits._fields, limits, kinds, strict=True))
    for name, array, kind in fields:
        if reference.shape(array, name, 1, kind) != (rows,):
            raise GateError(f"{name} has {array.shape[0]} rows and now_logits {rows}")
    reference.together(now_logits, ever_logits, *limits)
    heads = reference.detached(now_logits), reference.detached(ever_logits)
    if kernels := _kernels(now_logits):
        return Halting(*kernels.halt(*heads, *limits))
    return Halting(*reference.halt(*heads, *limits))


def select_within_budget(scores: Array, costs: Array, offsets: Array, budgets: Array) -> Selection:
    """Take, for each request, its best items for as long as its budget covers them.

    A request's items are ordered by (score falling, index rising); it takes the longest run from
    the start of that order whose costs add up to no more than its budget. A NaN score is never
    taken.

    Args:
        scores: (N,) fp32.
        costs: (N,) int64, not negative; those of one request add up to less than 2^63.
        offsets: (R + 1,) int32; request r has the items offsets[r] to offsets[r + 1], rising from
            0 to N.
        budgets: (R,) int64.

    Raises:
        GateError: a shape or a type is not as stated (values are checked where they can be read
            without waiting for a device).
    """
    (items,) = reference.shape(scores, "scores", 1, "float32")
    if reference.shape(costs, "costs", 1, "int64") != (items,):
        raise GateError(f"there are {costs.shape[0]} costs and {items} scores")
    (requests,) = reference.shape(budgets, "budgets", 1, "int64")
    if reference.shape(offsets, "offsets", 1, "int32") != (requests + 1,):
        raise GateError(f"there are {offsets.shape[0]} offsets for {requests} budgets")
    reference.together(scores, costs, offsets, budgets)
    scores = reference.detached(scores)
    if kernels := _kernels(scores):
        return Selection(*kernels.select_within_budget(scores, costs, offsets, budgets))
    return Selection(*reference.select_within_budget(scores, costs, offsets, budgets))


def top_k(scores: Array, k: int) -> Array:
    """(T, k) int32: the indices of the k highest of each row, by (score falling, index rising).

    Raises:
        GateError: scores are not (T, n) fp32, or k is not 1 to n.
    """
    _, n = reference.shape(scores, "scores", 2, "float32")
    if not 1 <= k <= n:
        raise GateError(f"k {k}: it must be 1 to the number of scores, {n}")
    return reference.top_k(reference.detached(scores), k)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)) in fp32, the same bits everywhere."""
    return reference.sigmoid(reference.detached(logits))


def to_ppm(probabilities: Array) -> Array:
    """fp32 probabilities as int32 millionths, rounded down."""
    return reference.to_ppm(reference.detached(probabilities))


def price_ppm(price_nanos: int, flops_ahead: int, value_nanos: int) -> int:
    """The gain in P(right), in millionths, that only just pays for the FLOPs ahead.

    With lambda = `price_nanos` per CU (10^12 FLOPs) and an answer worth `value_nanos` when right, a
    row should stop when gain x value <= lambda x flops. For a gain in whole millionths that is
    exactly gain <= floor(price_nanos x flops_ahead / (value_nanos x 10^6)).

    Without a value (0) there is no price term, and the result is NO_PRICE_PPM.

    Raises:
        GateError: a number is negative.
    """
    if min(price_nanos, flops_ahead, value_nanos) < 0:
        raise GateError("price, FLOPs and value must not be negative")
    if value_nanos == 0:
        return NO_PRICE_PPM
    return min(price_nanos * flops_ahead // (value_nanos * PPM), PRICE_PPM_MAX)


def _kernels(array: Array) -> Kernels | None:
    """The CUDA kernels, where they can take this array."""
    if not reference.on_gpu(array) or _kernels_missing():
        return None
    from worker.model.kernels import launch

    return launch.kernels()


@cache
def _kernels_missing() -> str:
    """Why there are no kernels on this machine, said once in the log; empty where there are."""
    from worker.model.kernels import launch

    if why := launch.missing():
        log.warning("the gate runs as array code, without its CUDA kernels: %s", why)
    return why
