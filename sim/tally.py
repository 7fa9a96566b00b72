"""What became of jobs, told by the engine's events alone: in a recorded market or a played one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from exchange.core.commands import Command, StopCause, SubmitJob
from exchange.core.events import (
    AnyEvent,
    JobEnded,
    JobQueued,
    JobState,
    LeaseEnded,
    LeaseOffered,
    LeaseState,
    QuoteSet,
    ReceiptSettled,
    Refused,
)
from exchange.core.limits import FLOPS_PER_CU, FLOPS_PER_MFLOP, MFLOP_PER_CU, NS_PER_MS
from exchange.core.planning import LEG_NUMBERS
from exchange.metering.costs import cost_nanos

ANSWERED: Final = (StopCause.FINISHED, StopCause.LENGTH, StopCause.BUDGET)
"""How an attempt ends that gave its buyer what was asked for."""
_ENDS: Final = {
    JobState.SETTLED: "settled",
    JobState.EXPIRED: "expired",
    JobState.CANCELLED: "cancelled",
    JobState.FAILED: "failed",
}

JobKey = tuple[int, bytes]
"""(account, client job id): the same in every play of a record."""


class Traded(NamedTuple):
    """What one instrument sold."""

    leases: int
    flops: int
    billed_nanos: int

    @property
    def price_nanos(self) -> int:
        """Mean price per CU, by volume; 0 where nothing was sold."""
        return self.billed_nanos * FLOPS_PER_CU // self.flops if self.flops else 0


class Tally:
    """Counts jobs, money, prices and waits as the events come.

    What a lease cost its worker is in no journal. In its place stands the worker's ask for its
    first slot, which a worker without losses never sets below its cost.
    """

    def __init__(self) -> None:
        self.submitted = self.refused = self.failed_attempts = 0
        self.value_nanos = self.paid_nanos = self.cost_nanos = self.flops = 0
        self.ends = dict.fromkeys(_ENDS.values(), 0)
        self.waits_ns: list[int] = []  # from submission to the lease that answered
        self.answers_ns: list[int] = []  # from submission to the answer
        self.traded: dict[str, Traded] = {}
        self._names: dict[int, str] = {}
        self._open: dict[int, tuple[int, int]] = {}  # job -> (submitted, value)
        self._leased_ns: dict[int, int] = {}  # job -> when its last lease was offered
        self._offers: dict[int, tuple[LeaseOffered, int, int]] = {}  # lease -> (.., when, its cost)
        self._asks: dict[tuple[int, int, int], int] = {}  # (worker, instrument, pool) -> first slot

    @property
    def open_jobs(self) -> int:
        """Jobs that have not ended yet."""
        return len(self._open)

    def offer(self, lease_id: int) -> tuple[LeaseOffered, int]:
        """An open lease, and when it was offered.

        Raises:
            KeyError: it has ended.
        """
        offered, at_ns, _ = self._offers[lease_id]
        return offered, at_ns

    def name(self, instrument_id: int, name: str) -> None:
        """An instrument is called so."""
        self._names[instrument_id] = name

    def see(self, now_ns: int, command: Command, events: Sequence[AnyEvent]) -> None:
        """What one command did."""
        for event in events:
            match event:
                case JobQueued(attempt=1) if isinstance(command, SubmitJob):
                    self.submitted += 1
                    self._open[event.job_id] = (now_ns, declared_nanos(command))
                case Refused() if isinstance(command, SubmitJob):
                    self.refused += 1
                case QuoteSet():
                    key = event.worker_id, event.instrument_id, event.pool
                    self._asks[key] = event.prices_nanos[0]
                case LeaseOffered():
                    key = event.worker_id, event.instrument_id, event.pool
                    self._offers[event.lease_id] = event, now_ns, self._asks[key]
                    self._leased_ns[event.job_id] = now_ns
                case ReceiptSettled() if event.lease_id in self._offers:  # else a repeat
                    self._settled(event)
                case LeaseEnded():
                    self._offers.pop(event.lease_id, None)
                    self.failed_attempts += event.state != LeaseState.SETTLED
                case JobEnded():
                    self._ended(now_ns, event)

    def _settled(self, event: ReceiptSettled) -> None:
        offered, _, ask_nanos = self._offers[event.lease_id]
        self.flops += event.flops
        self.paid_nanos += event.billed_nanos
        self.cost_nanos += cost_nanos(min(ask_nanos, offered.price_nanos), event.flops)
        name = self._names[offered.instrument_id]
        old = self.traded.get(name, Traded(0, 0, 0))
        self.traded[name] = Traded(
            old.leases + 1, old.flops + event.flops, old.billed_nanos + event.billed_nanos
        )

    def _ended(self, now_ns: int, event: JobEnded) -> None:
        self.ends[_ENDS[event.state]] += 1
        submitted_ns, value_nanos = self._open.pop(event.job_id)
        leased_ns = self._leased_ns.pop(event.job_id, now_ns)
        if event.state == JobState.SETTLED and event.cause in ANSWERED:
            self.value_nanos += value_nanos
            self.waits_ns.append(leased_ns - submitted_ns)
            self.answers_ns.append(now_ns - submitted_ns)

    def summary(self) -> dict[str, Any]:
        """The figures by name; integers, times in whole milliseconds."""
        return {
            "submitted": self.submitted,
            "refused": self.refused,
            **self.ends,
            "open": self.open_jobs,
            "failed_attempts": self.failed_attempts,
            "value_nanos": self.value_nanos,
            "paid_nanos": self.paid_nanos,
            "welfare_nanos": self.value_nanos - self.cost_nanos,
            "mflop": self.flops // FLOPS_PER_MFLOP,
            "price_nanos": Traded(0, self.flops, self.paid_nanos).price_nanos,
            "wait_p50_ms": _quantile_ms(self.waits_ns, 50),
            "wait_p95_ms": _quantile_ms(self.waits_ns, 95),
            "answer_p50_ms": _quantile_ms(self.answers_ns, 50),
            "answer_p95_ms": _quantile_ms(self.answers_ns, 95),
            "prices": {
                name: {"leases": sold.leases, "price_nanos": sold.price_nanos}
                for name, sold in sorted(self.traded.items())
            },
        }


def declared_nanos(terms: SubmitJob) -> int:
    """What a buyer said that the answer is worth: its value, else the most it would cost.

    Where there is neither, its limit price times its quantity; the dearest leg's, where it has
    legs.
    """
    ways = [(terms.limit_nanos, terms.quantity_mflop)]
    for at in range(0, len(terms.legs), LEG_NUMBERS):
        _, limit_nanos, quantity_mflop, *_ = terms.legs[at : at + LEG_NUMBERS]
        ways.append((limit_nanos, quantity_mflop))
    most = max(limit * quantity // MFLOP_PER_CU for limit, quantity in ways)
    return terms.value_nanos or terms.max_cost_nanos or most


def _quantile_ms(times_ns: list[int], percent: int) -> int:
    """The time below which so many of a hundred lie; 0 where there is none."""
    if not times_ns:
        return 0
    rank = -(-percent * len(times_ns) // 100)
    return sorted(times_ns)[max(rank, 1) - 1] // NS_PER_MS
