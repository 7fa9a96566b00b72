"""From a job's terms to its bids: classes that can serve it, price ramp, worst case. Pure checks.

Managed bid: density = floor(value x 10^6 / quantity), which the clearing group ramps up as the
latest start comes near. Explicit limit: the same price at all times. A money cap lowers the most
that either pays. See docs/concepts/managed-bids.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
from matching.bids import Bid, ClassBid
from matching.types import LEGS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.commands import SubmitJob
    from exchange.core.instruments import Instrument
    from exchange.core.state import State


class Work(NamedTuple):
    """One way to run a job: which model where, with how much compute, at which limit."""

    model_id: int
    tier: str
    instrument_id: int  # 0 lets every class of the tier compete
    limit_nanos: int  # 0 bids by the job's value
    quantity_mflop: int
    input_tokens: int
    input_tokens_max: int


class BidPlan(NamedTuple):
    """How one way bids. Fixed at entry, so that a new attempt bids as the first one did."""

    work: Work
    group_id: int
    classes: tuple[ClassBid, ...]  # slowest first
    density_nanos: int
    cap_nanos: int
    deadline_ns: int
    escrow_nanos: int

    @property
    def latest_start_ns(self) -> int:
        """When the fastest class must start at the latest."""
        return self.classes[-1].latest_start_ns

    def bid(self, bid_id: int, account_id: int, job_id: int, now_ns: int) -> Bid:
        """The bid, in the classes that can still start it in time. Elder jobs go first."""
        return Bid(
            bid_id=bid_id,
            account_id=account_id,
            density=self.density_nanos,
            cap=self.cap_nanos,
            latest_start_ns=self.latest_start_ns,
            sequence=job_id,
            classes=tuple(c for c in self.classes if c.latest_start_ns >= now_ns),
            flat=self.work.limit_nanos > 0,
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> BidPlan:
        """The plan that was such a tuple of plain values."""
        work, group_id, classes, *numbers = state
        return cls(Work(*work), group_id, tuple(ClassBid(*one) for one in classes), *numbers)


class JobPlan(NamedTuple):
    """How a job bids: by leg, from 0, and why the other legs cannot. A job without legs has one."""

    legs: dict[int, BidPlan]
    dropped: dict[int, Reason]


_DROPS: Final = (
    Reason.CONTEXT_TOO_LONG,
    Reason.INSTRUMENT_HALTED,
    Reason.NO_CAPABLE_CLASS,
    Reason.DEADLINE_INFEASIBLE,
)
"""What is no mistake of the buyer's: a leg drops out for it, and the others bid."""

LEG_NUMBERS: Final = 5
"""Of a leg in its record: instrument, limit, quantity, input tokens, and at most."""


def plan_job(state: State, terms: SubmitJob) -> JobPlan | Reason:
    """How a job with these terms bids, or why it cannot: the first leg's reason where none can."""
    ways = _ways(state, terms)
    if isinstance(ways, Reason):
        return ways
    refusal = _terms_refusal(terms, ways)
    if refusal:
        return refusal
    legs: dict[int, BidPlan] = {}
    dropped: dict[int, Reason] = {}
    for number, work in enumerate(ways):
        plan = _plan_bid(state, terms, work)
        if not isinstance(plan, Reason):
            legs[number] = plan
        elif plan in _DROPS:
            dropped[number] = plan
        else:
            return plan
    return JobPlan(legs, dropped) if legs else dropped[0]


def _ways(state: State, terms: SubmitJob) -> list[Work] | Reason:
    """The ways to run a job: one for each leg, or the one that its own fields state."""
    only = Work(
        terms.model_id,
        terms.tier,
        terms.instrument_id,
        terms.limit_nanos,
        terms.quantity_mflop,
        terms.input_tokens,
        terms.input_tokens_max,
    )
    if not terms.legs:
        return [only]
    if any(only):
        return Reason.FIELD_INVALID
    count, odd = divmod(len(terms.legs), LEG_NUMBERS)
    if odd or count > LEGS_MAX or len(set(terms.legs[::LEG_NUMBERS])) < count:
        return Reason.LEGS_INVALID
    ways = []
    for at in range(0, len(terms.legs), LEG_NUMBERS):
        instrument = state.instruments.get(terms.legs[at])
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        if instrument.terms.settlement != Settlement.LEASE:
            return Reason.ORDER_TYPE_UNSUPPORTED
        ways.append(
            Work(instrument.terms.model_id, instrument.tier, *terms.legs[at : at + LEG_NUMBERS])
        )
    return ways


def _terms_refusal(terms: SubmitJob, ways: list[Work]) -> Reason:
    """What is wrong with the terms that all ways share, or NONE."""
    if min(terms.value_nanos, terms.max_cost_nanos, *(way.limit_nanos for way in ways)) < 0:
        return Reason.AMOUNT_NOT_POSITIVE
    if max(terms.value_nanos, terms.max_cost_nanos) > COST_MAX_NANOS:
        return Reason.AMOUNT_TOO_LARGE
    limited = all(way.limit_nanos for way in ways)
    if not (limited or terms.value_nanos or terms.max_cost_nanos):
        return Reason.VALUE_MISSING
    if limited and terms.value_nanos:
        return Reason.FIELD_INVALID
    if terms.deadline_within_ns <= 0:
        return Reason.DEADLINE_PASSED
    if terms.deadline_within_ns > DEADLINE_MAX_NS:
        return Reason.DEADLINE_TOO_FAR
    if terms.payload_bytes > PAYLOAD_BYTES_MAX:
        return Reason.PAYLOAD_TOO_LARGE
    if not 0 < terms.output_tokens_max <= OUTPUT_TOKENS_MAX:
        return Reason.FIELD_INVALID
    return Reason.NONE


def _plan_bid(state: State, terms: SubmitJob, work: Work) -> BidPlan | Reason:
    """How one way bids, or why it cannot."""
    refusal = _work_refusal(state, work)
    if refusal:
        return refusal
    group_id = state.group_by_key.get((work.model_id, work.tier), 0)
    named = _candidates(state, work, group_id)
    if isinstance(named, Reason):
        return named
    deadline_ns = state.now_ns + terms.deadline_within_ns
    classes = _classes_in_time(state, work, terms.output_tokens_max, named, deadline_ns)
    if isinstance(classes, Reason):
        return classes
    prices = _prices(terms, work, [state.instruments[c.instrument_id] for c in classes])
    if isinstance(prices, Reason):
        return prices
    density, cap = prices
    escrow = escrow_nanos(min(density, cap), work.quantity_mflop)
    return BidPlan(work, group_id, classes, density, cap, deadline_ns, escrow)


def _work_refusal(state: State, work: Work) -> Reason:
    if work.model_id not in state.models:
        return Reason.UNKNOWN_MODEL
    if work.quantity_mflop <= 0:
        return Reason.QUANTITY_NOT_POSITIVE
    if work.quantity_mflop > JOB_QUANTITY_MAX_MFLOP:
        return Reason.QUANTITY_TOO_LARGE
    if not 0 < work.input_tokens <= work.input_tokens_max:
        return Reason.FIELD_INVALID
    return Reason.NONE


def _candidates(state: State, work: Work, group_id: int) -> list[Instrument] | Reason:
    """The open instruments that it may trade in."""
    if work.instrument_id:
        one = state.instruments.get(work.instrument_id)
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
    state: State, work: Work, output_tokens: int, named: list[Instrument], deadline_ns: int
) -> tuple[ClassBid, ...] | Reason:
    """Classes that can hold the job and finish it in time, slowest first."""
    tokens = work.input_tokens + output_tokens
    fitting = [i for i in named if tokens <= i.terms.context_tokens_max]
    if not fitting:
        return Reason.CONTEXT_TOO_LONG
    capable = [i for i in fitting if work.quantity_mflop <= i.terms.quantity_max_mflop]
    if not capable:
        return Reason.NO_CAPABLE_CLASS
    classes = [
        ClassBid(
            i.instrument_id,
            deadline_ns - i.run_time_ns(work.input_tokens, output_tokens),
        )
        for i in capable
    ]
    in_time = [c for c in classes if c.latest_start_ns >= state.now_ns]
    if not in_time:
        return Reason.DEADLINE_INFEASIBLE
    card = state.models[work.model_id].card
    if flops_worst(card, 1, 1) > work.quantity_mflop * 10**6:
        return Reason.BUDGET_BELOW_MINIMUM
    return tuple(sorted(in_time, key=lambda c: (c.latest_start_ns, c.instrument_id)))


def _prices(terms: SubmitJob, work: Work, classes: list[Instrument]) -> tuple[int, int] | Reason:
    """(density, cap) in nano-dollars per CU; the bid never pays more than the smaller one."""
    cap = min(PRICE_MAX_NANOS, *(c.terms.price_max_nanos for c in classes))
    if terms.max_cost_nanos:
        cap = min(cap, density_nanos(terms.max_cost_nanos, work.quantity_mflop))
    if work.limit_nanos:
        for instrument in classes:
            refusal = instrument.price_refusal(work.limit_nanos)
            if refusal:
                return refusal
        if terms.max_cost_nanos and cap < work.limit_nanos:
            return Reason.MONEY_CAP
        return work.limit_nanos, cap
    value = terms.value_nanos or terms.max_cost_nanos
    density = min(DENSITY_MAX_NANOS, density_nanos(value, work.quantity_mflop))
    if density < 1 or cap < 1:
        return Reason.VALUE_TOO_SMALL
    return density, cap
