"""One lease: its state, and how a fill makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exchange.core.events import LeaseState, ReceiptRefused, ReceiptSettled
from exchange.core.limits import ACCEPT_WITHIN_NS, SETTLE_AFTER_STOP_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.events import AnyEvent
    from exchange.core.jobs import Job
    from exchange.core.planning import Work
    from exchange.core.state import State
    from matching.clearing import LeaseFill

RUN_TIME_SLACK: Final = 4
"""A lease may take this many times its class's promised run time before it is stopped."""

_HELD: Final = (LeaseState.OFFERED, LeaseState.ACCEPTED, LeaseState.RUNNING)

_Result = ReceiptRefused | ReceiptSettled


@dataclass(eq=False, slots=True)
class Lease:
    """What a fill gave the buyer: up to `quantity_mflop` on one slot of a worker.

    Its state, for the digest, is its fields in their order.
    """

    accept_by_ns: int
    account_id: int
    attempt: int
    billed_nanos: int
    cancelling: bool
    fence_epoch: int
    fence_sequence: int
    first_result: AnyEvent | None
    flops: int
    instrument_id: int
    job_id: int
    lease_id: int
    pool: int
    pool_id: int
    price_nanos: int
    quantity_mflop: int
    seller_account_id: int
    settle_by_ns: int
    state: LeaseState
    stop_by_ns: int
    worker_id: int

    @classmethod
    def granted(cls, lease_id: int, job: Job, work: Work, fill: LeaseFill, state: State) -> Lease:
        """The lease that a fill gives a job now."""
        instrument = state.instruments[fill.instrument_id]
        pool = state.pools[fill.pool_id]
        run_ns = instrument.run_time_ns(work.input_tokens, job.terms.output_tokens_max)
        slack_ns = instrument.terms.latest_start_ns + RUN_TIME_SLACK * run_ns
        accept_by_ns = state.now_ns + ACCEPT_WITHIN_NS
        stop_by_ns = min(job.deadline_ns, accept_by_ns + slack_ns)
        return cls(
            accept_by_ns=accept_by_ns,
            account_id=fill.buyer_account_id,
            attempt=job.attempt,
            billed_nanos=0,
            cancelling=False,
            fence_epoch=state.epoch,
            fence_sequence=state.sequence,
            first_result=None,
            flops=0,
            instrument_id=fill.instrument_id,
            job_id=job.job_id,
            lease_id=lease_id,
            pool=pool.index,
            pool_id=fill.pool_id,
            price_nanos=fill.price,
            quantity_mflop=work.quantity_mflop,
            seller_account_id=fill.seller_account_id,
            settle_by_ns=stop_by_ns + SETTLE_AFTER_STOP_NS,
            state=LeaseState.OFFERED,
            stop_by_ns=stop_by_ns,
            worker_id=pool.worker_id,
        )

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in _HELD

    def has_fence(self, epoch: int, sequence: int) -> bool:
        """Whether this token is the lease's."""
        return (self.fence_epoch, self.fence_sequence) == (epoch, sequence)

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return tuple(getattr(self, name) for name in LEASE_FIELDS)

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Lease:
        """The lease whose state it was."""
        values = dict(zip(LEASE_FIELDS, state, strict=True))
        values["state"] = LeaseState(values["state"])
        if values["first_result"] is not None:
            values["first_result"] = msgspec.convert(values["first_result"], _Result)
        return cls(**values)


LEASE_FIELDS: Final = (
    "accept_by_ns",
    "account_id",
    "attempt",
    "billed_nanos",
    "cancelling",
    "fence_epoch",
    "fence_sequence",
    "first_result",
    "flops",
    "instrument_id",
    "job_id",
    "lease_id",
    "pool",
    "pool_id",
    "price_nanos",
    "quantity_mflop",
    "seller_account_id",
    "settle_by_ns",
    "state",
    "stop_by_ns",
    "worker_id",
)
"""The fields of a lease, in the order of the digest."""
