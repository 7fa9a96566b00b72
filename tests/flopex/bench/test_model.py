"""What the model benchmark computes from its measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exchange.metering.adaptive import Policy
from flopex.bench import model as bench
from flopex.bench.model import Measured, cap_violations, decomposition, flop_ratio, make_sets
from flopex.bench.model import Settings as BenchSettings
from tests.worker.model.weights_of_chance import random_run, random_weights
from worker.model import shipped
from worker.model.curve import demand_curve, isotonic, wilson
from worker.model.errors import WeightsError
from worker.model.evaluate import (
    FULL_COMPUTE,
    MATCH_CANDIDATES_PPM,
    Outcome,
    Score,
    bbh_questions,
    choose_policy,
    is_right,
    match,
    matchable,
    outcomes,
    score,
)
from worker.model.forms import NumpyForm
from worker.model.sizes import Run
from worker.model.tasks.splits import split_of
from worker.model.vocabulary import canonical, encode_answer

TINY_SETTINGS = BenchSettings(questions=40, validation=10)
NO_EXTRAS: dict[str, Any] = {
    "latency": {"ratio": 1.0},
    "cap": {"violations": 0},
    "adversarial": {"over_cap": 0},
    "meter": {"mismatches": 0},
}


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> NumpyForm:
    return NumpyForm(random_weights(tmp_path_factory.mktemp("weights")))


def entry(accuracy: float, flops: float, converged: bool = True) -> dict[str, Any]:
    return {"converged": converged, "sets": {"uniform": {"accuracy": accuracy, "flops": flops}}}


def test_the_ratio_is_to_the_cheapest_dense_model_that_is_as_good() -> None:
    contestants = {
        "adaptive": entry(0.8, 100.0),
        "adaptive, all steps": entry(0.9, 110.0),
        "dense3": entry(0.85, 900.0),
        "dense3, early exit": entry(0.8, 400.0),
        "dense1": entry(0.79, 150.0),
        "dense2": entry(0.9, 120.0, converged=False),
    }
    assert flop_ratio(contestants, "uniform") == 4.0
    assert flop_ratio(contestants, "bbh") is None
    contestants["adaptive"] = entry(0.95, 100.0)
    assert flop_ratio(contestants, "uniform") is None


def test_seeds_count_alike_and_those_that_still_learn_do_not() -> None:
    sets = ("uniform", "bbh/a", "bbh/b")
    seeds = [
        Measured(dict.fromkeys(sets, Score(right, flops, 1.0)), converged)
        for right, flops, converged in ((0.5, 100.0, True), (0.7, 300.0, True), (0.9, 10.0, False))
    ]
    found = bench.means_over_seeds(seeds)
    assert (found["converged"], found["seeds"], found["seeds_left_out"]) == (True, 2, 1)
    for name in ("uniform", "bbh/a", "bbh"):
        assert found["sets"][name]["accuracy"] == pytest.approx(0.6)
        assert found["sets"][name]["accuracy_spread"] == pytest.approx(0.2)
        assert found["sets"][name]["flops"] == 200.0
    alone = bench.means_over_seeds(seeds[2:])
    assert (alone["converged"], alone["seeds"], alone["seeds_left_out"]) == (False, 1, 0)
    assert alone["sets"]["uniform"]["accuracy"] == 0.9


def test_a_level_to_match_is_the_mean_of_the_seeds_that_have_converged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense_runs = pytest.importorskip("worker.model.dense_runs", reason="torch is not installed")
    rights = {"dense1-0": 10, "dense1-1": 30, "dense1-2": 40}
    monkeypatch.setattr(dense_runs, "load_dense", lambda path: path.stem)
    monkeypatch.setattr(dense_runs, "choose_exit", lambda model, questions: 0.9)
    monkeypatch.setattr(
        dense_runs,
        "dense_outcomes",
        lambda name, questions, at=2.0: [Outcome(i < rights[name], 7, 1) for i in range(40)],
    )
    monkeypatch.setattr(bench, "record_of", lambda name, _: {"converged": name != "dense1-2"})
    contestants: dict[str, list[Measured]] = {}
    sets = make_sets(TINY_SETTINGS)
    level = bench.measure_dense(contestants, [*rights], TINY_SETTINGS, sets, lambda _: None)
    assert level == 0.5
    assert [run.converged for run in contestants["dense1"]] == [True, True, False]
    assert bench.measure_dense({}, ["dense1-2"], TINY_SETTINGS, sets, lambda _: None) is None


def test_the_larger_size_stands_beside_the_headline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_extras", lambda *_: NO_EXTRAS)
    monkeypatch.setattr(bench, "matchable", lambda *_: [])  # there is no dense model to match
    settings = BenchSettings(weights=tmp_path, questions=3, validation=1)
    with pytest.raises(WeightsError, match="no weights of the adaptive model"):
        bench.run(settings, lambda _: None)
    random_run(tmp_path, Run("adaptive", "tiny", 0))
    alone = bench.run(settings, lambda _: None)
    assert alone["summary"].pop("small") is None
    random_run(tmp_path, Run("adaptive", "small", 0))
    both = bench.run(settings, lambda _: None)
    small = both["summary"].pop("small")
    assert both["summary"] == alone["summary"], "the headline is about the default size"
    assert both["summary"]["seeds"] == {"adaptive": 1}
    rows = both["contestants"]
    for mix in ("uniform", "easy_heavy"):
        gated, full = (rows[f"adaptive-small{end}"]["sets"][mix] for end in ("", ", all steps"))
        assert small["flops"][mix] == round(gated["flops"])
        assert small["accuracy_all_steps"][mix] == round(full["accuracy"], 4)
        assert full["flops"] > rows["adaptive, all steps"]["sets"][mix]["flops"]
    assert small["gate_ratio"] == round(full["flops"] / gated["flops"], 3)
    assert small["seeds"] == 1
    bench.keep_policies(both, tmp_path)
    monkeypatch.setattr(shipped, "TRAINED", tmp_path)
    for size in ("tiny", "small"):
        kept = shipped.shipped_policy.__wrapped__(size)
        assert kept == Policy(**both["policies"][size]["0"])


def test_sets_come_from_their_splits() -> None:
    sets = make_sets(TINY_SETTINGS)
    assert len(sets.validation) == 20
    assert {len(sets.uniform), len(sets.easy_heavy)} == {40}
    assert not set(sets.validation) & set(sets.uniform)
    assert make_sets(TINY_SETTINGS) == sets


def test_items_of_bbh_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "boolean_expressions.json").write_text(
        '{"examples": [{"input": "not False is", "target": "True"}, {"input": "", "target": "x"}]}'
    )
    (tmp_path / "snarks.json").write_text('{"examples": []}')
    (readable, unreadable) = bbh_questions(tmp_path)["boolean_expressions"]
    assert is_right(encode_answer("true", readable.aliases), readable)
    assert not is_right(encode_answer("false", readable.aliases), readable)
    assert unreadable.tokens == ()
    assert split_of(canonical("not False is")) in {"train", "validation", "test"}


def test_outcomes_of_what_cannot_be_read_are_wrong_and_free(
    form: NumpyForm, tmp_path: Path
) -> None:
    (tmp_path / "navigate.json").write_text('{"examples": [{"input": "", "target": "Yes"}]}')
    questions = bbh_questions(tmp_path)["navigate"]
    assert outcomes(form, questions, FULL_COMPUTE) == [Outcome(False, 0, 0)]


def test_thresholds_are_chosen_to_save(form: NumpyForm) -> None:
    validation = make_sets(TINY_SETTINGS).validation
    policy = choose_policy(form, validation)
    chosen, full = (score(outcomes(form, validation, p)) for p in (policy, FULL_COMPUTE))
    assert chosen.flops <= full.flops
    assert chosen.accuracy >= full.accuracy - 0.02


def test_a_level_is_reached_at_its_cheapest(form: NumpyForm) -> None:
    validation = make_sets(TINY_SETTINGS).validation
    tried = matchable(form, validation)
    cheapest = match(tried, 0.0)
    assert cheapest is not None
    assert score(outcomes(form, validation, cheapest)).flops == min(
        score(outcomes(form, validation, Policy(halt_ppm=halt, steps_max=1))).flops
        for halt in MATCH_CANDIDATES_PPM
    )
    assert match(tried, 1.01) is None


def test_caps_hold_and_variants_are_measured(form: NumpyForm) -> None:
    sets = make_sets(BenchSettings(questions=20, validation=1))
    assert cap_violations(form, Policy(), sets.uniform, 1) == 0
    parts = decomposition(form, Policy(halt_ppm=30_000), sets)["uniform"]
    assert parts["one expert"]["flops"] < parts["most experts"]["flops"]
    assert parts["gate"]["flops"] <= parts["halting off"]["flops"]
    assert parts["fixed 1 steps"]["flops"] < parts["fixed 8 steps"]["flops"]


def test_a_demand_curve_rises_and_starts_at_nothing(form: NumpyForm) -> None:
    questions = make_sets(TINY_SETTINGS).uniform
    curve = demand_curve(form, Policy(), questions, (1_000, 400_000, 2_000_000))
    assert curve.points[0].measured == curve.points[0].spent_flops == 0
    fitted = [point.fitted for point in curve.points]
    assert fitted == sorted(fitted)
    assert all(
        p.low <= p.fitted <= p.high and p.spent_flops <= p.budget_flops for p in curve.points
    )
    assert all(worth >= 0 for worth in curve.worth_nanos_per_cu(1_000))


def test_isotonic_fits_and_intervals() -> None:
    assert isotonic([0.5, 0.4, 0.6]) == [0.45, 0.45, 0.6]
    assert isotonic([3.0, 2.0, 1.0]) == [2.0, 2.0, 2.0]
    low, high = wilson(0.0, 50)
    assert low == 0
    assert 0 < high < 0.1


def test_the_cost_of_a_dense_model_is_what_torch_counts() -> None:
    """Its projections, that is: torch counts nothing for fused attention (CPU)."""
    torch = pytest.importorskip("torch")
    import numpy as np
    from torch.utils.flop_counter import FlopCounterMode

    from worker.model.contestants import CONTESTANTS
    from worker.model.dense_runs import dense_flops
    from worker.model.reading import read_rows
    from worker.model.sizes import SIZES

    shape, length = SIZES["tiny"], 17
    rows = [torch.from_numpy(r) for r in read_rows(np.full((1, length), 300), np.array([0]))]
    counted = {}
    for name in ("dense2", "dense3"):
        model = CONTESTANTS[name].build(shape).requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            model(*rows)
        counted[name] = counter.get_total_flops()
    # The working is read out in training alone; a baseline is not charged for it.
    each = 4 * shape.width * shape.answers + 2 * shape.width * (shape.width + shape.gate_width)
    layer = counted["dense3"] - counted["dense2"] - each - 4 * shape.gate_width
    attention = 4 * shape.width * length * length
    deeper = dense_flops(shape, length, [3], gated=False) - dense_flops(
        shape, length, [2], gated=False
    )
    assert deeper == layer + attention
