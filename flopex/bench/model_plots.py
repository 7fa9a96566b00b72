"""Plots of `flopex bench model`: calibration, steps by difficulty, accuracy against budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from exchange.metering.adaptive import PPM, Policy
from flopex.bench.model import Settings, make_sets
from worker.model.curve import Curve, demand_curve
from worker.model.evaluate import FULL_COMPUTE, Question, is_right, run_adaptive
from worker.model.forms import NumpyForm
from worker.model.shipped import load_adaptive
from worker.model.sizes import DEFAULT_SIZE

BINS: Final = 10
QUESTIONS: Final = 600


def plot(settings: Settings, result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all plots of the first seed's model into a folder; the files that were written.

    Raises:
        WeightsError: its weights are missing or damaged.
    """
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    policies = result["policies"][DEFAULT_SIZE]
    seed = min(policies, key=int)
    form = load_adaptive(int(seed), settings.weights)
    policy = Policy(**policies[seed])
    questions = make_sets(settings).uniform[:QUESTIONS]
    return [
        _save(_calibration(form, questions), folder / "calibration.png"),
        _save(_steps(result["by_difficulty"]), folder / "steps-by-difficulty.png"),
        _save(_budget(demand_curve(form, policy, questions)), folder / "accuracy-by-budget.png"),
    ]


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _calibration(form: NumpyForm, questions: list[Question]) -> Figure:
    """What the gate says before an answer is written, against how often it is right.

    One-token answers are taken, stopped after every number of steps.
    """
    said, right = [], []
    for steps in range(1, form.shape.steps_max + 1):
        runs = run_adaptive(form, questions, FULL_COMPUTE._replace(steps_max=steps))
        for question, thinking in zip(questions, runs, strict=True):
            if thinking is not None and len(thinking.thoughts) == 2:
                said.append(thinking.thoughts[0].steps[-1].now_ppm / PPM)
                right.append(is_right(thinking.answer, question))
    figure, axes = _axes("Calibration of the gate", "says: right now", "is right")
    place = np.minimum((np.array(said) * BINS).astype(int), BINS - 1)
    bins = [b for b in range(BINS) if (place == b).any()]
    axes.plot([0, 1], [0, 1], "--", color="grey")
    axes.plot(
        [np.array(said)[place == b].mean() for b in bins],
        [np.array(right)[place == b].mean() for b in bins],
        "o-",
    )
    return figure


def _steps(by_difficulty: dict[str, dict[str, float]]) -> Figure:
    figure, axes = _axes("Steps of the first answer token", "difficulty k", "mean steps")
    axes.plot(
        [int(k) for k in by_difficulty],
        [row["first_token_steps"] for row in by_difficulty.values()],
        "o-",
    )
    return figure


def _budget(curve: Curve) -> Figure:
    figure, axes = _axes("What a budget buys", "budget, MFLOP", "accuracy")
    budgets = [point.budget_flops / 1e6 for point in curve.points]
    axes.plot(budgets, [point.fitted for point in curve.points], "o-")
    axes.fill_between(
        budgets,
        [point.low for point in curve.points],
        [point.high for point in curve.points],
        alpha=0.2,
    )
    return figure
