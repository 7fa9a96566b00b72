"""The gate's arithmetic: one test body per function, run on every array library there is.

Decisions are held against plain Python that reads the definition aloud; numbers against fp64; and
every library against NumPy, to the last bit.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.metering import adaptive
from flopex.bench.gating.cases import awkward
from tests.worker.model import arrays
from worker.model import gate_reference, gating
from worker.model.gating import Decision, GateError, Limits

SEEDS = range(12)


@pytest.fixture(params=arrays.LIBRARIES)
def lib(request: pytest.FixtureRequest) -> arrays.Library:
    return arrays.library(request.param)


def test_decisions_have_the_numbers_that_traces_record() -> None:
    recorded = {decision.name: int(decision) for decision in adaptive.Decision}
    said = {decision.name: int(decision) for decision in Decision}
    assert said == recorded | {"UNDEFINED": 6}, "what a NaN gives is never recorded"


def same_bits(got: Any, expected: Any) -> None:
    for name, given_, theirs in zip(expected._fields, got, expected, strict=True):
        mine = arrays.Library.take(given_)
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


def softmax64(row: np.ndarray) -> np.ndarray:
    parts = np.exp(row.astype(np.float64) - float(row.max()))
    shares: np.ndarray = parts / parts.sum()
    return shares


def undefined(row: np.ndarray) -> bool:
    return bool(np.isnan(row).any() or row.max() == np.inf or row.max() == -np.inf)


def by_rank(row: np.ndarray) -> list[int]:
    numbers = (i for i in range(len(row)) if not np.isnan(row[i]))
    return sorted(numbers, key=lambda i: (-float(row[i]), i))


# ---- route ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_routes_are_the_shortest_prefix(lib: arrays.Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, experts = int(rng.integers(1, 60)), int(rng.integers(1, 65))
    width = int(rng.integers(1, experts + 1))
    logits = awkward(rng, (tokens, experts))
    top_p = rng.uniform(0.05, 1.0, tokens).astype(np.float32)
    most = rng.integers(1, experts + 2, tokens).astype(np.int32)
    routing = gating.route(lib.give(logits), lib.give(top_p), lib.give(most), width=width)
    same_bits(routing, gating.route(logits, top_p, most, width=width))
    chosen, weights, counts, margins = map(lib.take, routing)
    for row in range(tokens):
        if undefined(logits[row]):
            assert counts[row] == 0
            assert np.isnan(margins[row])
        else:
            share = softmax64(logits[row])
            rank = [i for i in by_rank(logits[row]) if share[i] > 1e-36]
            limit = min(width, int(most[row]), len(rank))
            sums = np.cumsum(share[rank])
            count = min(limit, int(np.argmax(np.append(sums, 2.0) >= top_p[row])) + 1)
            if margins[row] > 1e-6:
                assert counts[row] == count
            assert list(chosen[row, : counts[row]]) == rank[: counts[row]]
            kept = share[rank[: counts[row]]]
            np.testing.assert_allclose(
                weights[row, : counts[row]], kept / kept.sum(), rtol=2e-6, atol=1e-7
            )
        assert (chosen[row, counts[row] :] == -1).all()
        assert (weights[row, counts[row] :] == 0).all()


def test_equal_experts_go_by_index(lib: arrays.Library) -> None:
    logits = np.array([[0.0, 2.0, -0.0, 2.0], [-0.0, 0.0, -0.0, 0.0]], np.float32)
    routing = gating.route(lib.give(logits), 1.0, 3, width=4)
    assert lib.take(routing.experts).tolist() == [[1, 3, 0, -1], [0, 1, 2, -1]]
    assert lib.take(routing.margins).tolist() == [0.0, 0.0]


def test_margins_are_distances_to_another_decision(lib: arrays.Library) -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], np.float32))
    top_p = np.array([0.45, 0.72, 0.99], np.float32)
    most = np.array([3, 3, 2], np.int32)
    routing = gating.route(lib.give(logits), lib.give(top_p), lib.give(most), width=3)
    assert lib.take(routing.counts).tolist() == [1, 2, 2]
    # 1: the first reaches .45 by .05. 2: both reach .72 by .08. 3: the second before the third.
    np.testing.assert_allclose(lib.take(routing.margins), [0.05, 0.08, 0.1], atol=1e-6)


def test_a_row_does_not_feel_its_neighbours(lib: arrays.Library) -> None:
    logits = awkward(np.random.default_rng(5), (40, 8))
    together = [lib.take(x) for x in gating.route(lib.give(logits), 0.7, 2, width=2)]
    for row in range(40):
        alone = gating.route(lib.give(logits[row : row + 1]), 0.7, 2, width=2)
        for field, mine in zip(together, alone, strict=True):
            np.testing.assert_array_equal(field[row : row + 1], lib.take(mine))


def test_gradients_flow_through_the_weights() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    values = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    logits = torch.tensor(values, requires_grad=True)
    routing = gating.route(logits, 0.6, 3, width=3)
    dense = gating.dense_weights(routing, 8)
    same_bits(
        routing._replace(weights=routing.weights.detach()), gating.route(values, 0.6, 3, width=3)
    )
    picked = torch.tensor(values, requires_grad=True)
    soft = picked.masked_fill(dense.detach() == 0, -torch.inf).softmax(-1)
    target = torch.arange(48.0).reshape(6, 8)
    (dense * target).sum().backward()
    (soft * target).sum().backward()
    torch.testing.assert_close(logits.grad, picked.grad, rtol=1e-5, atol=1e-5)


# ---- sort_by_expert ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_entries_are_sorted_by_expert(lib: arrays.Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_experts = int(rng.integers(1, 65))
    shape = int(rng.integers(0, 300)), int(rng.integers(1, 5))
    experts = rng.integers(-1, n_experts, shape).astype(np.int8)
    dispatch = gating.sort_by_expert(lib.give(experts), n_experts)
    same_bits(dispatch, gating.sort_by_expert(experts, n_experts))
    entries, offsets = map(lib.take, dispatch)
    flat = experts.reshape(-1)
    for expert in range(n_experts):
        mine = entries[offsets[expert] : offsets[expert + 1]]
        assert mine.tolist() == np.nonzero(flat == expert)[0].tolist()
    assert offsets[0] == 0
    assert (entries[offsets[-1] :] == -1).all()


# ---- exit_confidence -----------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 10, 255, 256, 257, 4096, 4097, 9001])
def test_confidence_is_that_of_the_softmax(lib: arrays.Library, classes: int) -> None:
    logits = awkward(np.random.default_rng(classes), (17, classes), share=0.1)
    confidence = gating.exit_confidence(lib.give(logits))
    same_bits(confidence, gating.exit_confidence(logits))
    tokens, probabilities, entropies, margins = map(lib.take, confidence)
    for row in range(17):
        if undefined(logits[row]):
            assert tokens[row] == -1
            assert np.isnan([probabilities[row], entropies[row], margins[row]]).all()
            continue
        share = softmax64(logits[row])
        rank = by_rank(logits[row])
        second = share[rank[1]] if classes > 1 else 0.0
        assert tokens[row] == rank[0]
        held = share[share > 0]
        expected = [share[rank[0]], -(held * np.log(held)).sum(), share[rank[0]] - second]
        got = [probabilities[row], entropies[row], margins[row]]
        np.testing.assert_allclose(got, expected, atol=3e-6)


def test_bf16_is_read_as_it_stands() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    logits = torch.tensor(np.random.default_rng(2).normal(size=(5, 500)).astype(np.float32))
    narrow = logits.bfloat16()
    wide = gating.exit_confidence(narrow.float().numpy())
    same_bits(gating.exit_confidence(narrow), wide)
    same_bits(gating.exit_confidence(narrow.view(torch.uint16).numpy()), wide)


def test_the_longest_vocabulary_is_read() -> None:
    logits = np.zeros((1, gating.CLASSES_MAX), np.float32)
    confidence = gating.exit_confidence(logits)
    assert confidence.tokens[0] == 0
    assert confidence.margins[0] == 0
    assert confidence.entropies[0] == pytest.approx(np.log(gating.CLASSES_MAX), abs=2e-6)
    with pytest.raises(GateError, match="1 to 262144"):
        gating.exit_confidence(np.zeros((1, gating.CLASSES_MAX + 1), np.float32))


# ---- halt ----------------------------------------------------------------------------------------


def limits(rng: np.random.Generator, rows: int) -> Limits:
    return Limits(
        rng.integers(500_000, 1_000_001, rows).astype(np.int32),
        rng.integers(0, 500_000, rows).astype(np.int32),
        rng.integers(-1_000_000, 500_000, rows).astype(np.int32),
        rng.integers(0, 5, rows).astype(np.int32),
        rng.integers(0, 10**12, rows),
        rng.integers(0, 10**13, rows),
    )


def decide(now: int, ever: int, row: tuple[int, ...]) -> Decision:
    halt, hopeless, price, steps, flops, left = row
    if now >= halt:
        return Decision.ANSWER
    if ever < hopeless:
        return Decision.HOPELESS
    if ever - now <= price:
        return Decision.PRICE
    if steps < 1:
        return Decision.STEPS
    return Decision.BUDGET if flops > left else Decision.GO_ON


@pytest.mark.parametrize("seed", SEEDS)
def test_halting_reads_the_rules_in_order(lib: arrays.Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(0, 400))
    now, ever = (rng.normal(scale=4, size=rows).astype(np.float32) for _ in range(2))
    for head in (now, ever):
        head[rng.random(rows) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])
    bounds = limits(rng, rows)
    halting = gating.halt(lib.give(now), lib.give(ever), Limits(*map(lib.give, bounds)))
    same_bits(halting, gating.halt(now, ever, bounds))
    decisions, now_ppm, ever_ppm, live, n_live = map(lib.take, halting)
    for row in range(rows):
        if np.isnan(now[row]) or np.isnan(ever[row]):
            assert decisions[row] == Decision.UNDEFINED
            assert now_ppm[row] == ever_ppm[row] == -1
            continue
        for logit, ppm in ((now[row], now_ppm[row]), (ever[row], ever_ppm[row])):
            exact = 1e6 / (1 + np.exp(np.clip(-np.float64(logit), -700, 700)))
            assert abs(ppm - exact) <= 1.2
        mine = tuple(int(field[row]) for field in bounds)
        assert decisions[row] == decide(int(now_ppm[row]), int(ever_ppm[row]), mine)
    going = np.nonzero(decisions == Decision.GO_ON)[0]
    assert n_live.tolist() == [len(going)]
    assert live[: len(going)].tolist() == going.tolist()
    assert (live[len(going) :] == -1).all()


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**18),
    st.integers(0, 10**18),
    st.integers(-1_000_000, 1_000_000),
)
def test_the_price_is_exact(price: int, flops: int, value: int, gain: int) -> None:
    ppm = gating.price_ppm(price, flops, value)
    if value == 0:
        assert ppm == gating.NO_PRICE_PPM < gain
        return
    costs = Fraction(price * flops, 10**12)
    assert (gain <= ppm) == (Fraction(gain, 10**6) * value <= costs)


def test_probabilities_are_rounded_down_to_millionths(lib: arrays.Library) -> None:
    given_ = np.array([0.0, 1e-7, 0.5, 0.9999999, 1.0], np.float32)
    ppm = lib.take(gating.to_ppm(lib.give(given_)))
    assert ppm.tolist() == [0, 0, 500_000, 999_999, 1_000_000]
    ends = lib.give(np.array([0.0, -np.inf, np.inf], np.float32))
    assert lib.take(gating.sigmoid(ends)).tolist() == [0.5, 0.0, 1.0]


# ---- select_within_budget, top_k -----------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_requests_take_what_their_budget_covers(lib: arrays.Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 50, int(rng.integers(1, 12)))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    scores = awkward(rng, (int(offsets[-1]) or 1, 1))[: offsets[-1], 0]
    costs = rng.integers(0, 10**12, len(scores)) * rng.integers(0, 2, len(scores))
    budgets = rng.integers(-1, 10**13, len(sizes))
    given_ = scores, costs, offsets, budgets
    selection = gating.select_within_budget(*map(lib.give, given_))
    same_bits(selection, gating.select_within_budget(*given_))
    chosen, thresholds, spent = map(lib.take, selection)
    for request, budget in enumerate(budgets):
        mine = slice(offsets[request], offsets[request + 1])
        taken, total = [], 0
        for item in by_rank(scores[mine]):
            if total + costs[mine][item] > budget:
                break
            total += int(costs[mine][item])
            taken.append(item)
        assert np.nonzero(chosen[mine])[0].tolist() == sorted(taken)
        assert spent[request] == total
        assert thresholds[request] == (scores[mine][taken[-1]] if taken else np.inf)


def test_the_highest_scores_by_index(lib: arrays.Library) -> None:
    scores = np.array([[1, 3, 3, -np.inf], [0.0, -0.0, 5, 0.0]], np.float32)
    assert lib.take(gating.top_k(lib.give(scores), 3)).tolist() == [[1, 2, 0], [2, 0, 1]]


# ---- exp and log ---------------------------------------------------------------------------------


def test_exp_is_as_good_as_fp32() -> None:
    x = np.linspace(-86, 0, 2_000_001, dtype=np.float32)[1:]
    exact = np.exp(x.astype(np.float64))
    got = gate_reference.exponential(x)
    assert np.abs(got - exact).max() < 1.2e-7
    assert np.abs(got / exact - 1)[x > -1].max() < 2e-7
    assert got[-1] == 1.0
    assert (np.diff(got) >= -6e-8).all()
    assert (
        gate_reference.exponential(np.array([-86, -1e30, -np.inf], np.float32)).tolist() == [0] * 3
    )


def test_log_is_as_good_as_fp32() -> None:
    x = np.concatenate([np.linspace(1, 3, 500_001), np.geomspace(1, 3e5, 500_001)])
    x = x.astype(np.float32)
    exact = np.log(x.astype(np.float64))
    assert (np.abs(gate_reference.logarithm(x) - exact) < 1.2e-7 * np.maximum(1, exact)).all()


# ---- bad input -----------------------------------------------------------------------------------

ROW = np.zeros((2, 4), np.float32)
NO_LIMITS = limits(np.random.default_rng(0), 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gating.route([[1.0]], 0.5, 1, width=1), "list is no NumPy, torch or CuPy array"),
        (lambda: gating.route(ROW.astype(float), 0.5, 1, width=1), "float64 of shape 2x4"),
        (lambda: gating.route(np.zeros((1, 65), np.float32), 0.5, 1, width=1), "65 experts"),
        (lambda: gating.route(ROW, 0.5, 1, width=5), "width 5"),
        (lambda: gating.route(ROW, 0.0, 1, width=1), "top_p 0.0"),
        (lambda: gating.route(ROW, 0.5, 0, width=1), "experts_max 0"),
        (lambda: gating.route(ROW, np.zeros(3, np.float32), 1, width=1), "3 rows instead of 2"),
        (lambda: gating.sort_by_expert(ROW, 4), "experts is float32"),
        (lambda: gating.sort_by_expert(ROW.astype(np.int8), 65), "65 experts"),
        (lambda: gating.exit_confidence(ROW[:, :0]), "rows of 0 logits"),
        (lambda: gating.halt(ROW[0], ROW[0], NO_LIMITS), "halt_ppm has 3 rows and now_logits 4"),
        (lambda: gating.top_k(ROW, 5), "k 5"),
        (lambda: gating.price_ppm(-1, 1, 1), "negative"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(GateError, match=message):
        call()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"costs": np.array([1], np.int64)}, "1 costs and 2 scores"),
        ({"costs": np.array([1, -1], np.int64)}, "a cost is negative"),
        ({"offsets": np.array([0, 3], np.int32)}, "offsets must rise from 0 to 2"),
        ({"offsets": np.array([0], np.int32)}, "1 offsets for 1 budgets"),
    ],
)
def test_bad_budgets_are_refused(changed: dict[str, np.ndarray], message: str) -> None:
    good = {
        "scores": np.zeros(2, np.float32),
        "costs": np.ones(2, np.int64),
        "offsets": np.array([0, 2], np.int32),
        "budgets": np.ones(1, np.int64),
    }
    with pytest.raises(GateError, match=message):
        gating.select_within_budget(**{**good, **changed})


def test_arrays_of_two_libraries_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    with pytest.raises(GateError, match="numpy on cpu and torch on cpu"):
        gating.route(torch.tensor(ROW), np.ones(2, np.float32), 1, width=1)


def test_array_code_says_that_it_is() -> None:
    assert gating.backend(ROW) == ("numpy", "the array is in the memory of the CPU")
