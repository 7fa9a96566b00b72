"""The third depth of verification: a trace is thought again, and every number in it compared.

Each token of the answer is thought from what the trace says was answered before it (teacher
forcing), so all tokens are thought at once, and a difference in one does not spread to the next.

Another machine's fp32 sums differ in the last bits. So recorded probabilities and margins may be
off by NOISE_PPM, and a choice may have fallen otherwise where its margin says that it was as close
as that. What a receipt claims about its margins is itself compared: a margin that was made small to
excuse something is a difference, too.

Depth one is `adaptive_flops`, depth two `inconsistencies`, both in `exchange.metering.adaptive`:
that a decision follows from the recorded numbers is shown there, here that the numbers are true.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from exchange.metering.adaptive import MARGIN_MAX, PPM, AdaptiveTrace, Step, Thought
from worker.model.forms import Form, Memory
from worker.model.gating import exit_confidence, sigmoid, to_ppm
from worker.model.vocabulary import ASK

NOISE_PPM: Final = 100
"""What another machine may be off by, in millionths: 200 times what fp32 was seen to be."""


class Replayed(NamedTuple):
    """What thinking a trace again has shown."""

    differences: tuple[str, ...]
    """What is not as the trace says; empty for an honest one."""
    steps: int
    """Steps that were compared."""
    excused: int
    """Thoughts that were left from the point on where a close choice fell otherwise."""


class _Row:
    """A token that is being thought again."""

    def __init__(self, place: int, thought: Thought, memory: Memory) -> None:
        self.place = place
        self.thought = thought
        self.memory = memory
        self.state: Any = memory.state
        self.left = False
        """Whether a close choice fell otherwise: from there on nothing can be compared."""


def replay(form: Form, question: tuple[int, ...], trace: AdaptiveTrace) -> Replayed:
    """Think a trace again.

    Args:
        form: the model that the trace names.
        question: the tokens that were asked, without ASK.
        trace: what a receipt says.
    """
    tokens = (*question, ASK)
    if trace.thoughts and trace.prompt_tokens != len(tokens):
        said = f"{trace.prompt_tokens} tokens were read where the question has {len(tokens)}"
        return Replayed((said,), 0, 0)
    answer = tuple(thought.token for thought in trace.thoughts)
    steps_max = form.shape.steps_max
    if any(len(thought.steps) > steps_max for thought in trace.thoughts):
        return Replayed((f"more steps than the model has, {steps_max}",), 0, 0)
    if any(token >= form.shape.answers for token in answer):
        return Replayed(("a token that the model cannot write",), 0, 0)
    rows = [
        _Row(place, thought, form.read((*tokens, *answer[:place]), place))
        for place, thought in enumerate(trace.thoughts)
    ]
    differences: list[str] = []
    compared = 0
    for number in range(max((len(row.thought.steps) for row in rows), default=0)):
        going = [row for row in rows if not row.left and number < len(row.thought.steps)]
        if going:
            compared += len(going)
            differences += _step(form, going, number, trace.policy.route_p_milli)
    written = [row for row in rows if not row.left and row.thought.token >= 0]
    if written:
        differences += _tokens(form, written)
    return Replayed(tuple(differences), compared, sum(row.left for row in rows))


def _step(form: Form, rows: list[_Row], number: int, route_p_milli: int) -> list[str]:
    """One step of every row, against what was recorded."""
    stepped = form.step(
        [row.state for row in rows],
        [row.memory for row in rows],
        [number] * len(rows),
        route_p_milli / 1_000,
    )
    probabilities = to_ppm(sigmoid(stepped.gates))
    found = []
    for i, row in enumerate(rows):
        row.state = stepped.states[i]
        mine = Step(
            sum(1 << int(expert) for expert in stepped.experts[i] if expert >= 0),
            int(probabilities[i, 0]),
            int(probabilities[i, 1]),
            _ppm(stepped.margins[i]),
        )
        said = row.thought.steps[number]
        at = f"token {row.place}, step {number + 1}"
        if far(mine.margin_ppm, said.margin_ppm):
            found.append(f"{at}: margin {said.margin_ppm} instead of {mine.margin_ppm}")
        elif mine.experts != said.experts and said.margin_ppm <= NOISE_PPM:
            row.left = True
            continue
        if mine.experts != said.experts:
            found.append(f"{at}: experts {said.experts:b} instead of {mine.experts:b}")
        found += [
            f"{at}: {name} {getattr(said, name)} instead of {getattr(mine, name)}"
            for name in ("now_ppm", "ever_ppm")
            if far(getattr(mine, name), getattr(said, name))
        ]
    return found


def _tokens(form: Form, rows: list[_Row]) -> list[str]:
    """The tokens that were written, against those that would be."""
    sure = exit_confidence(form.write([row.state for row in rows]))
    found = []
    for row, token, margin in zip(rows, sure.tokens, sure.margins, strict=True):
        said, mine = row.thought, _ppm(margin)
        if far(mine, said.margin_ppm):
            found.append(f"token {row.place}: margin {said.margin_ppm} instead of {mine}")
        elif int(token) != said.token and said.margin_ppm > NOISE_PPM:
            found.append(f"token {row.place}: {said.token} instead of {int(token)}")
    return found


def far(mine: int, said: int) -> bool:
    """Whether two recorded numbers differ by more than machines do."""
    return abs(mine - said) > NOISE_PPM


def _ppm(margin: float) -> int:
    return min(int(float(margin) * PPM), MARGIN_MAX)
