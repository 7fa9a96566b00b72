"""Replay: whether a trace is what the model does.

Three depths, cheapest first: arithmetic (`exchange.metering.traces.flops`), policy and budget
(`exchange.metering.adaptive.inconsistencies`), and this one, which runs the model again. Products
of fp32 numbers may differ in their last bits between machines. So a decision may differ from the
recorded one only where it hung on less than NOISE_PPM, by the record and by the replay; from there
on nothing can be said, and nothing is held against the record.
"""

from __future__ import annotations

from typing import Final

from exchange.metering.adaptive import AdaptiveTrace, Step
from worker.model.forms import Form
from worker.model.thinking import Batch, Request, Thinking

NOISE_PPM: Final = 100
"""200 times the differences seen between instruction sets and numbers of threads."""


def replay(form: Form, question: tuple[int, ...], trace: AdaptiveTrace) -> list[str]:
    """Run a question again under its recorded policy and budget; what does not match.

    Empty where every decision is the recorded one, up to the first that hung on noise.
    """
    if trace.prompt_tokens != len(question) + 1:
        return [f"the question has {len(question) + 1} tokens, not {trace.prompt_tokens}"]
    done = _run(form, question, trace)
    for place, (said, found) in enumerate(zip(trace.thoughts, done.thoughts, strict=False)):
        for number, (old, new) in enumerate(zip(said.steps, found.steps, strict=False), 1):
            at = f"token {place}, step {number}"
            if old.experts != new.experts:
                unclear = max(old.margin_ppm, new.margin_ppm) < NOISE_PPM
                return [] if unclear else [f"{at}: experts {old.experts:b}, not {new.experts:b}"]
            if max(abs(a - b) for a, b in _probabilities(old, new)) >= NOISE_PPM:
                return [f"{at}: the gate says {new.now_ppm} and {new.ever_ppm} ppm"]
        if (len(said.steps), said.decision) != (len(found.steps), found.decision):
            unclear = _hung_on_noise(trace, said.steps, found.steps)
            return [] if unclear else [f"token {place}: {found.decision.name} was due elsewhere"]
        if said.token != found.token:
            unclear = max(said.margin_ppm, found.margin_ppm) < NOISE_PPM
            return [] if unclear else [f"token {place}: {said.token}, not {found.token}"]
    if len(trace.thoughts) != len(done.thoughts):
        return [f"{len(trace.thoughts)} tokens were thought about, not {len(done.thoughts)}"]
    return []


def _run(form: Form, question: tuple[int, ...], trace: AdaptiveTrace) -> Thinking:
    """The same question again, stopped after as many steps where it was stopped from outside."""
    batch = Batch(form)
    request = Request(question, trace.budget_flops, trace.policy, max(len(trace.thoughts), 1))
    thinking = batch.admit(request)
    for _ in range(trace.steps):
        if batch.live:
            batch.advance()
    batch.stop(thinking)
    return thinking


def _probabilities(old: Step, new: Step) -> tuple[tuple[int, int], tuple[int, int]]:
    return (old.now_ppm, new.now_ppm), (old.ever_ppm, new.ever_ppm)


def _hung_on_noise(trace: AdaptiveTrace, said: tuple[Step, ...], found: tuple[Step, ...]) -> bool:
    """Whether the last step that both made lay next to a threshold."""
    number = min(len(said), len(found)) - 1
    policy = trace.policy
    return any(
        abs(step.now_ppm - policy.halt_ppm) < NOISE_PPM
        or abs(step.ever_ppm - policy.hopeless_ppm) < NOISE_PPM
        or bool(policy.value_nanos)
        for step in (said[number], found[number])
    )
