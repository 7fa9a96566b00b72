"""What a journal says of demand, of fleets, and of how long work took, for another play of it.

A recorded market has two kinds of commands. Buyers' jobs, workers' comings, goings and quotes, and
the operator's decisions are taken as they were: **exogenous**. Acceptances, refusals, starts and
receipts answer what the market did; in another market they would be others, so they are not played
again. What a receipt tells of the job stays: its trace, and how long the lease took beside what its
hardware class promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from exchange.core import commands as c
from exchange.core.events import (
    AnyEvent,
    InstrumentAdded,
    JobQueued,
    ReceiptSettled,
    WorkerRegistered,
)
from exchange.core.exchange import Exchange
from exchange.metering.traces import decode_trace
from sim.tally import ANSWERED, JobKey, Tally

ENDOGENOUS: Final = (
    c.Advance,
    c.Recovered,
    c.AcceptLease,
    c.DeclineLease,
    c.StartLease,
    c.SettleLease,
)
"""Answers to the market and to its clock; all other commands are taken as they were."""

WorkerKey = tuple[int, str]
"""(account, name): the same in every play of a record."""


class Done(NamedTuple):
    """What a receipt told of a job's work.

    Attributes:
        model_id: Of the model that did it.
        trace: Its decision trace, encoded.
        tokens_given: Of that trace.
        tokens_received: What the gateway counted.
        cause: How it ended.
        share: Tokens given, of the most that the job allowed.
        pace: Time from the offer to the receipt, over the run time that its class promises.
    """

    model_id: int
    trace: bytes
    tokens_given: int
    tokens_received: int
    cause: int
    share: float
    pace: float


class Dated(NamedTuple):
    """An exogenous command, and when it was applied."""

    now_ns: int
    command: c.Command


class Recording:
    """What a journal's replay has shown so far.

    Attributes:
        tally: What became of the recorded jobs.
        commands: The exogenous ones, in their order.
        workers: Who a recorded worker id is.
        jobs: Which job a recorded job id is.
        done: What receipts told, by job.
        restarts: How often the exchange began a new epoch.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.commands: list[Dated] = []
        self.workers: dict[int, WorkerKey] = {}
        self.jobs: dict[int, JobKey] = {}
        self.done: dict[JobKey, Done] = {}
        self.restarts = 0

    def see(
        self, core: Exchange, commands: Sequence[c.Command], told: Iterable[list[AnyEvent]]
    ) -> None:
        """One commit group that the core has just applied, and its events."""
        for command, events in zip(commands, told, strict=True):
            self.restarts += isinstance(command, c.Recovered)
            if not isinstance(command, ENDOGENOUS):
                self.commands.append(Dated(core.now_ns, command))
            for event in events:
                match event:
                    case InstrumentAdded():
                        self.tally.name(event.instrument_id, event.name)
                    case WorkerRegistered():
                        self.workers[event.worker_id] = (event.account_id, event.name)
                    case JobQueued():
                        self.jobs[event.job_id] = (event.account_id, event.client_job_id)
                    case ReceiptSettled() if isinstance(command, c.SettleLease):
                        self._work(core, command, event)
            self.tally.see(core.now_ns, command, events)

    def _work(self, core: Exchange, receipt: c.SettleLease, event: ReceiptSettled) -> None:
        """Keep what a receipt tells of a job that was answered."""
        key = self.jobs[event.job_id]
        if event.cause not in ANSWERED or key in self.done:
            return
        offered, offered_ns = self.tally.offer(event.lease_id)
        job = core.jobs[event.job_id]
        work = job.work
        assert work is not None, "a lease is for no leg"
        trace = decode_trace(receipt.trace)
        tokens_max = job.terms.output_tokens_max
        promised_ns = core.instruments[offered.instrument_id].run_time_ns(
            work.input_tokens, tokens_max
        )
        self.done[key] = Done(
            work.model_id,
            receipt.trace,
            trace.tokens_given,
            receipt.tokens_received,
            event.cause,
            trace.tokens_given / tokens_max,
            (core.now_ns - offered_ns) / promised_ns,
        )
