"""`flopex bench model`: what the adaptive model saves, against whom, and what it never does.

All thresholds are chosen on the validation split; no test question, and no BIG-Bench-Hard item that
the folder holds, was trained on (splits by hash, `flopex train --exclude`). Every baseline in the
folder of weights is measured, with and without its own early exits; which one is chosen decides
the headline, so all are told. The headline is about the size `tiny`, of which there are several
seeds; the size `small` stands beside it, in an object of its own.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.metering.adaptive import Policy, adaptive_flops, inconsistencies
from worker.model.errors import WeightsError
from worker.model.evaluate import (
    FULL_COMPUTE,
    Outcome,
    Question,
    Score,
    bbh_questions,
    choose_policy,
    drawn_questions,
    match,
    matchable,
    outcomes,
    run_adaptive,
    score,
)
from worker.model.forms import NumpyForm
from worker.model.shipped import POLICY_FILE, TRAINED, load_adaptive, record_of, trained
from worker.model.sizes import DEFAULT_SIZE, Run
from worker.model.thinking import Request, think

SEED_SHIFT: Final = 7_000
"""Question seeds of the benchmark begin here: far from those of training."""
SEEDS: Final = 3
"""Seeds that `--retrain` trains; of LARGER the first one alone."""
LARGER: Final = "small"
"""The size that is measured beside the default one, and not compared with dense models."""
BUDGETED: Final = 600
METERED: Final = 1_000
FIXED_STEPS: Final = (1, 2, 3, 4, 6, 8)

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What to measure.

    data: folder of BIG-Bench-Hard files, or None.  questions: per mix, for the test.
    """

    seed: int = 1
    data: Path | None = None
    weights: Path = TRAINED
    questions: int = 1_500
    validation: int = 600


@dataclasses.dataclass(frozen=True, slots=True)
class Sets:
    """The questions of a run."""

    validation: list[Question]
    uniform: list[Question]
    easy_heavy: list[Question]
    bbh: dict[str, list[Question]]

    def tests(self) -> dict[str, list[Question]]:
        """All test sets by name."""
        bbh = {f"bbh/{task}": questions for task, questions in self.bbh.items()}
        return {"uniform": self.uniform, "easy_heavy": self.easy_heavy, **bbh}


def make_sets(settings: Settings) -> Sets:
    """Draw the questions.

    Raises:
        BbhError: `settings.data` holds no such file, or a damaged one.
    """
    seed, count = settings.seed + SEED_SHIFT, settings.questions
    validation = drawn_questions("validation", "uniform", settings.validation, seed)
    validation += drawn_questions("validation", "easy", settings.validation, seed)
    return Sets(
        validation,
        drawn_questions("test", "uniform", count, seed),
        drawn_questions("test", "easy", count, seed),
        bbh_questions(settings.data) if settings.data else {},
    )


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure everything; the result's `summary` is the last line of the command.

    Raises:
        WeightsError: weights are missing, damaged, or of another digest.
        BbhError: as `make_sets`.
    """
    sets = make_sets(settings)
    found = trained(settings.weights)
    if "adaptive" not in found:
        raise WeightsError(f"{settings.weights} holds no weights of the adaptive model")
    contestants: dict[str, list[Measured]] = {}
    policies: dict[str, dict[str, dict[str, int]]] = {}
    extras: dict[str, Any] = {}
    forms = []
    for size in (DEFAULT_SIZE, LARGER):
        for seed in trained(settings.weights, size).get("adaptive", []):
            form = load_adaptive(seed, settings.weights, size)
            policy = _measure_adaptive(contestants, form, Run("adaptive", size, seed), sets, report)
            policies.setdefault(size, {})[str(seed)] = policy._asdict()
            if size == DEFAULT_SIZE:
                forms.append((form, matchable(form, sets.validation)))
                extras = extras or _extras(form, policy, sets, settings, report)
    matched = {}
    for name, seeds in found.items():
        if name != "adaptive":
            runs = [Run(name, DEFAULT_SIZE, seed).name for seed in seeds]
            wanted = measure_dense(contestants, runs, settings, sets, report)
            if wanted is not None:
                matched[name] = _matched(forms, sets, wanted)
    means = {name: means_over_seeds(runs) for name, runs in contestants.items()}
    return {
        "settings": {
            **dataclasses.asdict(settings),
            "data": str(settings.data or ""),
            "weights": str(settings.weights),
        },
        "policies": policies,
        "contestants": means,
        "matched": matched,
        **extras,
        "summary": _summary(means, extras, sorted(sets.bbh))
        | {LARGER: beside(means), "matched": _ratios(means, matched)},
    }


def retrain(folder: Path, data: Path | None, report: Report) -> None:
    """Train every contestant for three seeds, and the adaptive one of LARGER for one.

    One after another; runs that were begun go on.

    Raises:
        WeightsError: a run in the folder belongs to another recipe.
    """
    import torch

    from worker.model.contestants import CONTESTANTS
    from worker.model.tasks.splits import Exclusion
    from worker.model.train import Recipe, Training, TrainingError

    torch.set_num_threads(1)
    recipes = [Recipe(name, seed=seed) for seed in range(SEEDS) for name in CONTESTANTS]
    for recipe in [*recipes, Recipe(size=LARGER)]:
        if (folder / f"{recipe.name}.json").exists():
            continue
        exclusion = Exclusion.from_folder(data) if data else Exclusion()
        report(f"training {recipe.name}")
        try:
            Training(recipe, folder, exclusion).run(
                lambda point: report(f"step {point['step']:,.0f}: right {point['right']}")
            )
        except TrainingError as error:
            raise WeightsError(str(error)) from error


class Measured(NamedTuple):
    """The scores of one training run, by set, and whether it had converged."""

    scores: dict[str, Score]
    converged: bool = True


def _labels(size: str) -> tuple[str, str]:
    """What the adaptive model of a size is called in results, gated and at all steps."""
    name = "adaptive" if size == DEFAULT_SIZE else f"adaptive-{size}"
    return name, f"{name}, all steps"


def _scores(sets: Sets, answer: Callable[[list[Question]], list[Outcome]]) -> dict[str, Score]:
    return {name: score(answer(questions)) for name, questions in sets.tests().items()}


def _measure_adaptive(
    contestants: dict[str, list[Measured]],
    form: NumpyForm,
    run: Run,
    sets: Sets,
    report: Report,
) -> Policy:
    """Measure the adaptive model gated and at all steps; the thresholds that were chosen."""
    policy = choose_policy(form, sets.validation)
    report(f"{run.name}: {policy}")
    for label, one in zip(_labels(run.size), (policy, FULL_COMPUTE), strict=True):
        scores = _scores(sets, lambda q: outcomes(form, q, one))  # noqa: B023
        contestants.setdefault(label, []).append(Measured(scores))
    return policy


def measure_dense(
    contestants: dict[str, list[Measured]],
    runs: list[str],
    settings: Settings,
    sets: Sets,
    report: Report,
) -> float | None:
    """Measure the seeds of a baseline with and without its exits.

    Returns:
        Their mean score on the validation split; None where none has converged.
    """
    from worker.model.dense_runs import NEVER, choose_exit, dense_outcomes, load_dense

    validated = []
    for name in runs:
        converged = bool(record_of(name, settings.weights)["converged"])
        model = load_dense(settings.weights / f"{name}.safetensors")
        kind = Run.named(name).contestant
        for exit_at, label in ((NEVER, kind), (0.0, f"{kind}, early exit")):
            at = exit_at or choose_exit(model, sets.validation)
            scores = _scores(sets, lambda q: dense_outcomes(model, q, at))  # noqa: B023
            contestants.setdefault(label, []).append(Measured(scores, converged))
            report(f"{name} {label}: uniform {scores['uniform'].accuracy:.3f}")
        if converged:
            validated.append(score(dense_outcomes(model, sets.validation)).accuracy)
    return sum(validated) / len(validated) if validated else None


def _matched(
    forms: list[tuple[NumpyForm, list[tuple[Score, Policy]]]], sets: Sets, least: float
) -> dict[str, Any] | None:
    """The adaptive model at its cheapest that is as good as a baseline on the validation split.

    Where the adaptive model is better than every baseline this says what it saves at their level.
    """
    runs = []
    for form, tried in forms:
        policy = match(tried, least)
        if policy is None:
            return None
        runs.append(Measured(_scores(sets, lambda q: outcomes(form, q, policy))))  # noqa: B023
    means: dict[str, Any] = means_over_seeds(runs)["sets"]
    return means


def means_over_seeds(measured: list[Measured]) -> dict[str, Any]:
    """Means and spread over the seeds that have converged, by set; over all where none has."""
    converged = [run.scores for run in measured if run.converged]
    runs = converged or [run.scores for run in measured]
    sets = {}
    for name in runs[0]:
        accuracies = [run[name].accuracy for run in runs]
        sets[name] = {
            "accuracy": sum(accuracies) / len(runs),
            "accuracy_spread": max(accuracies) - min(accuracies),
            "flops": sum(run[name].flops for run in runs) / len(runs),
            "steps": sum(run[name].steps for run in runs) / len(runs),
        }
    tasks = [name for name in sets if name.startswith("bbh/")]
    if tasks:
        sets["bbh"] = {
            key: sum(sets[task][key] for task in tasks) / len(tasks)
            for key in ("accuracy", "accuracy_spread", "flops", "steps")
        }
    return {
        "converged": bool(converged),
        "seeds": len(runs),
        "seeds_left_out": len(measured) - len(runs),
        "sets": sets,
    }


def flop_ratio(contestants: dict[str, dict[str, Any]], name: str) -> float | None:
    """FLOPs of the cheapest dense baseline of equal or better score over those of the adaptive.

    Baselines that have not converged are left out; None where none is left that is good enough.
    """
    mine = contestants["adaptive"]["sets"].get(name)
    if mine is None:
        return None
    good = [
        entry["sets"][name]["flops"]
        for label, entry in contestants.items()
        if label.startswith("dense")
        and entry["converged"]
        and entry["sets"][name]["accuracy"] >= mine["accuracy"]
    ]
    return round(min(good) / mine["flops"], 3) if good else None


def _ratios(
    contestants: dict[str, dict[str, Any]], matched: dict[str, dict[str, Any] | None]
) -> dict[str, dict[str, list[float]]]:
    """By baseline and set: its score, that of the adaptive model, and how many times its FLOPs."""
    return {
        name: {
            s: [
                round(contestants[name]["sets"][s]["accuracy"], 4),
                round(sets[s]["accuracy"], 4),
                round(contestants[name]["sets"][s]["flops"] / sets[s]["flops"], 3),
            ]
            for s in ("uniform", "easy_heavy", "bbh")
            if s in sets
        }
        for name, sets in matched.items()
        if sets is not None
    }


def _summary(
    contestants: dict[str, dict[str, Any]],
    extras: dict[str, Any],
    tasks: list[str],
) -> dict[str, Any]:
    mine, full = (contestants[label]["sets"] for label in _labels(DEFAULT_SIZE))
    dense = {
        label: {
            "converged": entry["converged"],
            **{s: round(entry["sets"][s]["accuracy"], 4) for s in ("uniform", "easy_heavy")},
            **{f"flops_{s}": round(entry["sets"][s]["flops"]) for s in ("uniform", "easy_heavy")},
            "bbh": round(entry["sets"]["bbh"]["accuracy"], 4) if tasks else None,
            "flops_bbh": round(entry["sets"]["bbh"]["flops"]) if tasks else None,
        }
        for label, entry in contestants.items()
        if label.startswith("dense")
    }
    return {
        "flop_ratio_uniform": flop_ratio(contestants, "uniform"),
        "flop_ratio_easy_heavy": flop_ratio(contestants, "easy_heavy"),
        "flop_ratio_bbh": flop_ratio(contestants, "bbh"),
        "gate_ratio": round(full["easy_heavy"]["flops"] / mine["easy_heavy"]["flops"], 3),
        "accuracy_adaptive": {
            name: round(mine[name]["accuracy"], 4) for name in ("uniform", "easy_heavy")
        },
        "accuracy_dense": dense,
        "bbh_accuracy_by_task": {t: round(mine[f"bbh/{t}"]["accuracy"], 4) for t in tasks},
        "latency_ratio_easy": extras["latency"]["ratio"],
        "cap_violations": extras["cap"]["violations"] + extras["adversarial"]["over_cap"],
        "meter_mismatches": extras["meter"]["mismatches"],
        "seeds": {
            label: entry["seeds"]
            for label, entry in contestants.items()
            if "," not in label and label != _labels(LARGER)[0]
        },
    }


def beside(contestants: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The size LARGER: scores, FLOPs and what its gate saves; None where it has no weights."""
    label, all_steps = _labels(LARGER)
    if label not in contestants:
        return None
    mine, full = contestants[label]["sets"], contestants[all_steps]["sets"]
    names = [name for name in ("uniform", "easy_heavy", "bbh") if name in mine]
    return {
        "seeds": contestants[label]["seeds"],
        "accuracy": {name: round(mine[name]["accuracy"], 4) for name in names},
        "flops": {name: round(mine[name]["flops"]) for name in names},
        "accuracy_all_steps": {name: round(full[name]["accuracy"], 4) for name in names},
        "flops_all_steps": {name: round(full[name]["flops"]) for name in names},
        "gate_ratio": round(full["easy_heavy"]["flops"] / mine["easy_heavy"]["flops"], 3),
        "bbh_accuracy_by_task": {
            name.removeprefix("bbh/"): round(found["accuracy"], 4)
            for name, found in mine.items()
            if name.startswith("bbh/")
        },
    }


def _extras(
    form: NumpyForm, policy: Policy, sets: Sets, settings: Settings, report: Report
) -> dict[str, Any]:
    """What is measured on the first seed alone."""
    from flopex.bench.model_parts import adversarial, latency, meter_mismatches

    by_difficulty = _by_difficulty(form, policy, sets.uniform)
    report("decomposition")
    parts = decomposition(form, policy, sets)
    report("caps")
    caps = cap_violations(form, policy, sets.uniform[:BUDGETED], settings.seed)
    report("adversarial inputs")
    hard = adversarial(form, policy, settings.seed)
    report("meter")
    mismatches = meter_mismatches(settings.weights, policy, sets.uniform[:METERED])
    report("latency")
    return {
        "by_difficulty": by_difficulty,
        "decomposition": parts,
        "cap": {"requests": BUDGETED, "violations": caps},
        "adversarial": hard,
        "meter": {"requests": min(METERED, len(sets.uniform)), "mismatches": mismatches},
        "latency": latency(),
    }


def _by_difficulty(
    form: NumpyForm, policy: Policy, questions: list[Question]
) -> dict[str, dict[str, float]]:
    found: dict[int, list[Outcome]] = {}
    first: dict[int, list[int]] = {}
    runs = run_adaptive(form, questions, policy)
    for question, outcome, thinking in zip(
        questions, outcomes(form, questions, policy), runs, strict=True
    ):
        found.setdefault(question.difficulty, []).append(outcome)
        assert thinking is not None, "questions that are made can be read"
        first.setdefault(question.difficulty, []).append(len(thinking.thoughts[0].steps))
    return {
        str(k): {**score(found[k])._asdict(), "first_token_steps": sum(first[k]) / len(first[k])}
        for k in sorted(found)
    }


def decomposition(form: NumpyForm, policy: Policy, sets: Sets) -> dict[str, Any]:
    """What each part of the gate brings, on the same weights.

    experts: one, as many as cover the policy's share, always the most.  fixed steps: the same for
    every token, the best of which is what a gate has to beat.  token routing: only the thinking
    token goes through the core; what it would cost to send all tokens through is computed, not run.
    """
    found: dict[str, Any] = {}
    variants = {
        "gate": policy,
        "halting off": FULL_COMPUTE,
        "hopeless off": policy._replace(hopeless_ppm=0),
        "one expert": policy._replace(route_p_milli=1),
        "most experts": policy._replace(route_p_milli=1_000),
        **{f"fixed {n} steps": FULL_COMPUTE._replace(steps_max=n) for n in FIXED_STEPS},
    }
    for mix, questions in (("uniform", sets.uniform), ("easy_heavy", sets.easy_heavy)):
        found[mix] = {
            name: score(outcomes(form, questions, variant))._asdict()
            for name, variant in variants.items()
        }
        length = sum(len(q.tokens) + 1 for q in questions) / len(questions)
        found[mix]["all tokens through the core (computed)"] = {
            "flops": found[mix]["gate"]["flops"] * length
        }
    return found


def cap_violations(form: NumpyForm, policy: Policy, questions: list[Question], seed: int) -> int:
    """Requests with budgets of chance, from nothing to plenty, that did more than theirs."""
    rng = random.Random(seed)
    requests = [Request(q.tokens, rng.randrange(4_000_000), policy) for q in questions]
    broken = 0
    for thinking in think(form, requests):
        trace = thinking.trace()
        over = adaptive_flops(form.shape, trace) > thinking.request.budget_flops
        broken += over or bool(inconsistencies(form.shape, trace))
    return broken


def keep_policies(result: dict[str, Any], folder: Path = TRAINED) -> Path:
    """Write the chosen thresholds where the worker finds them."""
    path = folder / POLICY_FILE
    path.write_text(json.dumps(result["policies"], indent=1) + "\n")
    return path
