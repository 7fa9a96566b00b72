"""Measuring the adaptive model: questions with known answers, and what each answer took."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from exchange.metering.adaptive import PPM, Policy, adaptive_flops
from worker.model.forms import Form
from worker.model.tasks import FAMILIES
from worker.model.tasks.bbh import FAMILY_OF, read_bbh
from worker.model.tasks.draws import Mix, draw
from worker.model.tasks.splits import Split
from worker.model.thinking import Request, Thinking, think
from worker.model.vocabulary import PromptError, PromptTooLong, read, write

PLENTY_FLOPS: Final = 10**12
FULL_COMPUTE: Final = Policy(halt_ppm=PPM + 1)
"""Never stops by itself: all steps for every token."""
HALT_CANDIDATES_PPM: Final = (500_000, 600_000, 700_000, 800_000, 900_000, 950_000, 980_000)
STEPS_CANDIDATES: Final = (2, 3, 4, 6)
HOPELESS_CANDIDATES_PPM: Final = (0, 20_000, 50_000, 100_000, 150_000)
MATCH_CANDIDATES_PPM: Final = (500_000, 700_000, 900_000)
TOLERANCE: Final = 0.005
"""Score that thresholds may cost on the validation split."""


class Question(NamedTuple):
    """A question as the model reads it, and its answer as text.

    tokens: empty where the model cannot read it; then no answer is right.
    """

    tokens: tuple[int, ...]
    aliases: tuple[str, ...]
    answer: str
    family: str
    difficulty: int


class Outcome(NamedTuple):
    """What became of one question."""

    right: bool
    flops: int
    steps: int


class Score(NamedTuple):
    """Means over a set of questions."""

    accuracy: float
    flops: float
    steps: float


def drawn_questions(
    split: Split, mix: Mix, count: int, seed: int, families: Sequence[str] = FAMILIES
) -> list[Question]:
    """Questions made for this seed; no question of another split is among them."""
    rng = random.Random(f"{seed} {split} {mix}")
    found: list[Question] = []
    while len(found) < count:
        try:
            sample, reading = draw(rng, split, mix, families)
        except PromptTooLong:
            continue  # a long question with a preamble: as good as not drawn
        found.append(
            Question(
                reading.tokens, reading.aliases, sample.answer, sample.family, sample.difficulty
            )
        )
    return found


def bbh_questions(folder: Path) -> dict[str, list[Question]]:
    """The items of BIG-Bench-Hard's tasks that have a family here, by task.

    Raises:
        BbhError: the folder holds no such file, or a damaged one.
    """
    found: dict[str, list[Question]] = {}
    for task, items in read_bbh(folder).items():
        if task not in FAMILY_OF:
            continue
        found[task] = []
        for item in items:
            try:
                tokens, aliases = read(item.question).tokens, read(item.question).aliases
            except PromptError:
                tokens, aliases = (), ()
            found[task].append(Question(tokens, aliases, item.answer, FAMILY_OF[task], 0))
    return found


def is_right(answer: Sequence[int], question: Question) -> bool:
    """Whether these tokens spell the answer, without regard to case."""
    written = write(tuple(answer), question.aliases)
    return written.strip().casefold() == question.answer.strip().casefold()


def run_adaptive(
    form: Form, questions: list[Question], policy: Policy, budget_flops: int = PLENTY_FLOPS
) -> list[Thinking | None]:
    """Answer questions; None for one that cannot be read."""
    readable = [question for question in questions if question.tokens]
    done = iter(think(form, [Request(q.tokens, budget_flops, policy) for q in readable]))
    return [next(done) if question.tokens else None for question in questions]


def outcomes(
    form: Form, questions: list[Question], policy: Policy, budget_flops: int = PLENTY_FLOPS
) -> list[Outcome]:
    """What became of questions under a policy."""
    found = []
    runs = run_adaptive(form, questions, policy, budget_flops)
    for question, thinking in zip(questions, runs, strict=True):
        if thinking is None:
            found.append(Outcome(False, 0, 0))
            continue
        trace = thinking.trace()
        right = bool(thinking.answer) and is_right(thinking.answer, question)
        found.append(Outcome(right, adaptive_flops(form.shape, trace), trace.steps))
    return found


def score(found: Sequence[Outcome]) -> Score:
    """Means of outcomes."""
    count = max(len(found), 1)
    return Score(
        sum(outcome.right for outcome in found) / count,
        sum(outcome.flops for outcome in found) / count,
        sum(outcome.steps for outcome in found) / count,
    )


def choose_policy(form: Form, validation: list[Question]) -> Policy:
    """The cheapest thresholds that cost at most TOLERANCE of the best score that any reach."""
    policies = [Policy(halt_ppm=halt) for halt in HALT_CANDIDATES_PPM]
    tried = _tried(form, validation, [*policies, FULL_COMPUTE])
    # Beyond some steps a state drifts: the best score may be that of fewer.
    best = _best(tried)
    shorter = [best._replace(steps_max=steps) for steps in STEPS_CANDIDATES]
    tried += _tried(form, validation, shorter)
    steps_max = _best(tried).steps_max
    if steps_max != best.steps_max:
        shorter = [policy._replace(steps_max=steps_max) for policy in policies]
        tried += _tried(form, validation, shorter)
    least = max(found.accuracy for found, _ in tried) - TOLERANCE
    _, policy = _cheapest(tried, least)
    halting = [policy._replace(hopeless_ppm=ppm) for ppm in HOPELESS_CANDIDATES_PPM]
    return _cheapest(_tried(form, validation, halting), least)[1]


def _tried(
    form: Form, questions: list[Question], policies: list[Policy]
) -> list[tuple[Score, Policy]]:
    return [(score(outcomes(form, questions, policy)), policy) for policy in policies]


def _best(tried: list[tuple[Score, Policy]]) -> Policy:
    return max(tried, key=lambda t: (t[0].accuracy, -t[0].flops))[1]


def _cheapest(tried: list[tuple[Score, Policy]], least: float) -> tuple[Score, Policy]:
    return min((t for t in tried if t[0].accuracy >= least), key=lambda t: t[0].flops)


def matchable(form: Form, validation: list[Question]) -> list[tuple[Score, Policy]]:
    """Policies of few steps and many, with their scores on the validation split: for `match`."""
    steps = (1, *STEPS_CANDIDATES)
    policies = [Policy(halt_ppm=halt, steps_max=n) for n in steps for halt in MATCH_CANDIDATES_PPM]
    return _tried(form, validation, policies)


def match(tried: list[tuple[Score, Policy]], least: float) -> Policy | None:
    """The cheapest policy that scores `least`; None where none does."""
    good = [t for t in tried if t[0].accuracy >= least]
    return min(good, key=lambda t: t[0].flops)[1] if good else None
