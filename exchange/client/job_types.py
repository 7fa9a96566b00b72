"""Jobs, their answers, and what happens to them, as users see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exchange.client.enums import Fault, JobState, StopCause
from exchange.client.reasons import reason_name
from exchange.units import format_flops, format_money
from exchange.v1 import job_service_pb2 as pb

ENDED: Final = frozenset((JobState.SETTLED, JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED))
"""States that a job never leaves."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: system, user or assistant.
        content: Text.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class JobLeg:
    """One of several ways to run a job, of which at most one is used.

    Attributes:
        instrument: Name; it says which model runs, on what and in which tier.
        limit: Limit price ("$0.0004/CU" or nano-dollars per CU); 0 bids by the job's value.
        budget: Compute if this leg fills ("250 CU" or MFLOP); 0 is the worst case of prompt and
            output.
    """

    instrument: str
    limit: int | str = 0
    budget: int | str = 0


@dataclass(frozen=True, slots=True)
class JobLegState:
    """What became of one leg of a job.

    Attributes:
        instrument: Name.
        limit_nanos: Limit price, nano-dollars per CU; 0 where it bids by the job's value.
        quantity_mflop: Compute budget if this leg fills, MFLOP.
        reason: Why it dropped out for good, such as DEADLINE_INFEASIBLE; empty where it has not.
        waiting_for: Why its bid does not trade now, for people.
    """

    instrument: str
    limit_nanos: int
    quantity_mflop: int
    reason: str
    waiting_for: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when the exchange spoke of it.

    Attributes:
        job_id: Id given by the exchange.
        client_job_id: The client's id, a UUIDv7 of 16 bytes.
        state: Where it is in its life.
        model: Model's name; of a job with legs, as tier, quantity and limit, that of the running or
            last lease, and empty before the first.
        tier: Service tier.
        quantity_mflop: Compute budget, MFLOP.
        value_nanos: Value, nano-dollars; 0 where a limit was given.
        limit_nanos: Limit price, nano-dollars per CU; 0 where a value was given.
        escrow_nanos: Money held while it lives, nano-dollars.
        deadline_time_ns: Deadline, nanoseconds since the epoch.
        attempt: Which attempt this is, from 1.
        lease_id: The running or last lease; 0 for none.
        instrument: That lease's instrument, by name.
        worker: That lease's worker, by name.
        price_nanos: That lease's clearing price, nano-dollars per CU.
        flops: FLOPs billed, exact.
        paid_nanos: Money paid, nano-dollars.
        reason: Why it ended, such as DEADLINE_INFEASIBLE; empty where nothing went wrong.
        fault: Whose fault that was.
        stop_cause: Why the engine stopped; UNSPECIFIED where no receipt was accepted.
        create_time_ns: Journal time of submission, nanoseconds since the epoch.
        end_time_ns: Journal time of the end; 0 while it lives.
        output_tokens: Output tokens received.
        waiting_for: Why its bid does not trade now, for people.
        legs: Its legs in the order given; none where it has only one way to run.
        repeated: True where `submit` found that its client id had been accepted before.
    """

    job_id: int
    client_job_id: bytes
    state: JobState
    model: str
    tier: str
    quantity_mflop: int
    value_nanos: int
    limit_nanos: int
    escrow_nanos: int
    deadline_time_ns: int
    attempt: int
    lease_id: int
    instrument: str
    worker: str
    price_nanos: int
    flops: int
    paid_nanos: int
    reason: str
    fault: Fault
    stop_cause: StopCause
    create_time_ns: int
    end_time_ns: int
    output_tokens: int
    waiting_for: str
    legs: tuple[JobLegState, ...] = ()
    repeated: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED

    @property
    def output_counts(self) -> bool:
        """Whether a receipt stands for its output; the output of any other ended job is void."""
        return self.stop_cause != StopCause.UNSPECIFIED and self.state in (
            JobState.SETTLED,
            JobState.CANCELLED,
        )


def job_from(message: pb.Job, repeated: bool = False) -> Job:
    """A job of the wire."""
    return Job(
        job_id=message.job_id,
        client_job_id=message.client_job_id,
        state=JobState(message.state),
        model=message.model,
        tier=message.tier,
        quantity_mflop=message.quantity_mflop,
        value_nanos=message.value_nanos,
        limit_nanos=message.limit_nanos,
        escrow_nanos=message.escrow_nanos,
        deadline_time_ns=message.deadline_time_ns,
        attempt=message.attempt,
        lease_id=message.lease_id,
        instrument=message.instrument,
        worker=message.worker,
        price_nanos=message.price_nanos,
        flops=message.flops,
        paid_nanos=message.paid_nanos,
        reason=reason_name(message.reason),
        fault=Fault(message.fault),
        stop_cause=StopCause(message.stop_cause),
        create_time_ns=message.create_time_ns,
        end_time_ns=message.end_time_ns,
        output_tokens=message.output_tokens,
        waiting_for=message.waiting_for,
        legs=tuple(
            JobLegState(
                leg.instrument,
                leg.limit_nanos,
                leg.quantity_mflop,
                reason_name(leg.reason),
                leg.waiting_for,
            )
            for leg in message.legs
        ),
        repeated=repeated,
    )


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job's state, at first and after each change. The last update of a watch is such a one.

    Attributes:
        job: The job now.
    """

    job: Job


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of the answer.

    Attributes:
        attempt: The attempt that wrote it.
        index: Its position in that attempt's output, from 0, without gaps.
        text: Text.
        tokens: Tokens in it.
    """

    attempt: int
    index: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class OutputVoided:
    """An attempt failed after it had put out something: forget those pieces. They cost nothing.

    Attributes:
        attempt: The attempt that failed.
        pieces: How many `Output`s of it this watch had yielded.
    """

    attempt: int
    pieces: int


Update = JobChanged | Output | OutputVoided
"""What a watch of a job yields."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A settled job's answer and its bill.

    Attributes:
        text: The answer.
        job: The job as it ended.
    """

    text: str
    job: Job

    @property
    def complete(self) -> bool:
        """Whether the model ended its answer by itself, not at a limit."""
        return self.job.stop_cause == StopCause.FINISHED

    @property
    def paid_nanos(self) -> int:
        """What it cost, nano-dollars."""
        return self.job.paid_nanos

    @property
    def flops(self) -> int:
        """The compute that was metered and billed, exact."""
        return self.job.flops

    @property
    def bill(self) -> str:
        """The bill as a sentence."""
        job = self.job
        return (
            f"{format_money(job.paid_nanos)} for {format_flops(job.flops)} "
            f"({job.output_tokens} tokens) at {format_money(job.price_nanos)} per CU "
            f"on {job.worker}"
        )

    def __str__(self) -> str:
        return self.text
