"""Thinking inside a budget: requests, their decisions, and continuous batching.

Requests at different steps advance together, one step at a time; finished ones leave and new ones
come in between steps. Each decides for itself, from its own numbers, and pays for itself: no bill
depends on the neighbours.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from exchange.metering.adaptive import (
    ANSWER_TOKENS_MAX,
    END_TOKEN,
    MARGIN_MAX,
    PPM,
    AdaptiveTrace,
    Decision,
    Policy,
    Step,
    Thought,
    answer_flops,
    first_step_flops,
    step_flops,
    step_flops_worst,
)
from worker.model.errors import WeightsError
from worker.model.forms import Form, Memory, Stepped
from worker.model.gating import Limits, exit_confidence, halt, price_ppm
from worker.model.sizes import BATCH_MAX
from worker.model.vocabulary import ASK

UNDEFINED: Final = 6
DEFAULT_POLICY: Final = Policy()


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A question as tokens (without ASK), and what thinking about it may cost.

    tokens_max: longest answer, its end included; at most ANSWER_TOKENS_MAX.
    """

    question: tuple[int, ...]
    budget_flops: int
    policy: Policy = DEFAULT_POLICY
    tokens_max: int = ANSWER_TOKENS_MAX


class Thinking:
    """One request under way."""

    def __init__(self, request: Request, form: Form) -> None:
        self.request = request
        self._form = form
        self._tokens = (*request.question, ASK)
        self.answer: list[int] = []
        self.thoughts: list[Thought] = []
        self.left_flops = request.budget_flops
        self._steps: list[Step] = []
        self._memory: Memory | None = None
        self.state: Any = None
        self.ended: Decision | None = None
        """Why it ended; GO_ON where it was stopped from outside."""
        self.failed = False
        """Whether it ended because the model broke."""
        self.began = False
        """Whether the first step could be paid; nothing was done where not."""
        self._begin_token()
        self.began = self.ended is None

    @property
    def memory(self) -> Memory:
        """What was read."""
        assert self._memory is not None, "a request that was refused has read nothing"
        return self._memory

    @property
    def steps(self) -> int:
        """Steps of the present token."""
        return len(self._steps)

    @property
    def context(self) -> int:
        """Tokens in sight of the thinking token."""
        return len(self._tokens) + len(self.answer)

    @property
    def next_flops(self) -> int:
        """Worst case of the next step."""
        return step_flops_worst(self._form.shape, self.context)

    @property
    def steps_left(self) -> int:
        """Steps that may still be made for the present token."""
        most = min(self.request.policy.steps_max, self._form.shape.steps_max)
        return most - len(self._steps)

    def _begin_token(self) -> None:
        """Read what is new and reserve the writing, if the budget covers a first step as well."""
        if self.left_flops < first_step_flops(self._form.shape, self.context):
            self.ended = Decision.BUDGET
            return
        row = (*self._tokens, *self.answer)
        self._memory = self._form.read(row, len(self.answer), self._memory)
        self.state = self._memory.state
        self.left_flops -= answer_flops(self._form.shape)

    def took(self, state: Any, step: Step) -> None:
        """A step was made."""
        self.state = state
        self._steps.append(step)
        self.left_flops -= step_flops(self._form.shape, self.context, step.experts.bit_count())

    def wrote(self, decision: Decision, token: int, margin_ppm: int) -> None:
        """The present token was written; begin the next one, or end."""
        self.thoughts.append(Thought(tuple(self._steps), decision, token, margin_ppm))
        self._steps = []
        self.answer.append(token)
        if token == END_TOKEN:
            self.ended = Decision.ANSWER
        elif decision == Decision.BUDGET:
            self.ended = Decision.BUDGET
        elif len(self.answer) >= min(self.request.tokens_max, ANSWER_TOKENS_MAX):
            self.ended = Decision.STEPS
        else:
            self._begin_token()

    def end(self, decision: Decision) -> None:
        """End without writing the present token: HOPELESS, or GO_ON where stopped from outside."""
        if self._steps:
            self.thoughts.append(Thought(tuple(self._steps), decision, -1, 0))
        self._steps = []
        self.ended = decision

    def trace(self) -> AdaptiveTrace:
        """What was decided; a request that was refused has an empty one."""
        prompt = len(self._tokens) if self.thoughts else 0
        return AdaptiveTrace(
            prompt, self.request.budget_flops, self.request.policy, tuple(self.thoughts)
        )


class Batch:
    """Requests that think together."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.live: list[Thinking] = []

    def admit(self, request: Request) -> Thinking:
        """Take a request in; one that cannot pay its first step has ended at once, for nothing.

        Raises:
            OverflowError: BATCH_MAX requests are under way.
        """
        if len(self.live) >= BATCH_MAX:
            raise OverflowError(f"{BATCH_MAX} requests think already")
        thinking = Thinking(request, self._form)
        if thinking.ended is None:
            self.live.append(thinking)
        return thinking

    def stop(self, thinking: Thinking) -> None:
        """Stop a request from outside; its steps so far stay on its bill."""
        if thinking.ended is None:
            thinking.end(Decision.GO_ON)
            self.live.remove(thinking)

    def advance(self) -> list[Thinking]:
        """One step of every live request; those that ended.

        Requests are grouped by what their experts must cover; that changes no result.
        """
        for milli in sorted({t.request.policy.route_p_milli for t in self.live}):
            self._advance([t for t in self.live if t.request.policy.route_p_milli == milli], milli)
        ended = [thinking for thinking in self.live if thinking.ended is not None]
        self.live = [thinking for thinking in self.live if thinking.ended is None]
        return ended

    def _advance(self, rows: list[Thinking], route_p_milli: int) -> None:
        stepped = self._form.step(
            [t.state for t in rows],
            [t.memory for t in rows],
            [t.steps for t in rows],
            route_p_milli / 1_000,
        )
        decisions = self._decide(rows, stepped)
        written = []
        for row, decision in zip(rows, decisions, strict=True):
            if decision == Decision.HOPELESS:
                row.end(decision)
            elif decision != Decision.GO_ON:
                written.append((row, decision))
        if written:
            sure = exit_confidence(self._form.write([row.state for row, _ in written]))
            for (row, decision), token, margin in zip(
                written, sure.tokens, sure.margins, strict=True
            ):
                row.wrote(decision, int(token), _ppm(margin))

    def _decide(self, rows: list[Thinking], stepped: Stepped) -> list[Decision]:
        """Book the step of each row and say what each does next."""
        experts, margins = stepped.experts, stepped.margins
        gates = np.ascontiguousarray(stepped.gates.T)
        next_flops = [row.next_flops for row in rows]
        steps_left = [row.steps_left - 1 for row in rows]
        chosen = [sum(1 << int(e) for e in row if e >= 0) for row in experts]
        if not all(chosen):
            raise WeightsError("the router gave numbers that are not finite")
        left = [
            row.left_flops - step_flops(self._form.shape, row.context, bits.bit_count())
            for row, bits in zip(rows, chosen, strict=True)
        ]
        policies = [row.request.policy for row in rows]
        prices = [
            price_ppm(p.price_nanos, ahead * steps, p.value_nanos)
            for p, ahead, steps in zip(policies, next_flops, steps_left, strict=True)
        ]
        limits = Limits(
            halt_ppm=np.array([p.halt_ppm for p in policies], np.int32),
            hopeless_ppm=np.array([p.hopeless_ppm for p in policies], np.int32),
            price_ppm=np.array(prices, np.int32),
            steps_left=np.array(steps_left, np.int32),
            next_flops=np.array(next_flops, np.int64),
            left_flops=np.array(left, np.int64),
        )
        halting = halt(gates[0], gates[1], limits)
        if (halting.decisions == UNDEFINED).any():
            raise WeightsError("the gate gave numbers that are not finite")
        for i, row in enumerate(rows):
            row.took(
                stepped.states[i],
                Step(
                    chosen[i],
                    int(halting.now_ppm[i]),
                    int(halting.ever_ppm[i]),
                    _ppm(margins[i]),
                ),
            )
        return [Decision(int(d)) for d in halting.decisions]


def _ppm(margin: float) -> int:
    return min(int(float(margin) * PPM), MARGIN_MAX)


def think(form: Form, requests: list[Request], at_once: int = BATCH_MAX) -> list[Thinking]:
    """Answer requests, `at_once` of them together; the results are in their order."""
    batch = Batch(form)
    waiting = list(reversed(requests))
    begun = []
    while waiting or batch.live:
        while waiting and len(batch.live) < at_once:
            begun.append(batch.admit(waiting.pop()))
        if batch.live:
            batch.advance()
    return begun
