"""Why an order would not fill, a job waits, a worker is passed over, as users see it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from exchange.client.enums import Fault, TradingState
from exchange.client.job_types import Job, job_from
from exchange.client.market_types import Level, level_from
from exchange.client.reasons import reason_name
from exchange.client.worker_types import Worker, worker_from
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_data_service_pb2 as market_pb
from exchange.v1 import worker_service_pb2 as workers_pb

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderExplanation:
    """Whether an order would fill now, by what is shown, and what would make it.

    Attributes:
        fillable: True where all of it would fill now.
        reason: Why not.
        explanation: The same for people.
        remedies: What would make it fill, for people; the first is the nearest. Empty where it
            would, or nothing helps.
        filled_mflop: How much of it would fill now, MFLOP.
        cost_nanos: What that would cost at most (rounded up) or earn at least (rounded down), nano-
            dollars.
        worst_price_nanos: The price of its last part, nano-dollars per CU; of a bid in a batch, the
            price that the batch would have; 0 where nothing fills.
        price_needed_nanos: The limit with which all of it would fill now, nano-dollars per CU; 0
            where no limit is enough.
        levels: The levels of the other side up to that limit or to its end, best first, at most
            100; on a batch instrument whole slots or jobs.
        slots_free: Of a batch instrument: slots that are free now.
        slots: Of a batch instrument: slots that are quoted, free or not.
        ahead: Orders on its own side at a better or the same price, which would have their turn
            before it; of the best 100 levels.
        slot_free_by_time_ns: Of a batch instrument without a free slot: when one is free again at
            the latest, nanoseconds since the epoch; 0 where that is not known.
        state: The instrument's state.
        sequence: Journal sequence of the state that was looked at.
        event_time_ns: Journal time of that state, nanoseconds since the epoch.
    """

    fillable: bool
    reason: str
    explanation: str
    remedies: tuple[str, ...]
    filled_mflop: int
    cost_nanos: int
    worst_price_nanos: int
    price_needed_nanos: int
    levels: tuple[Level, ...]
    slots_free: int
    slots: int
    ahead: int
    slot_free_by_time_ns: int
    state: TradingState
    sequence: int
    event_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOption:
    """One instrument in which a waiting job may run.

    Attributes:
        instrument: Instrument's name.
        leg: Number of the leg, from 0.
        reason: Why its bid does not trade here now; empty where it may in the next batch.
        bid_nanos: What it bids now, nano-dollars per CU.
        bid_max_nanos: The most that it will ever bid, nano-dollars per CU.
        ask_nanos: The cheapest free slot, nano-dollars per CU; 0 where none is free.
        slots_free: Slots that are free now.
        slots: Slots that are quoted, free or not.
        ahead: Waiting jobs that bid more now, of the best 100 levels.
        last_price_nanos: Last price at which a batch cleared, nano-dollars per CU; 0 where none has
            yet.
        latest_start_time_ns: When it must have started here, nanoseconds since the epoch.
        pays_from_time_ns: From when on its rising bid pays the cheapest free slot, nanoseconds
            since the epoch; 0 where it never does.
        value_needed_nanos: The value with which it would pay that now, nano-dollars; 0 where it
            does, has a limit, or no slot is free.
        limit_needed_nanos: The limit with which it would pay that now, nano-dollars per CU; 0 where
            it does, bids by value, or no slot is free.
        deadline_needed_ns: The time to its deadline, from now, with which it would pay that now,
            nanoseconds; 0 where it does or no deadline helps.
        slot_free_by_time_ns: Where no slot is free: when one is again at the latest, nanoseconds
            since the epoch; 0 where that is not known.
    """

    instrument: str
    leg: int
    reason: str
    bid_nanos: int
    bid_max_nanos: int
    ask_nanos: int
    slots_free: int
    slots: int
    ahead: int
    last_price_nanos: int
    latest_start_time_ns: int
    pays_from_time_ns: int
    value_needed_nanos: int
    limit_needed_nanos: int
    deadline_needed_ns: int
    slot_free_by_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAttempt:
    """One lease that a job had.

    Attributes:
        attempt: Attempt, from 1.
        lease_id: Lease.
        instrument: Instrument's name.
        worker: Worker's name.
        price_nanos: The price that its batch cleared at, nano-dollars per CU.
        bid_nanos: What the job bid then, nano-dollars per CU.
        ask_nanos: What the worker asked then, nano-dollars per CU.
        settled: Whether it was settled: the worker's receipt was accepted.
        reason: Why it failed.
        fault: Whose fault that was.
        billed_nanos: Billed, nano-dollars.
        offer_time_ns: Journal time of the grant, nanoseconds since the epoch.
        end_time_ns: Journal time of the end; 0 while it lives.
    """

    attempt: int
    lease_id: int
    instrument: str
    worker: str
    price_nanos: int
    bid_nanos: int
    ask_nanos: int
    settled: bool
    reason: str
    fault: Fault
    billed_nanos: int
    offer_time_ns: int
    end_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceAlternative:
    """What another instrument, or the same one, would have cost.

    Attributes:
        instrument: Instrument's name.
        price_nanos: The last price that it traded at before the job's last lease was granted, nano-
            dollars per CU; 0 where it had not.
        price_time_ns: When that was, nanoseconds since the epoch.
        cost_nanos: What the compute that was billed would have cost at that price, nano-dollars; 0
            without a price.
        ask_nanos: The cheapest free slot now, nano-dollars per CU; 0 where none is free.
        chosen: Whether the job ran here.
    """

    instrument: str
    price_nanos: int
    price_time_ns: int
    cost_nanos: int
    ask_nanos: int
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExplanation:
    """Why a job stands where it stands.

    Attributes:
        job: The job.
        explanation: Why it waits, or why it ended as it did, for people.
        remedies: What would make it run, for people; the first is the nearest. Empty where it runs,
            has run, or nothing helps.
        options: While it waits: every instrument in which it still may run.
        attempts: Its leases so far, oldest first.
        alternatives: Where it ran: what the instruments of the same model and tier traded at when
            its last lease was granted.
        unknown: What this answer cannot say, because it is not recorded; for people.
        sequence: Journal sequence of the state that was looked at; attempts and alternatives may be
            a little older.
        event_time_ns: Journal time of that state, nanoseconds since the epoch.
    """

    job: Job
    explanation: str
    remedies: tuple[str, ...]
    options: tuple[JobOption, ...]
    attempts: tuple[JobAttempt, ...]
    alternatives: tuple[PriceAlternative, ...]
    unknown: tuple[str, ...]
    sequence: int
    event_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteStanding:
    """A standing quote beside the market.

    Attributes:
        instrument: Instrument's name.
        pool: Pool number, from 0.
        reason: Why it sells nothing now; empty where it may in the next batch.
        ask_nanos: What its next slot costs, nano-dollars per CU; 0 where none is free.
        slots_free: Free slots that it sells.
        cheaper_slots: Free slots of other quotes that sell before its next one.
        best_ask_nanos: The instrument's cheapest free slot, nano-dollars per CU; 0 where none is
            free.
        best_bid_nanos: What the highest waiting job bids now, nano-dollars per CU; 0 where none
            waits.
        jobs_waiting: Waiting jobs, of the best 100 levels.
        last_price_nanos: Last price at which a batch cleared, nano-dollars per CU; 0 where none has
            yet.
        leases: Leases that were granted last in this instrument, at most 100, to any worker.
        leases_own: Of these, leases of this worker.
        leases_cheaper: Of these, leases of others that had asked less than this quote's next slot
            costs now.
        price_low_nanos: The lowest price of those leases, nano-dollars per CU.
        price_high_nanos: The highest price of those leases, nano-dollars per CU.
    """

    instrument: str
    pool: int
    reason: str
    ask_nanos: int
    slots_free: int
    cheaper_slots: int
    best_ask_nanos: int
    best_bid_nanos: int
    jobs_waiting: int
    last_price_nanos: int
    leases: int
    leases_own: int
    leases_cheaper: int
    price_low_nanos: int
    price_high_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerExplanation:
    """Why a worker is passed over.

    Attributes:
        worker: The worker.
        reason: Why it gets none of the leases that are granted now; empty where it may in the next
            batch.
        explanation: The same for people.
        remedies: What would change that, for people; the first is the nearest.
        quotes: Each of its standing quotes beside the market.
        unknown: What this answer cannot say, because it is not recorded; for people.
        sequence: Journal sequence of the state that was looked at; leases may be a little older.
        event_time_ns: Journal time of that state, nanoseconds since the epoch.
    """

    worker: Worker
    reason: str
    explanation: str
    remedies: tuple[str, ...]
    quotes: tuple[QuoteStanding, ...]
    unknown: tuple[str, ...]
    sequence: int
    event_time_ns: int


def order_explanation_from(message: market_pb.ExplainOrderResponse) -> OrderExplanation:
    """The explanation of an order of the wire."""
    return _made(
        OrderExplanation,
        message,
        remedies=tuple(message.remedies),
        levels=tuple(map(level_from, message.levels)),
        state=TradingState(message.state),
    )


def job_explanation_from(message: jobs_pb.ExplainJobResponse) -> JobExplanation:
    """The explanation of a job of the wire."""
    return _made(
        JobExplanation,
        message,
        job=job_from(message.job),
        remedies=tuple(message.remedies),
        options=tuple(_made(JobOption, option) for option in message.options),
        attempts=tuple(_made(JobAttempt, a, fault=Fault(a.fault)) for a in message.attempts),
        alternatives=tuple(_made(PriceAlternative, other) for other in message.alternatives),
        unknown=tuple(message.unknown),
    )


def worker_explanation_from(message: workers_pb.ExplainWorkerResponse) -> WorkerExplanation:
    """The explanation of a worker of the wire."""
    return _made(
        WorkerExplanation,
        message,
        worker=worker_from(message.worker),
        remedies=tuple(message.remedies),
        quotes=tuple(_made(QuoteStanding, quote) for quote in message.quotes),
        unknown=tuple(message.unknown),
    )


def _made(kind: type[T], message: Any, **converted: object) -> T:
    """A result with the message's fields; those that are no plain values come converted."""
    found = {
        field.name: getattr(message, field.name)
        for field in fields(kind)  # type: ignore[arg-type]
        if field.name not in converted
    }
    if "reason" in found:
        found["reason"] = reason_name(found["reason"])
    return kind(**found, **converted)
