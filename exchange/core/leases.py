"""Leases: a fill becomes work on a worker, the work becomes a receipt, the receipt becomes money.

OFFERED -> ACCEPTED -> RUNNING -> SETTLED; EXPIRED, DECLINED, REVOKED and FAILED are the other
ends, each with whose fault it was. Only SETTLED bills. A lease is named by its fencing token
(epoch, sequence of the grant): whoever holds an old one is told so and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.commands import (
    AcceptLease,
    CancelJob,
    DeclineLease,
    LeaveWorker,
    RegisterWorker,
    SettleLease,
    StartLease,
    WorkerLost,
)
from exchange.core.events import (
    Cleared,
    EntryKind,
    Fault,
    JobCancelling,
    JobState,
    LeaseAccepted,
    LeaseEnded,
    LeaseOffered,
    LeaseStarted,
    LeaseState,
    Posted,
    ReceiptRefused,
    ReceiptSettled,
    WorkerState,
)
from exchange.core.jobs import leg_of
from exchange.core.lease import Lease
from exchange.core.limits import ACCEPT_WITHIN_NS, SETTLE_AFTER_STOP_NS
from exchange.core.reasons import Reason
from exchange.core.settlement import ends_too_early, judge
from exchange.core.timers import TimerKind
from exchange.core.workers import PRESENT
from exchange.metering.costs import post_nanos

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exchange.core.jobs import Job, JobDesk
    from exchange.core.state import State
    from exchange.core.workers import Worker, WorkerDesk
    from matching.clearing import LeaseFill, Uncross

DECLINE_REASONS: Final = (
    Reason.WORKER_DECLINED,
    Reason.WORKER_BUSY,
    Reason.WORKER_PAUSED,
    Reason.MODEL_NOT_LOADED,
    Reason.WORKER_LOST,
    Reason.ENGINE_FAILED,
)

_WORKING: Final = (LeaseState.ACCEPTED, LeaseState.RUNNING)


class LeaseDesk:
    """Grants leases, walks them through their states, and settles their receipts."""

    def __init__(self, state: State, jobs: JobDesk, workers: WorkerDesk) -> None:
        self._state = state
        self._jobs = jobs
        self._workers = workers

    # Clearing

    def uncross_due(self, group_ids: Iterable[int]) -> None:
        """Timer: clear groups, by id; each fill becomes an offered lease."""
        state = self._state
        for group_id, uncross, _, _ in state.job_legs.uncross(group_ids, state.now_ns):
            self._carry_out(uncross)
            due = state.groups[group_id].next_trade_ns(state.now_ns)
            if due is not None:
                self._jobs.arm(group_id, due)

    def _carry_out(self, uncross: Uncross) -> None:
        """What one group did."""
        state = self._state
        for instrument_id in sorted(uncross.prices):
            price = uncross.prices[instrument_id]
            fills = sum(fill.instrument_id == instrument_id for fill in uncross.fills)
            state.instruments[instrument_id].last_price_nanos = price
            state.emit(Cleared(instrument_id, price, fills))
        for bid_id in uncross.self_trades:
            job = state.jobs[leg_of(bid_id)[0]]
            self._jobs.end(job, JobState.CANCELLED, Reason.SELF_TRADE, Fault.BUYER)
        for fill in uncross.fills:
            self._grant(fill)

    def _grant(self, fill: LeaseFill) -> None:
        state = self._state
        job_id, leg = leg_of(fill.bid_id)
        job = state.jobs[job_id]
        job.leg = leg
        state.timers.cancel(TimerKind.JOB_INFEASIBLE, job_id)
        state.counters.lease += 1
        lease = Lease.granted(state.counters.lease, job, job.plans[leg].work, fill, state)
        state.leases[lease.lease_id] = lease
        state.workers[lease.worker_id].lease_ids.add(lease.lease_id)
        job.lease_ids.append(lease.lease_id)
        job.state = JobState.LEASED
        state.timers.set(TimerKind.LEASE_STEP, lease.lease_id, lease.accept_by_ns)
        state.timers.set(TimerKind.LEASE_SETTLE, lease.lease_id, lease.settle_by_ns)
        state.emit(
            LeaseOffered(
                lease_id=lease.lease_id,
                job_id=job.job_id,
                attempt=lease.attempt,
                instrument_id=lease.instrument_id,
                worker_id=lease.worker_id,
                pool=lease.pool,
                buyer_account_id=lease.account_id,
                seller_account_id=lease.seller_account_id,
                quantity_mflop=lease.quantity_mflop,
                price_nanos=lease.price_nanos,
                bid_nanos=fill.bid_price,
                ask_nanos=fill.ask_price,
                fence_epoch=lease.fence_epoch,
                fence_sequence=lease.fence_sequence,
                accept_within_ns=ACCEPT_WITHIN_NS,
                stop_within_ns=lease.stop_by_ns - state.now_ns,
            )
        )

    # Steps of the worker

    def _lease_of(
        self, command: AcceptLease | DeclineLease | StartLease | SettleLease
    ) -> Lease | Reason:
        lease = self._state.leases.get(command.lease_id)
        if lease is None:
            return Reason.UNKNOWN_LEASE
        if lease.worker_id != command.worker_id:
            return Reason.NOT_OWNER
        if not lease.has_fence(command.fence_epoch, command.fence_sequence):
            return Reason.STALE_FENCE
        return lease

    def accept(self, command: AcceptLease) -> Reason:
        """The worker takes it; it must start within the tier's promise."""
        lease = self._lease_of(command)
        if isinstance(lease, Reason):
            return lease
        if lease.state != LeaseState.OFFERED:
            return Reason.LEASE_STATE if lease.is_open else Reason.LEASE_CLOSED
        state = self._state
        lease.state = LeaseState.ACCEPTED
        promise_ns = state.instruments[lease.instrument_id].terms.latest_start_ns
        start_by_ns = min(lease.settle_by_ns, state.now_ns + max(promise_ns, ACCEPT_WITHIN_NS))
        state.timers.set(TimerKind.LEASE_STEP, lease.lease_id, start_by_ns)
        state.emit(LeaseAccepted(lease.lease_id, lease.job_id, lease.worker_id))
        return Reason.NONE

    def start(self, command: StartLease) -> Reason:
        """The engine has begun."""
        lease = self._lease_of(command)
        if isinstance(lease, Reason):
            return lease
        if lease.state != LeaseState.ACCEPTED:
            return Reason.LEASE_STATE if lease.is_open else Reason.LEASE_CLOSED
        lease.state = LeaseState.RUNNING
        self._state.jobs[lease.job_id].state = JobState.RUNNING
        self._state.timers.cancel(TimerKind.LEASE_STEP, lease.lease_id)
        self._state.emit(LeaseStarted(lease.lease_id, lease.job_id, lease.worker_id))
        return Reason.NONE

    def decline(self, command: DeclineLease) -> Reason:
        """The worker does not want it, or has lost it; the job goes back at once."""
        lease = self._lease_of(command)
        if isinstance(lease, Reason):
            return lease
        if not lease.is_open:
            return Reason.LEASE_CLOSED
        ours = command.reason == Reason.OPERATOR_FAULT  # the gateway's word, never a worker's
        if not ours and command.reason not in DECLINE_REASONS:
            return Reason.FIELD_INVALID
        offered = lease.state == LeaseState.OFFERED
        ending = LeaseState.DECLINED if offered else LeaseState.FAILED
        fault = Fault.OPERATOR if ours else Fault.WORKER
        self._fail(lease, ending, fault, Reason(command.reason))
        if offered and not ours:
            self._stop_quoting(lease)
        return Reason.NONE

    def _stop_quoting(self, lease: Lease) -> None:
        """The slot was quoted and not given: its pool's quotes go until the worker quotes anew.

        Otherwise the cheapest worker could use up all attempts of a job by declining it.
        """
        self._workers.end_pool_quotes(self._state.workers[lease.worker_id], lease.pool)

    # Timers

    def step_due(self, lease_id: int) -> None:
        """Timer: not accepted or not started in time."""
        lease = self._state.leases[lease_id]
        offered = lease.state == LeaseState.OFFERED
        reason = Reason.ACCEPT_TIMEOUT if offered else Reason.START_TIMEOUT
        self._fail(lease, LeaseState.EXPIRED, Fault.WORKER, reason)
        if offered:
            self._stop_quoting(lease)

    def settle_due(self, lease_id: int) -> None:
        """Timer: settle_by has passed without a receipt."""
        lease = self._state.leases[lease_id]
        self._fail(lease, LeaseState.FAILED, Fault.WORKER, Reason.RECEIPT_TIMEOUT)

    # The buyer

    def cancel_job(self, command: CancelJob) -> Reason:
        """Stop the work and the bill."""
        state = self._state
        job = state.jobs.get(command.job_id)
        if job is None:
            return Reason.UNKNOWN_JOB
        if command.account_id and job.account_id != command.account_id:
            return Reason.NOT_OWNER
        if not job.is_open:
            return Reason.JOB_CLOSED
        limits = state.accounts[job.account_id].limits
        if limits:
            limits.message(state.now_ns, is_order=False)
        by_owner = command.account_id == job.account_id
        reason = Reason.CANCELLED_BY_OWNER if by_owner else Reason.CANCELLED_BY_OPERATOR
        fault = Fault.BUYER if by_owner else Fault.OPERATOR
        if job.state == JobState.QUEUED:
            self._jobs.withdraw(job)
            self._jobs.end(job, JobState.CANCELLED, reason, fault)
            return Reason.NONE
        job.cancelling, job.reason, job.fault = True, reason, fault
        lease = state.leases[job.lease_id]
        if lease.state == LeaseState.OFFERED:
            self._fail(lease, LeaseState.REVOKED, fault, reason)
            return Reason.NONE
        self._stop_soon(lease)
        state.emit(JobCancelling(job.job_id, job.account_id, lease.lease_id, lease.worker_id))
        return Reason.NONE

    def _stop_soon(self, lease: Lease) -> None:
        """The worker is told to stop: its receipt is due shortly."""
        state = self._state
        lease.cancelling = True
        lease.stop_by_ns = min(lease.stop_by_ns, state.now_ns)
        lease.settle_by_ns = min(lease.settle_by_ns, state.now_ns + SETTLE_AFTER_STOP_NS)
        state.timers.set(TimerKind.LEASE_SETTLE, lease.lease_id, lease.settle_by_ns)

    # Receipts

    def settle(self, command: SettleLease) -> Reason:
        """The lease's one receipt: paid as re-computed, or the attempt failed."""
        lease = self._lease_of(command)
        if isinstance(lease, Reason):
            self._refuse_receipt(command, lease)
            return Reason.NONE
        if lease.first_result is not None:
            self._state.emit(lease.first_result)
            return Reason.NONE
        if lease.state not in _WORKING:
            late = Reason.LEASE_STATE if lease.is_open else Reason.RECEIPT_LATE
            self._refuse_receipt(command, late)
            return Reason.NONE
        job = self._state.jobs[lease.job_id]
        context_tokens = self._state.instruments[lease.instrument_id].terms.context_tokens_max
        work = job.work
        assert work is not None, "a lease is for no leg"
        model = self._state.models[work.model_id]
        early = ends_too_early(lease, self._state.epoch, self._state.now_ns)
        verdict = judge(command, job, model, context_tokens, early=early)
        if verdict.reason:
            lease.first_result = self._refuse_receipt(command, verdict.reason)
            self._fail(lease, LeaseState.FAILED, Fault.WORKER, verdict.reason)
        else:
            self._pay(lease, job, command, verdict.flops)
        return Reason.NONE

    def _refuse_receipt(self, command: SettleLease, reason: Reason) -> ReceiptRefused:
        refused = ReceiptRefused(
            command.lease_id, command.worker_id, reason, command.receipt_digest
        )
        self._state.emit(refused)
        return refused

    def _pay(self, lease: Lease, job: Job, command: SettleLease, flops: int) -> None:
        state = self._state
        billed = post_nanos(lease.price_nanos, flops, lease.billed_nanos)
        state.ledger.post(job.escrow, lease.seller_account_id, billed)
        lease.flops, lease.billed_nanos = flops, billed
        job.flops, job.paid_nanos, job.cause = flops, billed, command.cause
        worker = state.workers[lease.worker_id]
        worker.leases_settled += 1
        worker.earned_flops += flops
        worker.earned_nanos += billed
        lease.first_result = ReceiptSettled(
            lease.lease_id,
            job.job_id,
            lease.worker_id,
            job.account_id,
            command.cause,
            flops,
            lease.price_nanos,
            billed,
            command.receipt_digest,
        )
        state.emit(lease.first_result)
        seller = lease.seller_account_id
        state.emit(Posted(EntryKind.LEASE, job.account_id, seller, billed, lease.lease_id))
        self._close(lease, LeaseState.SETTLED, Fault.NONE, Reason.NONE)
        if job.cancelling:
            self._jobs.end(job, JobState.CANCELLED, job.reason, job.fault)
        else:
            self._jobs.end(job, JobState.SETTLED, Reason.NONE, Fault.NONE)

    # Ends

    def _close(self, lease: Lease, ending: LeaseState, fault: Fault, reason: Reason) -> None:
        """The lease is over: its slot is free again."""
        state = self._state
        lease.state = ending
        state.timers.cancel(TimerKind.LEASE_STEP, lease.lease_id)
        state.timers.cancel(TimerKind.LEASE_SETTLE, lease.lease_id)
        state.workers[lease.worker_id].lease_ids.discard(lease.lease_id)
        state.pools[lease.pool_id].slots.give()
        for instrument_id, _ in state.workers[lease.worker_id].quotes:
            self._jobs.arm(state.instruments[instrument_id].clearing_group_id)
        state.emit(
            LeaseEnded(
                lease.lease_id,
                lease.job_id,
                lease.worker_id,
                lease.account_id,
                ending,
                fault,
                reason,
                lease.flops,
                lease.billed_nanos,
            )
        )

    def _fail(self, lease: Lease, ending: LeaseState, fault: Fault, reason: Reason) -> None:
        """The attempt is void and bills nothing; the job goes back, or ends."""
        if fault == Fault.WORKER and self._state.now_ns < self._state.grace_until_ns:
            fault = Fault.OPERATOR  # the exchange was away; the worker could not be heard
        if fault == Fault.WORKER:
            self._state.workers[lease.worker_id].leases_failed += 1
        self._close(lease, ending, fault, reason)
        self._jobs.requeue(self._state.jobs[lease.job_id], reason, fault)

    # Workers that go

    def register(self, command: RegisterWorker) -> Reason:
        """A session opens; with `resume` 0 the worker has lost what it held."""
        refusal = self._workers.register(command)
        if not refusal and not command.resume:
            name = (command.account_id, command.name)
            worker = self._state.workers[self._state.worker_by_name[name]]
            self._fail_all(worker, Reason.WORKER_LOST)
        return refusal

    def lose(self, command: WorkerLost) -> Reason:
        """The worker's session was lost: quotes go, its leases fail, their jobs go back."""
        return self._go(command.worker_id, WorkerState.LOST, Reason.WORKER_LOST)

    def leave(self, command: LeaveWorker) -> Reason:
        """The worker says goodbye."""
        return self._go(command.worker_id, WorkerState.LEFT, Reason.WORKER_DRAINED)

    def _go(self, worker_id: int, target: WorkerState, reason: Reason) -> Reason:
        worker = self._state.workers.get(worker_id)
        if worker is None:
            return Reason.UNKNOWN_WORKER
        if worker.state not in PRESENT:
            return Reason.WORKER_LOST
        self._workers.change(worker, target)
        self._fail_all(worker, reason)
        return Reason.NONE

    def _fail_all(self, worker: Worker, reason: Reason) -> None:
        for lease_id in sorted(worker.lease_ids):
            self._fail(self._state.leases[lease_id], LeaseState.FAILED, Fault.WORKER, reason)
