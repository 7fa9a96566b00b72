"""Jobs: inference requests with a compute budget, from submission to the last posting.

A job rests in its clearing group as one bid, or as one for each of its legs, of which at most one
fills (`matching.legs`). A fill makes a lease of it; a failed lease brings it back with its whole
budget and all its legs as attempt + 1. Its escrow, the worst case of its dearest leg, is held from
submission to its end, so that a new attempt never has to find the money again. A leg that can never
trade any more drops out; the job ends with the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exchange.core.client_ids import content_digest
from exchange.core.commands import AccountKind, SubmitJob, TradingState, decode
from exchange.core.events import (
    Fault,
    JobEnded,
    JobLegDropped,
    JobQueued,
    JobState,
    Repeated,
)
from exchange.core.limits import (
    ATTEMPTS_MAX,
    CLIENT_ID_RETENTION_NS,
    OPEN_JOBS_PER_ACCOUNT_MAX,
    QUEUED_BYTES_PER_ACCOUNT_MAX,
)
from exchange.core.planning import LEG_NUMBERS, BidPlan, JobPlan, plan_job
from exchange.core.reasons import Reason
from exchange.core.timers import TimerKind
from matching.legs import Leg, MultiLegBid
from matching.types import LEGS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.accounts import Account
    from exchange.core.ledger import Hold
    from exchange.core.planning import Work
    from exchange.core.state import State


def bid_id_of(job_id: int, leg: int) -> int:
    """The id of a leg's bid, unlike that of any other leg of any job."""
    return job_id * LEGS_MAX + leg


def leg_of(bid_id: int) -> tuple[int, int]:
    """The job and the leg of a bid."""
    return divmod(bid_id, LEGS_MAX)


class Job:
    """One job.

    Attributes:
        terms: The command that brought it.
        plans: How each leg bids that could at entry; a job without legs has one, number 0.
        dropped: Why the other legs, and those that left since, will never trade.
        leg: The leg that has the running or last lease, or is the only one; None before the first.
        escrow_nanos: The most that it can cost: what is held for it.
        hold: Its money; None once it has ended.
        transfer_id: Of its money, which an ended job keeps.
        deadline_ns: When the answer is due, nanoseconds since the epoch.
    """

    __slots__ = (
        "attempt",
        "cancelling",
        "cause",
        "created_ns",
        "deadline_ns",
        "dropped",
        "ended_ns",
        "escrow_nanos",
        "fault",
        "flops",
        "hold",
        "job_id",
        "lease_ids",
        "leg",
        "paid_nanos",
        "plans",
        "reason",
        "state",
        "terms",
        "transfer_id",
    )

    def __init__(self, job_id: int, terms: SubmitJob, plan: JobPlan, now_ns: int) -> None:
        self.job_id = job_id
        self.terms = terms
        self.plans = plan.legs
        self.dropped = plan.dropped
        self.leg = None if terms.legs else 0
        self.escrow_nanos = self.dearest_nanos
        self.deadline_ns = now_ns + terms.deadline_within_ns
        self.transfer_id = 0
        self.hold: Hold | None = None
        self.created_ns = now_ns
        self.ended_ns = 0
        self.attempt = 1
        self.state = JobState.QUEUED
        self.lease_ids: list[int] = []
        self.cancelling = False
        self.reason = Reason.NONE
        self.fault = Fault.NONE
        self.cause = 0
        self.flops = 0
        self.paid_nanos = 0

    @property
    def account_id(self) -> int:
        """The buyer."""
        return self.terms.account_id

    @property
    def escrow(self) -> Hold:
        """The money of an open job."""
        assert self.hold is not None, "the job has ended"
        return self.hold

    @property
    def lease_id(self) -> int:
        """The running or last lease; 0 before the first."""
        return self.lease_ids[-1] if self.lease_ids else 0

    @property
    def work(self) -> Work | None:
        """What its running or last lease is for, or its only way to run; None where open."""
        return None if self.leg is None else self.plans[self.leg].work

    @property
    def bidding(self) -> dict[int, BidPlan]:
        """The legs that may still trade."""
        return {leg: plan for leg, plan in self.plans.items() if leg not in self.dropped}

    @property
    def dearest_nanos(self) -> int:
        """The worst case of the dearest leg that may still trade; 0 where none may."""
        return max((plan.escrow_nanos for plan in self.bidding.values()), default=0)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in (JobState.QUEUED, JobState.LEASED, JobState.RUNNING)

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return (
            self.job_id,
            self.terms.encode(),
            sorted(self.plans.items()),
            sorted(self.dropped.items()),
            self.leg,
            self.escrow_nanos,
            self.deadline_ns,
            self.transfer_id,
            self.created_ns,
            self.ended_ns,
            self.attempt,
            int(self.state),
            self.lease_ids,
            self.cancelling,
            int(self.reason),
            int(self.fault),
            self.cause,
            self.flops,
            self.paid_nanos,
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Job:
        """The job whose state it was."""
        job_id, record, plans, dropped, leg, escrow_nanos, deadline_ns, *rest = state
        (terms,) = decode(record)
        assert isinstance(terms, SubmitJob)
        legs = {number: BidPlan.restored(plan) for number, plan in plans}
        job = cls(job_id, terms, JobPlan(legs, {i: Reason(why) for i, why in dropped}), 0)
        job.leg = leg
        job.escrow_nanos = escrow_nanos
        job.deadline_ns = deadline_ns
        job.transfer_id, job.created_ns, job.ended_ns, job.attempt, *rest = rest
        job_state, lease_ids, cancelling, reason, fault, cause, flops, paid_nanos = rest
        job.state = JobState(job_state)
        job.lease_ids = list(lease_ids)
        job.cancelling = cancelling
        job.reason, job.fault, job.cause = Reason(reason), Fault(fault), cause
        job.flops, job.paid_nanos = flops, paid_nanos
        return job


class JobDesk:
    """Takes jobs in, puts their bids into the clearing groups, and ends them."""

    def __init__(self, state: State) -> None:
        self._state = state

    def submit(self, command: SubmitJob) -> Reason:
        """A new job, or the first result of the same client id."""
        state = self._state
        account = state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        client_id, digest = command.client_job_id, content_digest(command)
        known = state.client_ids.find(account, client_id, command.KIND, digest, state.now_ns)
        if known is not None:
            if not known.reason:
                state.emit(Repeated(account.account_id, known.result_id))
            return known.reason
        limits = account.limits
        refusal = limits.refusal(state, is_order=False) if limits else Reason.NONE
        refusal = refusal or self._account_refusal(account, command)
        if refusal:
            return refusal
        plan = plan_job(state, command)
        if isinstance(plan, Reason):
            return plan
        job = Job(state.counters.job + 1, command, plan, state.now_ns)
        job.hold = state.ledger.hold(account.account_id, job.escrow_nanos)
        if job.hold is None:
            return Reason.INSUFFICIENT_FUNDS
        job.transfer_id = job.hold.transfer_id
        state.counters.job = job.job_id
        state.jobs[job.job_id] = job
        account.job_ids[job.job_id] = None
        account.client_ids.add(client_id, command.KIND, digest, job.job_id)
        account.open_jobs += 1
        account.queued_bytes += command.payload_bytes
        if limits:
            limits.message(state.now_ns, is_order=False)
        self._queue(job)
        for leg, reason in job.dropped.items():
            self._say_dropped(job, leg, reason)
        return Reason.NONE

    def _account_refusal(self, account: Account, command: SubmitJob) -> Reason:
        if account.halted:
            return Reason.ACCOUNT_HALTED
        if account.kind != AccountKind.REAL:
            return Reason.ORDER_TYPE_UNSUPPORTED
        if account.open_jobs >= OPEN_JOBS_PER_ACCOUNT_MAX:
            return Reason.TOO_MANY_OPEN_JOBS
        if account.queued_bytes + command.payload_bytes > QUEUED_BYTES_PER_ACCOUNT_MAX:
            return Reason.TOO_MANY_QUEUED_BYTES
        return Reason.NONE

    def _queue(self, job: Job) -> None:
        """An attempt begins: the job bids."""
        job.state = JobState.QUEUED
        self._rest(job)
        work = job.work if not job.terms.legs else None
        self._state.emit(
            JobQueued(
                job.job_id,
                job.account_id,
                job.terms.client_job_id,
                work.model_id if work else 0,
                job.attempt,
                work.quantity_mflop if work else 0,
                job.escrow_nanos,
                job.plans[0].density_nanos if work else 0,
                job.deadline_ns,
            )
        )

    def _rest(self, job: Job) -> None:
        """Put the job's bids into their clearing groups and arm what may happen to them."""
        state = self._state
        bidding = job.bidding
        legs = []
        for number, plan in bidding.items():
            bid_id = bid_id_of(job.job_id, number)
            bid = plan.bid(bid_id, job.account_id, job.job_id, state.now_ns)
            legs.append(Leg(plan.group_id, bid, plan.work.quantity_mflop))
        if job.terms.legs:
            state.job_legs.add(MultiLegBid(job.job_id, tuple(legs)))
        else:
            state.groups[legs[0].group_id].add_bid(legs[0].bid)
        first_ns = min(plan.latest_start_ns for plan in bidding.values())
        state.timers.set(TimerKind.JOB_INFEASIBLE, job.job_id, first_ns + 1)
        for leg in legs:
            self.arm(leg.group_id)

    def arm(self, group_id: int, not_before_ns: int = 0) -> None:
        """Something may trade: clear the group at the next batch boundary from then on."""
        timers = self._state.timers
        earliest_ns = max(self._state.now_ns + 1, not_before_ns)
        period_ns = self._state.rules.batch_period_ns
        due = -(-earliest_ns // period_ns) * period_ns
        armed = timers.due_ns(TimerKind.UNCROSS, group_id)
        if armed is None or armed > due:
            timers.set(TimerKind.UNCROSS, group_id, due)

    def requeue(self, job: Job, reason: Reason, fault: Fault) -> None:
        """The attempt failed and billed nothing: try again with the whole budget, or end."""
        if job.cancelling:
            self.end(job, JobState.CANCELLED, job.reason, job.fault)
        elif job.attempt >= ATTEMPTS_MAX:
            self.end(job, JobState.FAILED, reason, fault)
        elif self._drop_legs(job, fault):
            job.attempt += 1
            self._queue(job)

    def withdraw(self, job: Job) -> None:
        """Take a queued job's bids out of their groups."""
        if job.terms.legs:
            self._state.job_legs.remove(job.job_id)
        else:
            self._state.groups[job.plans[0].group_id].remove_bid(bid_id_of(job.job_id, 0))
        self._state.timers.cancel(TimerKind.JOB_INFEASIBLE, job.job_id)

    def infeasible_due(self, job_id: int) -> None:
        """Timer: a leg can nowhere start in time any more."""
        self.prune(self._state.jobs[job_id])

    def prune(self, job: Job) -> None:
        """Let a queued job go on without the legs that can never trade any more, or end it."""
        if any(self._never_trades(plan) for plan in job.bidding.values()):
            self.withdraw(job)
            if self._drop_legs(job, Fault.NONE):
                self._rest(job)

    def _drop_legs(self, job: Job, fault: Fault) -> bool:
        """Drop the legs that can never trade any more; False where none is left: the job ended.

        The escrow shrinks to the worst case of what is left.
        """
        found = {leg: self._never_trades(plan) for leg, plan in job.bidding.items()}
        dropped = {leg: reason for leg, reason in found.items() if reason}
        job.dropped |= dropped
        if job.bidding:
            job.escrow_nanos = job.dearest_nanos
            smaller = self._state.ledger.resize(job.escrow, job.escrow_nanos)
            assert smaller, "an escrow cannot shrink"
        for leg, reason in dropped.items():
            self._say_dropped(job, leg, reason)
        if job.bidding:
            return True
        reason = next(reversed(dropped.values()))
        if reason == Reason.DEADLINE_INFEASIBLE:
            self.end(job, JobState.EXPIRED, reason, fault)
        else:
            self.end(job, JobState.CANCELLED, reason, Fault.OPERATOR)
        return False

    def _never_trades(self, plan: BidPlan) -> Reason:
        """Why a bid will never trade again, or NONE: it is too late, or all its classes closed."""
        if plan.latest_start_ns < self._state.now_ns:
            return Reason.DEADLINE_INFEASIBLE
        classes = [self._state.instruments[c.instrument_id] for c in plan.classes]
        closed = all(c.state == TradingState.CLOSED for c in classes)
        return Reason.CANCELLED_BY_OPERATOR if closed else Reason.NONE

    def _say_dropped(self, job: Job, leg: int, reason: Reason) -> None:
        if job.terms.legs:
            instrument_id = job.terms.legs[leg * LEG_NUMBERS]
            self._state.emit(
                JobLegDropped(
                    job.job_id, job.account_id, leg, instrument_id, reason, job.escrow_nanos
                )
            )

    def end(self, job: Job, ending: JobState, reason: Reason, fault: Fault) -> None:
        """Close the job: free what is held, remember its client id for the retention."""
        state = self._state
        state.timers.cancel(TimerKind.JOB_INFEASIBLE, job.job_id)
        state.ledger.void(job.escrow)
        job.hold = None
        account = state.accounts[job.account_id]
        account.open_jobs -= 1
        account.queued_bytes -= job.terms.payload_bytes
        state.client_ids.ended(account, job.terms.client_job_id, state.now_ns)
        job.state, job.reason, job.fault, job.ended_ns = ending, reason, fault, state.now_ns
        if ending == JobState.SETTLED:
            state.jobs_settled += 1
        else:
            state.jobs_unsettled += 1
        forget_ns = state.now_ns + CLIENT_ID_RETENTION_NS
        state.timers.set(TimerKind.JOB_FORGET, job.job_id, forget_ns)
        state.emit(
            JobEnded(
                job.job_id,
                job.account_id,
                ending,
                reason,
                fault,
                job.cause,
                job.attempt,
                job.lease_id,
                job.flops,
                job.paid_nanos,
            )
        )

    def forget_due(self, job_id: int) -> None:
        """Timer: the job ended long ago; the journal still has it."""
        job = self._state.jobs.pop(job_id)
        del self._state.accounts[job.account_id].job_ids[job_id]
        for lease_id in job.lease_ids:
            del self._state.leases[lease_id]
