"""The adaptive model's meter: FLOPs as an integer function of its decision trace, and its policy.

The model (docs/concepts/adaptive-model.md) reads its question by table look-ups, which cost
nothing. Each token of the answer is thought about for a number of steps; each step is one pass
through the shared core layer with the experts that were chosen, and one look at the gate; then the
token is written by the answer head. FLOPs = 2 x multiply-adds of exactly these products.

Whether to go on is decided after every step, for each request by itself, by `decide`: from two
probabilities in parts per million that the gate gave, the buyer's policy, and what is left.
"""

from __future__ import annotations

import enum
import itertools
import struct
from typing import Final, NamedTuple

import msgspec

PPM: Final = 1_000_000
EXPERTS_MAX: Final = 16
"""Most experts of a card: a step's experts are recorded as bits of 16."""
CONTEXT_TOKENS_MAX: Final = 1 << 16
ANSWER_TOKENS_MAX: Final = 16
"""Longest answer in tokens, its end included."""
STEPS_MAX: Final = 64
END_TOKEN: Final = 2
"""The answer token that ends an answer."""
MARGIN_MAX: Final = (1 << 32) - 1
BUDGET_FLOPS_MAX: Final = 1 << 62
"""What exceeds it is as good as this, and a trace names this: no answer takes so much."""


class AdaptiveShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dimensions of an adaptive model.

    width: of the thinking token's state.  attention_width: of queries, keys and values; heads
    divide it.
    experts, experts_active: experts of the core layer, and most of them used in one step.
    ff_width: hidden width of one expert.  gate_width: hidden width of the halting gate.
    answers: tokens that can be written, the first of the vocabulary.
    steps_max: most steps for one token.
    """

    width: int
    attention_width: int
    heads: int
    experts: int
    experts_active: int
    ff_width: int
    gate_width: int
    answers: int
    vocabulary: int
    steps_max: int


def step_flops(shape: AdaptiveShape, context_tokens: int, experts: int) -> int:
    """One step: query and output projections, attention, router, chosen experts, gate."""
    width = shape.width
    attention = 4 * shape.attention_width * (width + context_tokens)
    router = 2 * width * shape.experts
    feed_forward = experts * 4 * width * shape.ff_width
    gate = 2 * width * shape.gate_width + 4 * shape.gate_width
    return attention + router + feed_forward + gate


def step_flops_worst(shape: AdaptiveShape, context_tokens: int) -> int:
    """One step with as many experts as may be used."""
    return step_flops(shape, context_tokens, shape.experts_active)


def answer_flops(shape: AdaptiveShape) -> int:
    """Writing one token."""
    return 2 * shape.width * shape.answers


class Decision(enum.IntEnum):
    """What to do after a step; the first that applies, in this order after GO_ON."""

    GO_ON = 0
    ANSWER = 1
    HOPELESS = 2
    PRICE = 3
    STEPS = 4
    BUDGET = 5


class Policy(NamedTuple):
    """When to stop thinking about a token.

    halt_ppm: write it once it is right with this probability.
    hopeless_ppm: give up once it will ever be right with less than this probability.
    value_nanos, price_nanos: what a right answer is worth, and the price of a CU: write as it
    stands once going on costs at least what it is expected to gain; value 0 leaves price out.
    steps_max: most steps for one token.  route_p_milli: probability that the experts chosen cover.
    """

    halt_ppm: int = 900_000
    hopeless_ppm: int = 0
    value_nanos: int = 0
    price_nanos: int = 0
    steps_max: int = STEPS_MAX
    route_p_milli: int = 600


def decide(
    policy: Policy, now_ppm: int, ever_ppm: int, steps_left: int, next_flops: int, left_flops: int
) -> Decision:
    """What to do after a step.

    Args:
        policy: The buyer's.
        now_ppm: Probability that the token is right as it stands.
        ever_ppm: Probability that it will be after the last step.
        steps_left: Steps that may still follow.
        next_flops: Worst case of one of them.
        left_flops: What the budget leaves for steps (writing the token is reserved already).

    >>> decide(Policy(halt_ppm=900_000), 950_000, 990_000, 5, 10, 100).name
    'ANSWER'
    >>> decide(Policy(hopeless_ppm=50_000), 10_000, 20_000, 5, 10, 100).name
    'HOPELESS'
    >>> decide(Policy(value_nanos=10, price_nanos=10**6), 0, 500_000, 5, 10**6, 10**9).name
    'PRICE'
    """
    if now_ppm >= policy.halt_ppm:
        return Decision.ANSWER
    if ever_ppm < policy.hopeless_ppm:
        return Decision.HOPELESS
    if policy.value_nanos:
        # value x gain (ppm) <= price per 10^12 FLOPs x FLOPs, without a division.
        gain = policy.value_nanos * (ever_ppm - now_ppm) * PPM
        if gain <= policy.price_nanos * next_flops * steps_left:
            return Decision.PRICE
    if not steps_left:
        return Decision.STEPS
    return Decision.GO_ON if next_flops <= left_flops else Decision.BUDGET


class Step(NamedTuple):
    """One step: chosen experts as bits, what the gate said, how clear the choice of experts was."""

    experts: int
    now_ppm: int
    ever_ppm: int
    margin_ppm: int


class Thought(NamedTuple):
    """One token of the answer: its steps, why they ended, the token, how clear it was.

    token: -1 where none was written (HOPELESS, or the request was stopped from outside).
    margin_ppm: distance of its logit from the second best, in millionths, at most MARGIN_MAX.
    """

    steps: tuple[Step, ...]
    decision: Decision
    token: int
    margin_ppm: int


_HEAD: Final = struct.Struct("<4sIQ6QB")
_THOUGHT: Final = struct.Struct("<BBhI")
_STEP: Final = struct.Struct("<HIII")
_MAGIC: Final = b"ADP1"


class AdaptiveTrace(NamedTuple):
    """What the adaptive model decided for one request.

    prompt_tokens: tokens that were read, the one that asks for the answer included; 0 where nothing
    was done.  budget_flops: the hard cap that it ran under.
    """

    prompt_tokens: int
    budget_flops: int
    policy: Policy
    thoughts: tuple[Thought, ...]

    @property
    def tokens_given(self) -> int:
        """Tokens written, the end of the answer included."""
        return sum(thought.token >= 0 for thought in self.thoughts)

    @property
    def steps(self) -> int:
        """Steps of all tokens together."""
        return sum(len(thought.steps) for thought in self.thoughts)

    @property
    def gave_up(self) -> bool:
        """Whether it ended because no right answer was to be expected: nothing more was written."""
        return bool(self.thoughts) and self.thoughts[-1].decision == Decision.HOPELESS

    def encode(self) -> bytes:
        """77 bytes, 8 more for each token and 14 for each of its steps."""
        parts = [
            _HEAD.pack(
                _MAGIC, self.prompt_tokens, self.budget_flops, *self.policy, len(self.thoughts)
            )
        ]
        for steps, decision, token, margin in self.thoughts:
            parts.append(_THOUGHT.pack(len(steps), decision, token, margin))
            parts += [_STEP.pack(*step) for step in steps]
        return b"".join(parts)


class AdaptiveTraceError(ValueError):
    """The bytes are not a trace of an adaptive model."""


def is_adaptive(data: bytes) -> bool:
    """Whether these bytes claim to be a trace of an adaptive model."""
    return data.startswith(_MAGIC)


def decode_adaptive(data: bytes) -> AdaptiveTrace:
    """The trace that these bytes hold.

    Raises:
        AdaptiveTraceError: wrong mark, length or range.
    """
    try:
        magic, prompt, budget, *policy, count = _HEAD.unpack_from(data)
        thoughts, at = [], _HEAD.size
        if count > ANSWER_TOKENS_MAX:
            raise ValueError(f"{count} tokens, more than {ANSWER_TOKENS_MAX}")
        for _ in range(count):
            steps, decision, token, margin = _THOUGHT.unpack_from(data, at)
            at += _THOUGHT.size
            if not 1 <= steps <= STEPS_MAX:
                raise ValueError(f"{steps} steps, not 1 to {STEPS_MAX}")
            found = tuple(Step(*_STEP.unpack_from(data, at + i * _STEP.size)) for i in range(steps))
            at += steps * _STEP.size
            thoughts.append(Thought(found, Decision(decision), token, margin))
    except (struct.error, ValueError) as error:
        raise AdaptiveTraceError(f"not a trace of an adaptive model: {error}") from error
    trace = AdaptiveTrace(prompt, budget, Policy(*policy), tuple(thoughts))
    if magic != _MAGIC or at != len(data):
        raise AdaptiveTraceError("not a trace of an adaptive model: wrong mark or length")
    _check(trace)
    return trace


def _check(trace: AdaptiveTrace) -> None:
    if trace.prompt_tokens > CONTEXT_TOKENS_MAX:
        raise AdaptiveTraceError("prompt tokens out of range")
    if trace.thoughts and not trace.prompt_tokens:
        raise AdaptiveTraceError("thoughts about nothing")
    for thought in trace.thoughts:
        if thought.token < -1:
            raise AdaptiveTraceError("a token out of range")
        if any(max(step.now_ppm, step.ever_ppm) > PPM for step in thought.steps):
            raise AdaptiveTraceError("a probability above one")
    if any(thought.token < 0 for thought in trace.thoughts[:-1]):
        raise AdaptiveTraceError("only the last thought may end without a token")


def adaptive_flops(shape: AdaptiveShape, trace: AdaptiveTrace) -> int:
    """FLOPs of a trace, exact; the context grows by every token written.

    >>> shape = AdaptiveShape(64, 128, 4, 4, 2, 128, 32, 256, 768, 10)
    >>> step = Step(experts=0b0101, now_ppm=990_000, ever_ppm=990_000, margin_ppm=1)
    >>> trace = AdaptiveTrace(60, 10**6, Policy(), (Thought((step,), Decision.ANSWER, 7, 1),))
    >>> adaptive_flops(shape, trace) == step_flops(shape, 60, 2) + answer_flops(shape)
    True
    """
    total = 0
    for place, thought in enumerate(trace.thoughts):
        context = trace.prompt_tokens + place
        total += sum(step_flops(shape, context, s.experts.bit_count()) for s in thought.steps)
        total += answer_flops(shape) if thought.token >= 0 else 0
    return total


def adaptive_flops_worst(shape: AdaptiveShape, prompt_tokens: int, output_tokens: int) -> int:
    """FLOPs of thinking as long as possible about this many tokens."""
    return sum(
        shape.steps_max * step_flops_worst(shape, prompt_tokens + place) + answer_flops(shape)
        for place in range(min(output_tokens, ANSWER_TOKENS_MAX))
    )


def first_step_flops(shape: AdaptiveShape, context_tokens: int) -> int:
    """What must be affordable before a token is begun: one step at its worst, and writing it."""
    return step_flops_worst(shape, context_tokens) + answer_flops(shape)


def inconsistencies(shape: AdaptiveShape, trace: AdaptiveTrace) -> list[str]:
    """What in a trace breaks its own policy or budget; empty where every decision follows.

    This is the second depth of verification: it needs no model. It finds a step that was begun
    without being able to pay for its worst case, and any decision that the recorded probabilities
    do not lead to.
    """
    found = []
    left = trace.budget_flops
    for place, thought in enumerate(trace.thoughts):
        context = trace.prompt_tokens + place
        worst = step_flops_worst(shape, context)
        left -= answer_flops(shape)
        for number, step in enumerate(thought.steps, 1):
            at = f"token {place}, step {number}"
            if worst > left:
                found.append(f"{at}: begun with {left} FLOPs left for a step that may take {worst}")
            if step.experts >> shape.experts or not (
                1 <= step.experts.bit_count() <= shape.experts_active
            ):
                found.append(f"{at}: experts {step.experts:b} cannot be")
            left -= step_flops(shape, context, step.experts.bit_count())
            steps_left = min(shape.steps_max, trace.policy.steps_max) - number
            due = decide(trace.policy, step.now_ppm, step.ever_ppm, max(steps_left, 0), worst, left)
            said = thought.decision if number == len(thought.steps) else Decision.GO_ON
            # A request that is stopped from outside ends without a token, between two steps.
            if due != said:
                found.append(f"{at}: {said.name} where {due.name} was due")
        if thought.token < 0:
            left += answer_flops(shape)
        elif thought.token >= shape.answers:
            found.append(f"token {place}: {thought.token} cannot be written")
    return found + _ending(trace)


def follows(shape: AdaptiveShape, trace: AdaptiveTrace, budget_flops: int) -> bool:
    """Whether a trace is of a request under this budget, and breaks nothing (`inconsistencies`)."""
    if not trace.thoughts:
        return True
    named = trace.budget_flops == min(budget_flops, BUDGET_FLOPS_MAX)
    return named and not inconsistencies(shape, trace)


def _ending(trace: AdaptiveTrace) -> list[str]:
    """An answer ends with its end token, or is cut; nothing follows the end."""
    found = []
    for before, _ in itertools.pairwise(trace.thoughts):
        if before.token == END_TOKEN or before.decision in {Decision.HOPELESS, Decision.BUDGET}:
            found.append(f"went on after {before.decision.name} with token {before.token}")
    for thought in trace.thoughts:
        hopeless = thought.decision == Decision.HOPELESS
        if hopeless != (thought.token < 0 and thought.decision != Decision.GO_ON):
            found += ["exactly a hopeless token is left unwritten"]
        if thought.token >= 0 and thought.decision == Decision.GO_ON:
            found += [f"token {thought.token} was written while thinking went on"]
    return found
