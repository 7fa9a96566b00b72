"""Parts of `flopex bench model`: inputs made to cost, the meter against torch, latency."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from exchange.metering.adaptive import Policy, adaptive_flops
from worker.model.adversary import attack
from worker.model.evaluate import PLENTY_FLOPS, Question
from worker.model.forms import NumpyForm, TorchForm
from worker.model.shipped import load_adaptive
from worker.model.sizes import SIZES
from worker.model.thinking import Request, think
from worker.model.vocabulary import ASK
from worker.model.weights import load_weights, shapes_of

HONEST: Final = 200
"""Honest questions, and prompts of chance, beside the search for costly ones."""
ROUNDS: Final = 10
LATENCY_ROUNDS: Final = 15
LATENCY_TOKENS: Final = 60
LATENCY_LAYERS: Final = 3
TOKENS_METERED: Final = 2
"""Answer tokens of a metered request: torch's counter is slow."""


def adversarial(form: NumpyForm, policy: Policy, seed: int) -> dict[str, Any]:
    """Prompts that were made to cost: by hand, by chance, by search (`worker.model.adversary`)."""
    report = attack(form, seed, policy=policy, honest=HONEST, random_prompts=HONEST, rounds=ROUNDS)
    return {
        "honest_mean_flops": report.honest_mean_flops,
        "over_cap": sum(kind.cap_violations for kind in report.attacks),
        **{
            kind.name: {
                "prompts": kind.prompts,
                "dearest_flops": kind.worst.flops,
                "over_honest_mean": kind.overhead_milli / 1_000,
            }
            for kind in report.attacks
        },
    }


def meter_mismatches(weights: Path, policy: Policy, questions: list[Question]) -> int:
    """Requests for which torch counts other FLOPs than the meter."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    numpy_form = load_adaptive(0, weights)
    path = weights / "adaptive-0.safetensors"
    form = TorchForm(load_weights(path, numpy_form.shape))
    mismatches = 0
    for question in questions:
        request = Request(question.tokens, PLENTY_FLOPS, policy, TOKENS_METERED)
        with FlopCounterMode(display=False) as counter:
            done = think(form, [request])[0]
        counted = counter.get_total_flops()
        mismatches += counted != adaptive_flops(form.shape, done.trace())
    return mismatches


def latency() -> dict[str, Any]:
    """An easy question (one step for each of two tokens) at width 256, against a dense model.

    Weights of chance: time does not depend on what they say. Both run on one thread, one question
    at a time; the dense model is charged one pass over the question and nothing for its second
    token. Median and quartiles of CPU time over LATENCY_ROUNDS rounds in turns.
    """
    import torch

    from worker.model.contestants import CONTESTANTS
    from worker.model.reading import read_rows

    torch.set_num_threads(1)
    shape = SIZES["base"]
    with tempfile.TemporaryDirectory() as folder:
        form = _form_of_chance(Path(folder))
    dense = CONTESTANTS[f"dense{LATENCY_LAYERS}"].build(shape).eval()
    question = tuple(range(300, 300 + LATENCY_TOKENS))
    request = Request(question, PLENTY_FLOPS, Policy(halt_ppm=0), 2)
    rows = read_rows(np.array([(*question, ASK)]), np.array([0]))

    def answer_dense() -> None:
        with torch.no_grad():
            dense(*map(torch.from_numpy, rows))

    mine, other = [], []
    for _ in range(LATENCY_ROUNDS):
        mine.append(_cpu_ms(lambda: think(form, [request])))
        other.append(_cpu_ms(answer_dense))
    ratio = statistics.median(mine) / statistics.median(other)
    return {
        "width": shape.width,
        "adaptive_ms": [round(q, 3) for q in statistics.quantiles(mine)],
        f"dense{LATENCY_LAYERS}_ms": [round(q, 3) for q in statistics.quantiles(other)],
        "ratio": round(ratio, 3),
    }


def _form_of_chance(folder: Path) -> NumpyForm:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal(size) * 0.05).astype(np.float32)
        for name, size in shapes_of(SIZES["base"]).items()
    }
    path = folder / "chance.safetensors"
    save_file(tensors, path)
    return NumpyForm(load_weights(path, SIZES["base"]))


def _cpu_ms(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1_000
