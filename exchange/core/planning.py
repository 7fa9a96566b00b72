"""From a job's terms to its bid: classes that can serve it, price ramp, worst case. Pure checks.

Managed bid: density = floor(value x 10^6 / quantity), which the clearing group ramps up as the
latest start comes near. Explicit limit: the same price at all times. A money cap lowers the most
that either pays. See docs/concepts/managed-bids.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exchange.core.commands import Settlement
from exchange.core.limits import (
    COST_MAX_NANOS,
    DEADLINE_MAX_NS,
    DENSITY_MAX_NANOS,
    JOB_QUANTITY_MAX_MFLOP,
    OUTPUT_TOKENS_MAX,
    PAYLOAD_BYTES_MAX,
    PRICE_MAX_NANOS,
)
from exchange.core.reasons import Reason
from exchange.metering.costs import density_nanos, escrow_nanos
from exchange.metering.traces import flops_worst
from matching.clearing import ClassBid

if TYPE_CHECKING:
    from exchange.core.commands import SubmitJob
    from exchange.core.instruments import Instrument
    from exchange.core.state import State


class BidPlan(NamedTuple):
    """How a job bids. Fixed at entry, so that a new attempt bids as the first one did."""

    group_id: int
    classes: tuple[ClassBid, ...]  # slowest first
    density_nanos: int
    cap_nanos: int
    flat: bool
    deadline_ns: int
    escrow_nanos: int

    @property
    def latest_start_ns(self) -> int:
        """When the fastest class must start at the latest."""
        return self.classes[-1].latest_start_ns


def plan_bid(state: State, terms: SubmitJob) -> BidPlan | Reason:
    """The bid of a job with these terms, or why there is none."""
    shape = _shape_refusal(state, terms)
    if shape:
        return shape
    group_id = state.group_by_key.get((terms.model_id, terms.tier), 0)
    named = _candidates(state, terms, group_id)
    if isinstance(named, Reason):
        return named
    deadline_ns = state.now_ns + terms.deadline_within_ns
    classes = _classes_in_time(state, terms, named, deadline_ns)
    if isinstance(classes, Reason):
        return classes
    prices = _prices(terms, [state.instruments[c.instrument_id] for c in classes])
    if isinstance(prices, Reason):
        return prices
    density, cap = prices
    escrow = escrow_nanos(min(density, cap), terms.quantity_mflop)
    return BidPlan(group_id, classes, density, cap, terms.limit_nanos > 0, deadline_ns, escrow)


def _shape_refusal(state: State, terms: SubmitJob) -> Reason:
    if terms.model_id not in state.models:
        return Reason.UNKNOWN_MODEL
    if terms.quantity_mflop <= 0:
        return Reason.QUANTITY_NOT_POSITIVE
    if terms.quantity_mflop > JOB_QUANTITY_MAX_MFLOP:
        return Reason.QUANTITY_TOO_LARGE
    if min(terms.value_nanos, terms.limit_nanos, terms.max_cost_nanos) < 0:
        return Reason.AMOUNT_NOT_POSITIVE
    if max(terms.value_nanos, terms.max_cost_nanos) > COST_MAX_NANOS:
        return Reason.AMOUNT_TOO_LARGE
    if not (terms.value_nanos or terms.limit_nanos or terms.max_cost_nanos):
        return Reason.VALUE_MISSING
    if terms.value_nanos and terms.limit_nanos:
        return Reason.FIELD_INVALID
    if terms.deadline_within_ns <= 0:
        return Reason.DEADLINE_PASSED
    if terms.deadline_within_ns > DEADLINE_MAX_NS:
        return Reason.DEADLINE_TOO_FAR
    if terms.payload_bytes > PAYLOAD_BYTES_MAX:
        return Reason.PAYLOAD_TOO_LARGE
    if not 0 < terms.output_tokens_max <= OUTPUT_TOKENS_MAX:
        return Reason.FIELD_INVALID
    if not 0 < terms.input_tokens <= terms.input_tokens_max:
        return Reason.FIELD_INVALID
    return Reason.NONE


def _candidates(state: State, terms: SubmitJob, group_id: int) -> list[Instrument] | Reason:
    """The open instruments that the job may trade in."""
    if terms.instrument_id:
        one = state.instruments.get(terms.instrument_id)
        if one is None:
            return Reason.UNKNOWN_INSTRUMENT
        if one.terms.settlement != Settlement.LEASE or one.clearing_group_id != group_id:
            return Reason.ORDER_TYPE_UNSUPPORTED
        named = [one]
    else:
        named = [state.instruments[i] for i in state.group_classes.get(group_id, [])]
        if not named:
            return Reason.UNKNOWN_INSTRUMENT
    is_open = [instrument for instrument in named if instrument.is_open]
    return is_open or Reason.INSTRUMENT_HALTED


def _classes_in_time(
    state: State, terms: SubmitJob, named: list[Instrument], deadline_ns: int
) -> tuple[ClassBid, ...] | Reason:
    """Classes that can hold the job and finish it in time, slowest first."""
    tokens = terms.input_tokens + terms.output_tokens_max
    fitting = [i for i in named if tokens <= i.terms.context_tokens_max]
    if not fitting:
        return Reason.CONTEXT_TOO_LONG
    capable = [i for i in fitting if terms.quantity_mflop <= i.terms.quantity_max_mflop]
    if not capable:
        return Reason.NO_CAPABLE_CLASS
    classes = [
        ClassBid(
            i.instrument_id,
            deadline_ns - i.run_time_ns(terms.input_tokens, terms.output_tokens_max),
        )
        for i in capable
    ]
    in_time = [c for c in classes if c.latest_start_ns >= state.now_ns]
    if not in_time:
        return Reason.DEADLINE_INFEASIBLE
    card = state.models[terms.model_id].card
    if flops_worst(card, 1, 1) > terms.quantity_mflop * 10**6:
        return Reason.BUDGET_BELOW_MINIMUM
    return tuple(sorted(in_time, key=lambda c: (c.latest_start_ns, c.instrument_id)))


def _prices(terms: SubmitJob, classes: list[Instrument]) -> tuple[int, int] | Reason:
    """(density, cap) in nano-dollars per CU; the bid never pays more than the smaller one."""
    cap = min(PRICE_MAX_NANOS, *(c.terms.price_max_nanos for c in classes))
    if terms.max_cost_nanos:
        cap = min(cap, density_nanos(terms.max_cost_nanos, terms.quantity_mflop))
    if terms.limit_nanos:
        for instrument in classes:
            refusal = instrument.price_refusal(terms.limit_nanos)
            if refusal:
                return refusal
        if terms.max_cost_nanos and cap < terms.limit_nanos:
            return Reason.MONEY_CAP
        return terms.limit_nanos, cap
    value = terms.value_nanos or terms.max_cost_nanos
    density = min(DENSITY_MAX_NANOS, density_nanos(value, terms.quantity_mflop))
    if density < 1 or cap < 1:
        return Reason.VALUE_TOO_SMALL
    return density, cap
