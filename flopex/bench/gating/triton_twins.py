"""The same decisions in Triton, one launch each: what a user would write instead of CUDA C.

They use Triton's own exp, sums and orders, so their numbers agree with the reference only as far as
fp32 carries; where torch has no fast way to break ties, they do break them by index.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

Tensor = Any


@triton.jit
def _route(
    logits, top_ps, limits, experts, weights, counts, margins, rows, n,
    WIDTH: tl.constexpr, TOKENS: tl.constexpr, EXPERTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = tl.arange(0, EXPERTS)
    there = row < rows
    inside = there[:, None] & (column[None, :] < n)
    x = tl.load(logits + row[:, None] * n + column[None, :], mask=inside, other=-float("inf"))
    shares = tl.softmax(x, 1)
    top_p = tl.load(top_ps + row, mask=there, other=1.0)
    limit = tl.load(limits + row, mask=there, other=1)
    left = tl.where(inside, shares, -1.0)
    reached = tl.zeros([TOKENS], tl.float32)
    count = tl.zeros([TOKENS], tl.int32)
    margin = tl.full([TOKENS], float("inf"), tl.float32)
    last = tl.zeros([TOKENS], tl.float32)
    for k in tl.static_range(WIDTH + 1):
        best, at = tl.max(left, 1, return_indices=True)
        if k > 0:
            asked = (count == k) & (k < limit) & (k < WIDTH)
            margin = tl.where(asked, tl.minimum(margin, tl.abs(reached - top_p)), margin)
        taken = (count == k) & (k < limit) & ((k == 0) | (reached < top_p)) & (best > 0)
        passed = (count == k) & (best > 0) & ((k >= limit) | (reached >= top_p)) & (k > 0)
        margin = tl.where(passed, tl.minimum(margin, last - best), margin)
        if k < WIDTH:
            tl.store(experts + row * WIDTH + k, tl.where(taken, at, -1).to(tl.int8), mask=there)
            tl.store(weights + row * WIDTH + k, tl.where(taken, best, 0.0), mask=there)
            reached += tl.where(taken, best, 0.0)
            last = tl.where(taken, best, last)
            count += taken.to(tl.int32)
            left = tl.where(column[None, :] == at[:, None], -1.0, left)
    for k in tl.static_range(WIDTH):
        share = tl.load(weights + row * WIDTH + k, mask=there, other=0.0)
        tl.store(weights + row * WIDTH + k, share / reached, mask=there)
    tl.store(counts + row, count, mask=there)
    tl.store(margins + row, margin, mask=there)


@triton.jit
def _sort_by_expert(experts, entries, offsets, n, n_experts, BLOCK: tl.constexpr):
    expert = tl.program_id(0)
    lower = 0
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        one = tl.load(experts + at, mask=at < n, other=127).to(tl.int32)
        lower += tl.sum(((one >= 0) & (one < expert)).to(tl.int32), 0)
    tl.store(offsets + expert, lower)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        one = tl.load(experts + at, mask=at < n, other=127).to(tl.int32)
        unused = (one < 0) | (one >= n_experts)
        mine = (at < n) & tl.where(expert < n_experts, one == expert, unused)
        place = lower + tl.cumsum(mine.to(tl.int32), 0) - 1
        tl.store(entries + place, tl.where(expert < n_experts, at, -1), mask=mine)
        lower += tl.sum(mine.to(tl.int32), 0)


@triton.jit
def _exit_confidence(logits, tokens, shares, entropies, margins, classes, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top = -float("inf")
    second = -float("inf")
    token = 0
    total = 0.0
    moment = 0.0
    for start in range(0, classes, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < classes
        x = tl.load(logits + row * classes + at, mask=inside, other=-float("inf")).to(tl.float32)
        best, where = tl.max(x, 0, return_indices=True)
        next_best = tl.max(tl.where(at == start + where, -float("inf"), x), 0)
        second = tl.maximum(tl.minimum(top, best), tl.maximum(second, next_best))
        token = tl.where(best > top, start + where, token)
        higher = tl.maximum(top, best)
        scale = tl.exp(top - higher)
        part = tl.where(inside, tl.exp(x - higher), 0.0)
        moved = tl.where(total > 0, total * (top - higher), 0.0)
        moment = (moment + moved) * scale
        moment += tl.sum(tl.where(part > 0, part * (x - higher), 0.0), 0)
        total = total * scale + tl.sum(part, 0)
        top = higher
    tl.store(tokens + row, token)
    tl.store(shares + row, 1.0 / total)
    tl.store(entropies + row, tl.log(total) - moment / total)
    tl.store(margins + row, (1.0 - tl.exp(second - top)) / total)


@triton.jit
def _halt(
    now_logits, ever_logits, halt_ppm, hopeless_ppm, price_ppm, steps_left, next_flops, left_flops,
    decisions, now_ppm, ever_ppm, live, n_live, rows, BLOCK: tl.constexpr,
):  # fmt: skip
    before = 0
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK)
        there = row < rows
        now = (tl.sigmoid(tl.load(now_logits + row, mask=there)) * 1e6).to(tl.int32)
        ever = (tl.sigmoid(tl.load(ever_logits + row, mask=there)) * 1e6).to(tl.int32)
        dear = tl.load(next_flops + row, mask=there) > tl.load(left_flops + row, mask=there)
        decision = tl.where(dear, 5, 0)
        decision = tl.where(tl.load(steps_left + row, mask=there) < 1, 4, decision)
        decision = tl.where(ever - now <= tl.load(price_ppm + row, mask=there), 3, decision)
        decision = tl.where(ever < tl.load(hopeless_ppm + row, mask=there), 2, decision)
        decision = tl.where(now >= tl.load(halt_ppm + row, mask=there), 1, decision)
        going = there & (decision == 0)
        place = before + tl.cumsum(going.to(tl.int32), 0) - going.to(tl.int32)
        tl.store(decisions + row, decision.to(tl.int8), mask=there)
        tl.store(now_ppm + row, now, mask=there)
        tl.store(ever_ppm + row, ever, mask=there)
        tl.store(live + place, row, mask=going)
        tl.store(live + rows - 1 - (row - place), row * 0 - 1, mask=there & (decision != 0))
        before += tl.sum(going.to(tl.int32), 0)
    tl.store(n_live, before)


@triton.jit
def _select_within_budget(
    scores, costs, offsets, budgets, chosen, thresholds, spent, BLOCK: tl.constexpr
):  # fmt: skip
    request = tl.program_id(0)
    first = tl.load(offsets + request)
    behind = tl.load(offsets + request + 1)
    budget = tl.load(budgets + request)
    # The first score, as a key that orders like scores, whose items no longer all fit: bit by bit.
    edge = tl.full([], 0, tl.int64)
    for bit in tl.static_range(32):
        trial = edge | (1 << (31 - bit))
        above = tl.full([], 0, tl.int64)
        for start in range(first, behind, BLOCK):
            item = start + tl.arange(0, BLOCK)
            key = _key(tl.load(scores + item, mask=item < behind, other=float("nan")))
            cost = tl.load(costs + item, mask=item < behind, other=0)
            above += tl.sum(tl.where(key >= trial, cost, 0), 0)
        edge = tl.where(above > budget, trial, edge)
    left = budget
    for start in range(first, behind, BLOCK):
        item = start + tl.arange(0, BLOCK)
        key = _key(tl.load(scores + item, mask=item < behind, other=float("nan")))
        cost = tl.load(costs + item, mask=item < behind, other=0)
        left -= tl.sum(tl.where(key > edge, cost, 0), 0)
    ties = tl.full([], 0, tl.int64)
    total = tl.full([], 0, tl.int64)
    lowest = float("inf")
    for start in range(first, behind, BLOCK):
        item = start + tl.arange(0, BLOCK)
        score = tl.load(scores + item, mask=item < behind, other=float("nan"))
        key = _key(score)
        cost = tl.load(costs + item, mask=item < behind, other=0)
        tie = (key == edge) & (key > 0)
        upto = ties + tl.cumsum(tl.where(tie, cost, 0), 0)
        taken = (key > edge) | (tie & (upto <= left))
        ties += tl.sum(tl.where(tie, cost, 0), 0)
        total += tl.sum(tl.where(taken, cost, 0), 0)
        lowest = tl.minimum(lowest, tl.min(tl.where(taken, score, float("inf")), 0))
        tl.store(chosen + item, taken, mask=item < behind)
    tl.store(thresholds + request, lowest)
    tl.store(spent + request, total)


@triton.jit
def _key(score):
    bits = (score + 0.0).to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    key = tl.where(bits >= 0x80000000, 0xFFFFFFFF - bits, bits + 0x80000000)
    return tl.where(score == score, key, 0)


def route(
    logits: Tensor, top_ps: Tensor, limits: Tensor, width: int, out: tuple[Tensor, ...]
) -> None:
    """A block of tokens for each program."""
    rows, n = logits.shape
    tokens, experts = 16, triton.next_power_of_2(n)
    grid = (triton.cdiv(rows, tokens),)
    _route[grid](logits, top_ps, limits, *out, rows, n, width, tokens, experts)


def sort_by_expert(experts: Tensor, n_experts: int, out: tuple[Tensor, ...]) -> None:
    """A program for an expert."""
    _sort_by_expert[(n_experts + 1,)](experts, *out, experts.numel(), n_experts, 4096)


def exit_confidence(logits: Tensor, out: tuple[Tensor, ...]) -> None:
    """A program for a row."""
    rows, classes = logits.shape
    block = min(4096, triton.next_power_of_2(classes))
    _exit_confidence[(rows,)](logits, *out, classes, block)


def halt(*arrays: Tensor, out: tuple[Tensor, ...]) -> None:
    """One program for all rows."""
    _halt[(1,)](*arrays, *out, arrays[0].numel(), 1024)


def select_within_budget(*arrays: Tensor, out: tuple[Tensor, ...]) -> None:
    """A program for a request."""
    _select_within_budget[(arrays[3].numel(),)](*arrays, *out, 1024)


TWINS: dict[str, Any] = {
    "route": route,
    "sort_by_expert": sort_by_expert,
    "exit_confidence": exit_confidence,
    "halt": halt,
    "select_within_budget": select_within_budget,
}
