"""How buyers speak of their jobs and how workers treat their leases: all that a market may vary.

A market is run with one conduct. The base class is honest and certain: each job is told as it is,
all of it is computed in the time that the class promises, and the receipt says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import NamedTuple

from sim.demand import Job


class Claim(Enum):
    """What a receipt says of the work."""

    TRUE = "true"
    FLOPS = "flops"  # half as many FLOPs again as its own trace has
    TRACE = "trace"  # a trace as long as the lease's budget; the tokens that came are those done
    FILLER = "filler"  # the same, and as many tokens came: the answer, and filler behind it


class Deed(NamedTuple):
    """What a worker does with a lease that it is offered.

    Attributes:
        takes: Or else it declines, and quotes anew at once.
        delivers: Or else it has started and is never heard of again.
        slowness: Times the run time that its class promises.
        claim: What its receipt says.
    """

    takes: bool = True
    delivers: bool = True
    slowness: float = 1.0
    claim: Claim = Claim.TRUE


HONEST = Deed()


class Ending(NamedTuple):
    """What a job came to: how many FLOPs were billed, at how much, and whether it was answered."""

    flops: int
    paid_nanos: int
    answered: bool


class Conduct:
    """What the market's driver asks while it runs. Times count from the market's begin."""

    revises = False
    """Whether `revised` is to be asked."""

    def told(self, job: Job, now_ns: int) -> Job | None:
        """What the buyer says of a job that arrives now; None: the buyer stays away.

        Only tokens, value, deadline and account may differ from the job.
        """
        del now_ns
        return job

    def credit_nanos(self, account: int) -> int | None:
        """What an account deposits before the market opens; None: more than it can spend."""
        del account
        return None

    def legs(self, told: Job) -> Sequence[int] | None:
        """By class, the input tokens that the job bids for there, or 0 for no leg in the class.

        None: one bid for all classes.
        """
        del told
        return None

    def taken(self, told: Job, class_index: int, now_ns: int) -> None:
        """Hears where a job begins, before it is asked what is computed of it."""

    def allowed(self, told: Job) -> int:
        """Input tokens that the job may have at most; those told are what it usually has.

        The usual ones size its run time, the most its budget. A job with legs has no more.
        """
        return told.input_tokens

    def computed(self, told: Job, now_ns: int, fits: int) -> tuple[int, int]:
        """Input and output tokens that the worker computes, at most those allowed.

        `fits` is how many, both together, its class makes before the deadline.
        """
        del now_ns, fits
        return told.input_tokens, told.output_tokens

    def revised(
        self, told: Job, done_tokens: int, now_ns: int, fits: int
    ) -> tuple[int, int] | None:
        """What is to be computed of a job that runs: no less than is done, no more than allowed.

        Asked when jobs arrive, and when this one would end; None: as planned. `fits` counts from
        its begin.
        """
        del told, done_tokens, now_ns, fits
        return None

    def cancels_ns(self, told: Job, begin_ns: int, end_ns: int) -> int | None:
        """When between begin and end of its work the buyer cancels the job; None: never."""
        del told, begin_ns, end_ns
        return None

    def deed(self, worker: int, told: Job) -> Deed:
        """What a worker (they count from 0, class by class) does with a lease for this job."""
        del worker, told
        return HONEST

    def cleared(self, class_index: int, price_nanos: int, now_ns: int) -> None:
        """Hears the price, in nano-dollars per CU, at which a class cleared."""

    def ended(self, told: Job, ending: Ending, now_ns: int) -> None:
        """Hears what became of a job."""


class Misreport(Conduct):
    """Some accounts say that their jobs are worth another value, or are due at another time.

    `value` multiplies the value, `due` the time from arrival to deadline.
    """

    def __init__(self, accounts: Collection[int], value: float = 1.0, due: float = 1.0) -> None:
        self._accounts, self._value, self._due = frozenset(accounts), value, due

    def told(self, job: Job, now_ns: int) -> Job:
        """The job, or the lie about it."""
        if job.account not in self._accounts:
            return job
        within_ns = round((job.deadline_ns - job.arrival_ns) * self._due)
        return job._replace(
            value_nanos=max(1, round(job.value_nanos * self._value)),
            deadline_ns=now_ns + max(1, within_ns),
        )
