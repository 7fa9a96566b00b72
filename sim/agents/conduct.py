"""How buyers speak of their jobs, and what workers compute of them.

A market is run with one conduct. The base class is honest and certain: each job is told as it is,
and all of it is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sim.demand import Job


class Conduct:
    """What the market's driver asks while it runs. Times count from the market's begin."""

    def told(self, job: Job, now_ns: int) -> Job | None:
        """What the buyer says of a job that arrives now; None: the buyer stays away.

        Only tokens, value, deadline and account may differ from the job.
        """
        del now_ns
        return job

    def legs(self, told: Job) -> Sequence[int] | None:
        """By class, the input tokens that the job bids for there, or 0 for no leg in the class.

        None: one bid for all classes.
        """
        del told
        return None

    def taken(self, told: Job, class_index: int, now_ns: int) -> None:
        """Hears where a job begins, before it is asked what is computed of it."""

    def computed(self, told: Job, now_ns: int) -> tuple[int, int]:
        """Input and output tokens that the worker computes, at most those told."""
        del now_ns
        return told.input_tokens, told.output_tokens

    def cleared(self, class_index: int, price_nanos: int, now_ns: int) -> None:
        """Hears the price, in nano-dollars per CU, at which a class cleared."""


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
