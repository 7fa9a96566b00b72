"""Answers of the dense baselines, and what they cost by the same rule: 2 per multiply-add.

The count favours them: the last layer is made for the last token of the question only, keys and
values of an answer token that left early are not made up for, and reading is free here as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file

from exchange.metering.adaptive import ANSWER_TOKENS_MAX, END_TOKEN, AdaptiveShape
from worker.model.contestants import CONTESTANTS
from worker.model.dense import DenseModel
from worker.model.evaluate import TOLERANCE, Outcome, Question, is_right, score
from worker.model.pool import pad_rows
from worker.model.reading import read_rows
from worker.model.sizes import SIZES
from worker.model.vocabulary import ASK

ROWS: Final = 128
EXIT_CANDIDATES: Final = (0.8, 0.9, 0.95)
NEVER: Final = 2.0
"""A probability that no gate gives: all layers."""


def load_dense(path: Path) -> DenseModel:
    """A baseline from its weights and the record beside them."""
    record = json.loads(path.with_suffix(".json").read_text())
    recipe = record["recipe"]
    model = CONTESTANTS[recipe["contestant"]].build(SIZES[recipe["size"]])
    assert isinstance(model, DenseModel)
    model.load_state_dict(load_file(path))
    return model.eval()


def dense_flops(shape: AdaptiveShape, prompt: int, depths: list[int], *, gated: bool) -> int:
    """FLOPs of answering: `depths` layers were used for each token of the answer.

    Args:
        shape: Dimensions; the feed-forward width is four times `width`.
        prompt: Tokens of the question, ASK included.
        depths: Layers used for each token of the answer.
        gated: Whether the gate was asked after each layer.
    """
    d, deepest = shape.width, max(depths)
    whole = 2 * prompt * 12 * d * d + 4 * d * prompt * prompt
    last = 2 * prompt * 2 * d * d + 2 * 10 * d * d + 4 * d * prompt
    total = (deepest - 1) * whole + last
    for place, depth in enumerate(depths):
        if place:
            total += depth * (2 * 12 * d * d + 4 * d * (prompt + place))
        total += 2 * d * shape.answers
        if gated:
            total += depth * (2 * d * shape.gate_width + 4 * shape.gate_width)
    return total


def dense_outcomes(
    model: DenseModel, questions: list[Question], exit_at: float = NEVER
) -> list[Outcome]:
    """What became of questions; a token is written at the first layer whose gate says `exit_at`."""
    found: list[Outcome] = [Outcome(False, 0, 0)] * len(questions)
    order = sorted(
        (i for i, q in enumerate(questions) if q.tokens), key=lambda i: len(questions[i].tokens)
    )
    for begin in range(0, len(order), ROWS):
        part = order[begin : begin + ROWS]
        answers, depths = _answer(model, [questions[i].tokens for i in part], exit_at)
        for i, answer, used in zip(part, answers, depths, strict=True):
            cost = dense_flops(model.shape, len(questions[i].tokens) + 1, used, gated=exit_at < 1)
            found[i] = Outcome(is_right(answer, questions[i]), cost, sum(used))
    return found


@torch.no_grad()
def _answer(
    model: DenseModel, prompts: list[tuple[int, ...]], exit_at: float
) -> tuple[list[list[int]], list[list[int]]]:
    """Answer tokens and layers used for each of them."""
    answers: list[list[int]] = [[] for _ in prompts]
    depths: list[list[int]] = [[] for _ in prompts]
    live = list(range(len(prompts)))
    for place in range(ANSWER_TOKENS_MAX - 1):
        rows = pad_rows([(*prompts[i], ASK, *answers[i]) for i in live])
        near, places = read_rows(rows, np.full(len(live), place))
        thoughts = model(torch.from_numpy(near), torch.from_numpy(places))
        logits, gates = thoughts.answers, thoughts.gates
        sure = torch.sigmoid(gates[..., 0]) >= exit_at  # (L, B)
        sure[-1] = True
        layer = sure.to(torch.int8).argmax(0)  # the first one that is sure
        tokens = logits[layer, torch.arange(len(live))].argmax(-1)
        for i, token, depth in zip(live, tokens.tolist(), layer.tolist(), strict=True):
            answers[i].append(token)
            depths[i].append(depth + 1)
        live = [i for i in live if answers[i][-1] != END_TOKEN]
        if not live:
            break
    return answers, depths


def choose_exit(model: DenseModel, validation: list[Question]) -> float:
    """The cheapest gate threshold that costs at most TOLERANCE of the score of all layers."""
    least = score(dense_outcomes(model, validation)).accuracy - TOLERANCE
    tried = [(score(dense_outcomes(model, validation, at)), at) for at in EXIT_CANDIDATES]
    good = [(found.flops, at) for found, at in tried if found.accuracy >= least]
    return min(good)[1] if good else max(EXIT_CANDIDATES)
