"""The same decisions as torch users write them: several library calls, each a kernel or more.

They follow the definitions, but not the promises: torch does not say in which order equal numbers
come, sums in an order of its own, and its exp differs in the last bits. Nothing here waits for the
device, as nothing in the kernels does.
"""

from __future__ import annotations

from typing import Any

import torch

Tensor = Any


def route(logits: Tensor, top_ps: Tensor, limits: Tensor, width: int) -> tuple[Tensor, ...]:
    """Softmax, top-k, running sum, comparison, renormalisation."""
    shares, experts = torch.softmax(logits, -1).topk(width, -1)
    before = shares.cumsum(-1) - shares
    columns = torch.arange(width, device=logits.device)
    used = (before < top_ps[:, None]) & (columns < limits[:, None])
    kept = torch.where(used, shares, 0.0)
    weights = kept / kept.sum(-1, keepdim=True)
    return torch.where(used, experts, -1).to(torch.int8), weights, used.sum(-1, dtype=torch.int32)


def sort_by_expert(experts: Tensor, n_experts: int) -> tuple[Tensor, ...]:
    """A stable sort, and a search for where each expert begins."""
    flat = experts.flatten()
    keys = torch.where(flat < 0, n_experts, flat)
    ordered, entries = keys.sort(stable=True)
    numbers = torch.arange(n_experts + 1, device=flat.device, dtype=ordered.dtype)
    offsets = torch.searchsorted(ordered, numbers, out_int32=True)
    return torch.where(ordered < n_experts, entries, -1).to(torch.int32), offsets


def exit_confidence(logits: Tensor) -> tuple[Tensor, ...]:
    """Softmax in fp32, the two best, entropy."""
    shares = torch.softmax(logits, -1, dtype=torch.float32)
    best, tokens = shares.topk(2, -1)
    entropies = torch.special.entr(shares).sum(-1)
    return tokens[:, 0].to(torch.int32), best[:, 0], entropies, best[:, 0] - best[:, 1]


def halt(now_logits: Tensor, ever_logits: Tensor, *limits: Tensor) -> tuple[Tensor, ...]:
    """Two sigmoids, five comparisons, a sort that brings the rows that go on to the front."""
    halt_ppm, hopeless_ppm, price_ppm, steps_left, next_flops, left_flops = limits
    now = (torch.sigmoid(now_logits) * 1e6).to(torch.int32)
    ever = (torch.sigmoid(ever_logits) * 1e6).to(torch.int32)
    decisions = torch.where(next_flops > left_flops, 5, 0)
    decisions = torch.where(steps_left < 1, 4, decisions)
    decisions = torch.where(ever - now <= price_ppm, 3, decisions)
    decisions = torch.where(ever < hopeless_ppm, 2, decisions)
    decisions = torch.where(now >= halt_ppm, 1, decisions).to(torch.int8)
    stops = (decisions != 0).to(torch.int8)
    rows = stops.argsort(stable=True)
    n_live = (1 - stops).sum(dtype=torch.int32)
    places = torch.arange(len(rows), device=rows.device)
    return decisions, now, ever, torch.where(places < n_live, rows, -1).to(torch.int32), n_live


def select_within_budget(
    scores: Tensor, costs: Tensor, offsets: Tensor, budgets: Tensor
) -> tuple[Tensor, ...]:
    """Sort by score, then stably by request; a running sum, less what it was where each began."""
    items = torch.arange(len(scores), device=scores.device, dtype=offsets.dtype)
    requests = torch.searchsorted(offsets[1:], items, right=True)
    by_score = scores.argsort(descending=True, stable=True)
    order = by_score[requests[by_score].argsort(stable=True)]
    sums = torch.cat([costs.new_zeros(1), costs[order].cumsum(0)])
    mine = requests[order]
    taken = sums[1:] - sums[offsets[mine]] <= budgets[mine]
    chosen = torch.empty_like(taken).index_copy(0, order, taken)
    lowest = torch.where(taken, scores[order], torch.inf)
    thresholds = torch.full_like(budgets, torch.inf, dtype=torch.float32)
    thresholds = thresholds.scatter_reduce(0, mine, lowest, "amin")
    spent = torch.zeros_like(budgets).scatter_add(0, mine, torch.where(taken, costs[order], 0))
    return chosen, thresholds, spent


EAGER: dict[str, Any] = {
    "route": route,
    "sort_by_expert": sort_by_expert,
    "exit_confidence": exit_confidence,
    "halt": halt,
    "select_within_budget": select_within_budget,
}
