"""Jobs: inference requests with a compute budget, from submission to the last posting.

A job rests in its clearing group as one bid. A fill makes a lease of it; a failed lease brings it
back with its whole budget as attempt + 1. Its escrow is held from submission to its end, so that a
new attempt never has to find the money again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exchange.core.accounts import content_digest
from exchange.core.commands import AccountKind, SubmitJob, TradingState, decode
from exchange.core.events import Fault, JobEnded, JobQueued, JobState, Repeated
from exchange.core.limits import (
    ATTEMPTS_MAX,
    CLIENT_ID_RETENTION_NS,
    NS_PER_MS,
    OPEN_JOBS_PER_ACCOUNT_MAX,
    QUEUED_BYTES_PER_ACCOUNT_MAX,
)
from exchange.core.planning import BidPlan, plan_bid
from exchange.core.reasons import Reason
from exchange.core.timers import TimerKind
from matching.clearing import Bid, ClassBid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.accounts import Account
    from exchange.core.state import State

BATCH_PERIOD_NS: Final = 10 * NS_PER_MS
"""Batches clear on multiples of this, and only when something may trade."""


class Job:
    """One job; `terms` is the command that brought it, `plan` how it bids."""

    __slots__ = (
        "attempt",
        "cancelling",
        "cause",
        "created_ns",
        "ended_ns",
        "fault",
        "flops",
        "job_id",
        "lease_ids",
        "paid_nanos",
        "plan",
        "reason",
        "state",
        "terms",
        "transfer_id",
    )

    def __init__(self, job_id: int, terms: SubmitJob, plan: BidPlan, now_ns: int) -> None:
        self.job_id = job_id
        self.terms = terms
        self.plan = plan
        self.transfer_id = 0
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
    def lease_id(self) -> int:
        """The running or last lease; 0 before the first."""
        return self.lease_ids[-1] if self.lease_ids else 0

    @property
    def escrow_nanos(self) -> int:
        """The most that it can cost."""
        return self.plan.escrow_nanos

    @property
    def deadline_ns(self) -> int:
        """When the answer is due, nanoseconds since the epoch."""
        return self.plan.deadline_ns

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in (JobState.QUEUED, JobState.LEASED, JobState.RUNNING)

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return (
            self.job_id,
            self.terms.encode(),
            self.plan,
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
        job_id, record, plan, transfer_id, created_ns, ended_ns, attempt, *rest = state
        (terms,) = decode(record)
        assert isinstance(terms, SubmitJob)
        group_id, classes, *prices = plan
        named = tuple(ClassBid(*one) for one in classes)
        job = cls(job_id, terms, BidPlan(group_id, named, *prices), created_ns)
        job.transfer_id = transfer_id
        job.ended_ns = ended_ns
        job.attempt = attempt
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
        content = content_digest(command)
        known = state.client_ids.find(account, command.client_job_id, content, state.now_ns)
        if known.reason:
            return known.reason
        if known.result_id:
            state.emit(Repeated(account.account_id, known.result_id))
            return Reason.NONE
        refusal = self._account_refusal(account, command)
        if refusal:
            return refusal
        plan = plan_bid(state, command)
        if isinstance(plan, Reason):
            return plan
        transfer_id = state.ledger.hold(account.account_id, plan.escrow_nanos)
        if not transfer_id:
            return Reason.INSUFFICIENT_FUNDS
        state.counters.job += 1
        job = Job(state.counters.job, command, plan, state.now_ns)
        job.transfer_id = transfer_id
        state.jobs[job.job_id] = job
        account.job_ids[job.job_id] = None
        state.client_ids.remember(account, command.client_job_id, content, job.job_id)
        account.open_jobs += 1
        account.queued_bytes += command.payload_bytes
        self._queue(job)
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
        """Put the job's bid into its clearing group and arm what may happen to it."""
        state, plan = self._state, job.plan
        job.state = JobState.QUEUED
        in_time = tuple(c for c in plan.classes if c.latest_start_ns >= state.now_ns)
        state.groups[plan.group_id].add_bid(
            Bid(
                bid_id=job.job_id,
                account_id=job.account_id,
                density=plan.density_nanos,
                cap=plan.cap_nanos,
                latest_start_ns=plan.latest_start_ns,
                sequence=job.job_id,
                classes=in_time,
                flat=plan.flat,
            )
        )
        state.timers.set(TimerKind.JOB_INFEASIBLE, job.job_id, plan.latest_start_ns + 1)
        self.arm(plan.group_id)
        state.emit(
            JobQueued(
                job.job_id,
                job.account_id,
                job.terms.client_job_id,
                job.terms.model_id,
                job.attempt,
                job.terms.quantity_mflop,
                job.escrow_nanos,
                plan.density_nanos,
                job.deadline_ns,
            )
        )

    def arm(self, group_id: int, not_before_ns: int = 0) -> None:
        """Something may trade: clear the group at the next batch boundary from then on."""
        timers = self._state.timers
        earliest_ns = max(self._state.now_ns + 1, not_before_ns)
        due = -(-earliest_ns // BATCH_PERIOD_NS) * BATCH_PERIOD_NS
        armed = timers.due_ns(TimerKind.UNCROSS, group_id)
        if armed is None or armed > due:
            timers.set(TimerKind.UNCROSS, group_id, due)

    def requeue(self, job: Job, reason: Reason, fault: Fault) -> None:
        """The attempt failed and billed nothing: try again with the whole budget, or end."""
        now_ns = self._state.now_ns
        if job.cancelling:
            self.end(job, JobState.CANCELLED, job.reason, job.fault)
        elif job.attempt >= ATTEMPTS_MAX:
            self.end(job, JobState.FAILED, reason, fault)
        elif job.plan.latest_start_ns < now_ns:
            self.end(job, JobState.EXPIRED, Reason.DEADLINE_INFEASIBLE, fault)
        elif self.all_closed(job):
            self.end(job, JobState.CANCELLED, Reason.CANCELLED_BY_OPERATOR, Fault.OPERATOR)
        else:
            job.attempt += 1
            self._queue(job)

    def all_closed(self, job: Job) -> bool:
        """Whether no class that could serve it will ever trade again."""
        classes = [self._state.instruments[c.instrument_id] for c in job.plan.classes]
        return all(c.state == TradingState.CLOSED for c in classes)

    def withdraw(self, job: Job) -> None:
        """Take a queued job's bid out of its group."""
        self._state.groups[job.plan.group_id].remove_bid(job.job_id)
        self._state.timers.cancel(TimerKind.JOB_INFEASIBLE, job.job_id)

    def infeasible_due(self, job_id: int) -> None:
        """Timer: no class can start it in time any more, so it leaves with its whole escrow."""
        job = self._state.jobs[job_id]
        self.withdraw(job)
        self.end(job, JobState.EXPIRED, Reason.DEADLINE_INFEASIBLE, Fault.NONE)

    def end(self, job: Job, ending: JobState, reason: Reason, fault: Fault) -> None:
        """Close the job: free what is held, remember its client id for the retention."""
        state = self._state
        state.timers.cancel(TimerKind.JOB_INFEASIBLE, job.job_id)
        state.ledger.void(job.transfer_id)
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
