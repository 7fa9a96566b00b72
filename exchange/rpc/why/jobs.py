"""Why a job waits and what would make it run; of one that ran, what it paid beside what else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from exchange.core.events import JobState, LeaseState
from exchange.core.exchange import Exchange
from exchange.core.jobs import Job, bid_id_of
from exchange.core.planning import BidPlan
from exchange.core.reasons import Reason
from exchange.metering.costs import MFLOP_PER_CU, cost_nanos
from exchange.readmodel import queries
from exchange.readmodel.queries import LeaseRow, TradeRow
from exchange.rpc.convert import enums
from exchange.rpc.errors import reason_text
from exchange.rpc.why.supply import LEVELS_MAX, Supply, ahead, dollars, seconds, supply
from exchange.v1 import job_service_pb2 as pb
from matching.bids import Bid, ClassBid
from matching.ramp import round_up

if TYPE_CHECKING:
    from exchange.readmodel.database import Database

ATTEMPTS_MAX: Final = 100
"""Leases of a job that are told; no job has as many."""
LUCK: Final = (
    Reason.NONE,
    Reason.PRICE_BELOW_ASK,
    Reason.NO_FREE_SLOT,
    Reason.NO_QUOTES,
    Reason.INSTRUMENT_HALTED,
    Reason.DEADLINE_INFEASIBLE,
)
"""What an option waits for, the nearest to running first."""
_NOT_RECORDED: Final = (
    "what other workers asked when its lease was granted: alternatives are the last trades before"
)
_NO_READ_MODEL: Final = (
    "earlier attempts and prices at the time: this exchange cannot read what lies further back now"
)


class Past(NamedTuple):
    """What the read model knows of a job: its leases, and the last trades before the last one."""

    leases: list[LeaseRow]
    trades: dict[int, TradeRow]


def past(database: Database, job_id: int, instrument_ids: list[int]) -> Past:
    """Look it up: its leases, and a trade for each of these instruments."""
    leases = queries.job_leases(database, job_id, ATTEMPTS_MAX)
    trades = {}
    for instrument_id in instrument_ids if leases else ():
        found = queries.last_trade_before(database, instrument_id, leases[-1].offer_time_ns)
        if found is not None:
            trades[instrument_id] = found
    return Past(leases, trades)


def alternatives_of(core: Exchange, message: pb.Job) -> list[int]:
    """The instruments of the model and tier that a job ran in, by id; none where it never ran."""
    chosen = core.instrument_by_name.get(message.instrument)
    return [] if chosen is None else _group(core, chosen)


def _group(core: Exchange, instrument_id: int) -> list[int]:
    """The instruments of the same model and tier, by id."""
    return list(core.group_classes[core.instruments[instrument_id].clearing_group_id])


def explain_job(
    core: Exchange, message: pb.Job, job: Job | None, found: Past | None
) -> pb.ExplainJobResponse:
    """The answer.

    Args:
        core: The state.
        message: The job, as it is told.
        job: The same, while the core remembers it.
        found: What lies further back; None where that cannot be read.
    """
    answer = pb.ExplainJobResponse(job=message, sequence=core.sequence, event_time_ns=core.now_ns)
    if job is not None and job.state == JobState.QUEUED:
        answer.options.extend(_options(core, job))
        _explain_waiting(core, answer)
    elif message.state == pb.JOB_STATE_EXPIRED:
        _explain_expired(core, answer, message)
    else:
        answer.explanation = _story(message)
    if found is None:
        answer.unknown.append(_NO_READ_MODEL)
        return answer
    answer.attempts.extend(_attempt(core, lease) for lease in found.leases)
    if found.leases and message.state == pb.JOB_STATE_SETTLED:
        answer.alternatives.extend(_alternatives(core, message, found))
        answer.unknown.append(_NOT_RECORDED)
    return answer


def _story(message: pb.Job) -> str:
    """What has become of a job that does not wait."""
    state = message.state
    if state in (pb.JOB_STATE_LEASED, pb.JOB_STATE_RUNNING):
        does = "runs it" if state == pb.JOB_STATE_RUNNING else "was offered it"
        return f"worker {message.worker} {does}, at {message.price_nanos} nano-dollars per CU"
    if state == pb.JOB_STATE_SETTLED:
        cause = pb.StopCause.Name(message.stop_cause).removeprefix("STOP_CAUSE_").lower()
        return (
            f"it ran on worker {message.worker} and stopped by {cause}; it paid "
            f"{dollars(message.paid_nanos)} for {message.flops} FLOPs, at {message.price_nanos} "
            "nano-dollars per CU"
        )
    ended = pb.JobState.Name(state).removeprefix("JOB_STATE_").lower()
    fault = pb.Fault.Name(message.fault).removeprefix("FAULT_").lower()
    whose = f"; the fault was the {fault}'s" if message.fault else ""
    return f"{ended} after attempt {message.attempt}: {reason_text(Reason(message.reason))}{whose}"


def _explain_expired(core: Exchange, answer: pb.ExplainJobResponse, message: pb.Job) -> None:
    """A job that no worker took in time: what it would have paid, beside what is asked now."""
    answer.explanation = "it waited until no worker could have finished it by its deadline any more"
    most = message.limit_nanos
    if message.value_nanos and message.quantity_mflop:
        most = message.value_nanos * MFLOP_PER_CU // message.quantity_mflop
    if most:
        answer.explanation += f"; it bid at most {most} nano-dollars per CU"
    model_id = core.model_by_name.get(message.model, 0)
    for instrument_id in core.group_classes.get(
        core.group_by_key.get((model_id, message.tier), 0), ()
    ):
        name, ask = core.instruments[instrument_id].name, supply(core, instrument_id).best_ask_nanos
        if ask:
            answer.remedies.append(f"a bid of {ask}: what the cheapest slot of {name} costs now")
    answer.remedies.append("a higher value or maximum cost, or a later deadline")


# ---- waiting ----


def _options(core: Exchange, job: Job) -> Iterator[pb.JobOption]:
    """Every instrument in which each leg still may run, the nearest to running first."""
    options = [
        _option(core, job, leg, plan, named)
        for leg, plan in job.bidding.items()
        for named in plan.classes
    ]
    return iter(sorted(options, key=lambda o: (LUCK.index(Reason(o.reason)), _missing(o))))


def _missing(option: pb.JobOption) -> int:
    """How much a bid lacks to its ask."""
    return max(0, option.ask_nanos - option.bid_nanos)


def _option(core: Exchange, job: Job, leg: int, plan: BidPlan, named: ClassBid) -> pb.JobOption:
    group = core.groups[plan.group_id]
    bid = group.bid(bid_id_of(job.job_id, leg))
    assert bid is not None, "a queued job bids by every leg"
    instrument = core.instruments[named.instrument_id]
    there = supply(core, named.instrument_id)
    price = bid.price(core.now_ns, group.k_ns)
    bids, _ = core.depth(named.instrument_id, LEVELS_MAX)
    option = pb.JobOption(
        instrument=instrument.name,
        leg=leg,
        bid_nanos=price,
        bid_max_nanos=min(bid.density, bid.cap),
        ask_nanos=there.best_ask_nanos,
        slots_free=there.free,
        slots=there.slots,
        ahead=ahead(bids, price, 1, ties=False),
        last_price_nanos=instrument.last_price_nanos,
        latest_start_time_ns=named.latest_start_ns,
        slot_free_by_time_ns=there.freed_by_ns,
        reason=enums.reason(_waits_for(core, named, there, price)),
    )
    if there.best_ask_nanos:
        _needs(core, job, plan, bid, named, option)
    return option


def _waits_for(core: Exchange, named: ClassBid, there: Supply, price: int) -> Reason:
    if named.latest_start_ns < core.now_ns:
        return Reason.DEADLINE_INFEASIBLE
    if not core.instruments[named.instrument_id].is_open:
        return Reason.INSTRUMENT_HALTED
    if not there.slots:
        return Reason.NO_QUOTES
    if not there.free:
        return Reason.NO_FREE_SLOT
    return Reason.PRICE_BELOW_ASK if price < there.best_ask_nanos else Reason.NONE


def _needs(
    core: Exchange, job: Job, plan: BidPlan, bid: Bid, named: ClassBid, option: pb.JobOption
) -> None:
    """What would make the bid pay the cheapest free slot: time, value, limit or deadline."""
    k_ns = core.groups[plan.group_id].k_ns
    ask, now_ns = option.ask_nanos, core.now_ns
    at_ns = bid.pays_from_ns(ask, k_ns)
    if at_ns is not None and at_ns <= named.latest_start_ns:
        option.pays_from_time_ns = max(at_ns, now_ns)
    if option.bid_nanos >= ask:
        return
    if bid.flat:
        option.limit_needed_nanos = ask
        return
    tick = round_up(ask)
    slack_ns = max(0, bid.latest_start_ns - now_ns)
    density = -(-tick * (k_ns + slack_ns) // k_ns)
    option.value_needed_nanos = -(-density * plan.work.quantity_mflop // MFLOP_PER_CU)
    if min(bid.density, bid.cap) >= tick:
        # The ramp pays the tick once the slack is so short.
        run_ns = job.deadline_ns - bid.latest_start_ns
        option.deadline_needed_ns = run_ns + bid.density * k_ns // tick - k_ns


def _explain_waiting(core: Exchange, answer: pb.ExplainJobResponse) -> None:
    """In words, by the option that is nearest to running."""
    if not answer.options:
        answer.explanation = "it waits, and can start nowhere in time any more: it is about to end"
        return
    best = answer.options[0]
    reason = Reason(best.reason)
    name, now_ns = best.instrument, core.now_ns
    say = answer.remedies.append
    if reason == Reason.NONE:
        answer.explanation = f"it pays the cheapest slot of {name}: it may run in the next batch"
        if best.ahead:
            say(f"wait: {best.ahead} jobs bid more and have their turn first")
    elif reason == Reason.PRICE_BELOW_ASK:
        answer.explanation = (
            f"the cheapest slot of {name} costs {best.ask_nanos}, and it bids {best.bid_nanos} now"
        )
        _remedies(core, best, answer)
    elif reason == Reason.NO_FREE_SLOT:
        answer.explanation = f"all {best.slots} slots of {name} are busy"
        if best.slot_free_by_time_ns:
            wait = seconds(max(0, best.slot_free_by_time_ns - now_ns))
            say(f"wait: one is free in {wait} at the latest, and {best.ahead} jobs bid more")
        if best.ahead:
            say("a higher value, or a nearer deadline, bids more and goes first")
    elif reason == Reason.NO_QUOTES:
        answer.explanation = f"no worker quotes {name}"
        say("another instrument, or a worker that quotes this one")
    elif reason == Reason.INSTRUMENT_HALTED:
        answer.explanation = f"{name} does not trade now"
        say("wait until the operator opens it, or submit to another instrument")
    else:
        answer.explanation = f"it is too late to start in {name}"


def _remedies(core: Exchange, best: pb.JobOption, answer: pb.ExplainJobResponse) -> None:
    say = answer.remedies.append
    if best.pays_from_time_ns:
        wait = seconds(best.pays_from_time_ns - core.now_ns)
        say(f"wait: its bid rises, and pays that in {wait}")
    if best.deadline_needed_ns > 0:
        say(f"a deadline of {seconds(best.deadline_needed_ns)} from now pays that at once")
    if best.limit_needed_nanos:
        say(f"a limit of {best.limit_needed_nanos} pays that")
    if best.value_needed_nanos:
        value = dollars(best.value_needed_nanos)
        say(f"a value of {value} pays that at once, with a maximum cost that allows it")


# ---- what was ----


def _attempt(core: Exchange, lease: LeaseRow) -> pb.JobAttempt:
    return pb.JobAttempt(
        attempt=lease.attempt,
        lease_id=lease.lease_id,
        instrument=core.instruments[lease.instrument_id].name,
        worker=core.workers[lease.worker_id].name,
        price_nanos=lease.price_nanos,
        bid_nanos=lease.bid_nanos,
        ask_nanos=lease.ask_nanos,
        settled=lease.state == LeaseState.SETTLED,
        reason=enums.reason(lease.reason),
        fault=enums.fault(lease.fault),
        billed_nanos=lease.billed_nanos,
        offer_time_ns=lease.offer_time_ns,
        end_time_ns=lease.end_time_ns,
    )


def _alternatives(core: Exchange, message: pb.Job, found: Past) -> Iterator[pb.PriceAlternative]:
    """What the billed compute would have cost elsewhere, by the last trades before the grant."""
    chosen = found.leases[-1].instrument_id
    for instrument_id in _group(core, chosen):
        trade = found.trades.get(instrument_id)
        yield pb.PriceAlternative(
            instrument=core.instruments[instrument_id].name,
            price_nanos=trade.price_nanos if trade else 0,
            price_time_ns=trade.event_time_ns if trade else 0,
            cost_nanos=cost_nanos(trade.price_nanos, message.flops) if trade else 0,
            ask_nanos=supply(core, instrument_id).best_ask_nanos,
            chosen=instrument_id == chosen,
        )
