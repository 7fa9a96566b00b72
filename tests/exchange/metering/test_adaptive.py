"""The adaptive model's meter: formula, policy, encoding, and what breaks a trace."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.metering.adaptive import (
    ANSWER_TOKENS_MAX,
    CONTEXT_TOKENS_MAX,
    END_TOKEN,
    PPM,
    STEPS_MAX,
    AdaptiveShape,
    AdaptiveTrace,
    AdaptiveTraceError,
    Decision,
    Policy,
    Step,
    Thought,
    adaptive_flops,
    adaptive_flops_worst,
    answer_flops,
    decide,
    decode_adaptive,
    first_step_flops,
    inconsistencies,
    step_flops,
    step_flops_worst,
)
from exchange.metering.cards import INSTANT, CardError, ModelCard, decode_card
from exchange.metering.traces import DenseTrace, TraceError, decode_trace, flops, flops_worst

SHAPE = AdaptiveShape(64, 128, 4, 4, 2, 128, 32, 256, 768, 10)
CARD = ModelCard(name="adaptive-tiny", family="adaptive", template_tokens=1, adaptive=SHAPE)
SURE = Step(experts=0b0001, now_ppm=950_000, ever_ppm=960_000, margin_ppm=5)
UNSURE = Step(experts=0b0110, now_ppm=100_000, ever_ppm=800_000, margin_ppm=5)
GOOD = AdaptiveTrace(
    20,
    10**7,
    Policy(),
    (
        Thought((UNSURE, UNSURE, SURE), Decision.ANSWER, 7, 9),
        Thought((SURE,), Decision.ANSWER, END_TOKEN, 9),
    ),
)


def test_a_step_costs_its_matrix_products() -> None:
    by_hand = 2 * (64 * 128 * 2) + 2 * (128 * 20 * 2) + 2 * 64 * 4
    by_hand += 2 * (2 * 2 * 64 * 128) + 2 * (64 * 32 + 32 * 2)
    assert step_flops(SHAPE, 20, 2) == by_hand
    assert answer_flops(SHAPE) == 2 * 64 * 256
    assert first_step_flops(SHAPE, 20) == by_hand + 2 * 64 * 256


def test_a_trace_costs_its_steps_and_its_written_tokens() -> None:
    first = 2 * step_flops(SHAPE, 20, 2) + step_flops(SHAPE, 20, 1)
    assert adaptive_flops(SHAPE, GOOD) == first + step_flops(SHAPE, 21, 1) + 2 * answer_flops(SHAPE)
    assert flops(CARD, GOOD) == adaptive_flops(SHAPE, GOOD)
    assert flops(CARD, AdaptiveTrace(0, 5, Policy(), ())) == 0


def test_what_was_not_written_is_not_billed() -> None:
    hopeless = GOOD.thoughts[0]._replace(decision=Decision.HOPELESS, token=-1)
    trace = GOOD._replace(thoughts=(hopeless,))
    assert adaptive_flops(SHAPE, trace) == 2 * step_flops(SHAPE, 20, 2) + step_flops(SHAPE, 20, 1)


def test_nothing_costs_more_than_the_worst_case() -> None:
    step = Step(0b1111, 0, PPM, 0)
    thoughts = tuple(
        Thought((step._replace(experts=0b11),) * 10, Decision.STEPS, 9, 0)
        for _ in range(ANSWER_TOKENS_MAX)
    )
    trace = AdaptiveTrace(20, 10**9, Policy(), thoughts)
    assert adaptive_flops(SHAPE, trace) == adaptive_flops_worst(SHAPE, 20, 99)
    assert flops_worst(CARD, 20, 1) == adaptive_flops_worst(SHAPE, 20, 1)
    assert flops_worst(CARD, 20, 2) > flops_worst(CARD, 20, 1)


numbers = st.integers(0, PPM)
steps = st.builds(Step, st.integers(1, 15), numbers, numbers, st.integers(0, 2**32 - 1))
thoughts_of = st.builds(
    Thought,
    st.lists(steps, min_size=1, max_size=12).map(tuple),
    st.sampled_from(Decision),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
)
traces = st.builds(
    AdaptiveTrace,
    st.integers(1, 300),
    st.integers(0, 2**64 - 1),
    st.builds(Policy, *[st.integers(0, 2**63)] * 6),
    st.lists(thoughts_of, max_size=16).map(tuple),
)


@given(traces)
def test_traces_survive_their_encoding(trace: AdaptiveTrace) -> None:
    data = trace.encode()
    assert decode_adaptive(data) == trace == decode_trace(data)


@given(traces, st.data())
def test_damaged_traces_are_refused_or_decoded_but_never_crash(
    trace: AdaptiveTrace, data: st.DataObject
) -> None:
    encoded = bytearray(trace.encode())
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(TraceError):
        decode_trace(bytes(encoded))


@given(traces, st.integers(1, 40))
def test_cut_and_extended_traces_are_refused(trace: AdaptiveTrace, by: int) -> None:
    encoded = trace.encode()
    with pytest.raises(AdaptiveTraceError):
        decode_adaptive(encoded[:-by])
    with pytest.raises(AdaptiveTraceError):
        decode_adaptive(encoded + bytes(by))


@pytest.mark.parametrize(
    "trace",
    [
        GOOD._replace(prompt_tokens=0),
        GOOD._replace(prompt_tokens=CONTEXT_TOKENS_MAX + 1),
        GOOD._replace(thoughts=GOOD.thoughts[:1] * (ANSWER_TOKENS_MAX + 1)),
        GOOD._replace(thoughts=(GOOD.thoughts[0]._replace(token=-1), GOOD.thoughts[1])),
        GOOD._replace(thoughts=(GOOD.thoughts[0]._replace(steps=()),)),
        GOOD._replace(thoughts=(GOOD.thoughts[0]._replace(steps=(SURE,) * (STEPS_MAX + 1)),)),
        GOOD._replace(thoughts=(Thought((SURE._replace(now_ppm=PPM + 1),), Decision(1), 3, 0),)),
    ],
)
def test_impossible_traces_are_refused(trace: AdaptiveTrace) -> None:
    with pytest.raises(AdaptiveTraceError):
        decode_adaptive(trace.encode())


def test_a_trace_of_another_family_is_refused() -> None:
    with pytest.raises(TraceError, match="family"):
        flops(INSTANT, GOOD)
    with pytest.raises(TraceError, match="family"):
        flops(CARD, DenseTrace(3, 1))


def test_a_consistent_trace_has_no_finding() -> None:
    assert inconsistencies(SHAPE, GOOD) == []


def with_first(thought: Thought) -> AdaptiveTrace:
    return GOOD._replace(thoughts=(thought, *GOOD.thoughts[1:]))


@pytest.mark.parametrize(
    ("trace", "finding"),
    [
        (GOOD._replace(budget_flops=200_000), "begun with"),
        (with_first(GOOD.thoughts[0]._replace(steps=(UNSURE,))), "ANSWER where GO_ON"),
        (with_first(GOOD.thoughts[0]._replace(steps=(SURE, SURE))), "GO_ON where ANSWER"),
        (with_first(GOOD.thoughts[0]._replace(steps=(SURE._replace(experts=0b10000),))), "experts"),
        (with_first(GOOD.thoughts[0]._replace(steps=(SURE._replace(experts=0b111),))), "experts"),
        (with_first(GOOD.thoughts[0]._replace(token=END_TOKEN)), "went on after"),
        (GOOD._replace(thoughts=(Thought((SURE,), Decision.ANSWER, -1, 0),)), "hopeless"),
        (GOOD._replace(thoughts=(Thought((SURE,), Decision.GO_ON, -1, 0),)), "where ANSWER"),
        (GOOD._replace(thoughts=(Thought((UNSURE,), Decision.GO_ON, 7, 0),)), "thinking went on"),
        (with_first(GOOD.thoughts[0]._replace(token=SHAPE.answers)), "cannot be written"),
    ],
)
def test_findings(trace: AdaptiveTrace, finding: str) -> None:
    assert any(finding in said for said in inconsistencies(SHAPE, trace))


def test_a_request_stopped_from_outside_is_consistent() -> None:
    stopped = GOOD._replace(thoughts=(Thought((UNSURE,), Decision.GO_ON, -1, 0),))
    assert inconsistencies(SHAPE, stopped) == []


def test_the_order_of_decisions() -> None:
    policy = Policy(halt_ppm=900_000, hopeless_ppm=50_000, value_nanos=1, price_nanos=10**9)
    assert decide(policy, 900_000, 0, 0, 10**6, 0) is Decision.ANSWER
    assert decide(policy, 899_999, 49_999, 0, 10**6, 0) is Decision.HOPELESS
    assert decide(policy, 100_000, 200_000, 1, 10**6, 0) is Decision.PRICE
    free = policy._replace(value_nanos=0)
    assert decide(free, 100_000, 200_000, 0, 10**6, 0) is Decision.STEPS
    assert decide(free, 100_000, 200_000, 1, 10**6, 10**6 - 1) is Decision.BUDGET
    assert decide(free, 100_000, 200_000, 1, 10**6, 10**6) is Decision.GO_ON


@given(st.integers(1, 10**12), st.integers(0, 10**9), numbers, numbers, st.integers(1, 10))
def test_price_stops_exactly_where_going_on_costs_what_it_gains(
    value: int, price: int, now: int, ever: int, steps_left: int
) -> None:
    policy = Policy(PPM + 1, 0, value, price)
    worst = step_flops_worst(SHAPE, 30)
    stops = decide(policy, now, ever, steps_left, worst, 10**12) is Decision.PRICE
    assert stops == (value * (ever - now) * 10**12 <= price * worst * steps_left * 10**6)


def test_cards_of_the_family() -> None:
    assert decode_card(CARD.encode()) == CARD
    assert b"adaptive" not in INSTANT.encode()
    for field, value in (("experts", 17), ("experts_active", 5), ("steps_max", 65), ("width", 0)):
        broken = CARD.encode().replace(
            f'"{field}":{getattr(SHAPE, field)}'.encode(), f'"{field}":{value}'.encode()
        )
        with pytest.raises(CardError):
            decode_card(broken)
    with pytest.raises(CardError, match="adaptive"):
        decode_card(ModelCard(name="a", family="adaptive").encode())
    with pytest.raises(CardError, match="adaptive"):
        decode_card(
            ModelCard(name="a", family="instant", flops_per_token=1, adaptive=SHAPE).encode()
        )
