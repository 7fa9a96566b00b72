"""A recorded market once more, under other rules: what would have become of the same demand?

The demand, the fleets and the operator's decisions are the record's (`sim.recording`), the engine
is the live one, and the workers are played: each takes what it is offered at once, needs as long as
the recorded lease did (beside what its class promises), and sends the recorded trace. A job that
was never answered in the record gets its model's typical work.

So a setting is judged by two plays, one with it and one without: the same stand-ins, one
difference. How far the play without it is from the record says what the stand-ins are worth.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

from exchange.core import commands as c
from exchange.core.events import (
    AnyEvent,
    InstrumentAdded,
    JobCancelling,
    JobQueued,
    LeaseOffered,
    ReceiptRefused,
    Refused,
)
from exchange.core.exchange import Exchange
from sim.collecting import collecting_paused
from sim.recording import Recording
from sim.script import Script
from sim.settings import SettingError, Settings
from sim.stand_ins import StandIns, Work, receipt, stopped
from sim.tally import Tally


class Running(NamedTuple):
    """A lease that a played worker holds."""

    offered: LeaseOffered
    work: Work
    began_ns: int


class Played(NamedTuple):
    """What a play came to.

    Attributes:
        summary: See `Tally.summary`.
        unplayable: Jobs that were left out: nothing is known of the work of their model.
        guessed: Leases whose work was their model's typical one.
        digest: Of the engine's state at the end.
        events: That the engine gave.
    """

    summary: dict[str, Any]
    unplayable: int
    guessed: int
    digest: str
    events: int


def play(recording: Recording, settings: Settings) -> Played:
    """Let the live engine trade the recorded demand.

    Raises:
        SettingError: the recorded market cannot be had with these settings.
    """
    with collecting_paused():
        return _Play(recording, settings).run()


class _Play:
    def __init__(self, recording: Recording, settings: Settings) -> None:
        self._core = Exchange(settings.rules)
        self._tally = Tally()
        self._script = Script(recording, settings)
        self._stand_ins = StandIns(recording)
        self._recorded = recording.commands
        self._next = 0  # of them
        self._running: dict[int, Running] = {}  # by lease
        self._due: list[tuple[int, int]] = []  # (when, lease): its receipt
        self._unplayable = self._guessed = self._events = 0

    def run(self) -> Played:
        while (now_ns := self._next_ns()) is not None:
            self._apply(c.Advance(now_ns))
            while self._due and self._due[0][0] <= now_ns:
                self._finish(heapq.heappop(self._due)[1])
            while self._next < len(self._recorded):
                at_ns, command = self._recorded[self._next]
                if at_ns > now_ns:
                    break
                self._next += 1
                self._give(command)
        self._core.check()
        digest = self._core.digest().hex()
        summary = self._tally.summary()
        return Played(summary, self._unplayable, self._guessed, digest, self._events)

    def _next_ns(self) -> int | None:
        """When something happens next; None once the record is over and every job has ended."""
        coming = self._next < len(self._recorded)
        if not (coming or self._due or self._tally.open_jobs):
            return None
        times = [self._core.next_timer_ns()]
        if coming:
            times.append(self._recorded[self._next].now_ns)
        if self._due:
            times.append(self._due[0][0])
        # Journal time never falls, but a lease may end at once.
        return max(self._core.now_ns, min(t for t in times if t is not None))

    def _give(self, recorded: c.Command) -> None:
        """A command of the record, as this market is given it."""
        if isinstance(recorded, c.SubmitJob) and not self._stand_ins.knows(self._core, recorded):
            self._unplayable += 1
            return
        for command in self._script.commands(self._core, recorded):
            events = self._apply(command)
            if (
                isinstance(command, c.AddInstrument | c.RegisterWorker)
                and command != recorded
                and isinstance(events[0], Refused)
            ):
                raise SettingError(f"the engine refuses {command.name}: {events[0].reason.name}")

    def _apply(self, command: c.Command) -> list[AnyEvent]:
        """One command; the workers answer to what it offers them, and stop what it cancels."""
        (events,) = list(self._core.apply([command]))
        now_ns = self._core.now_ns
        self._events += len(events)
        for event in events:
            if isinstance(event, InstrumentAdded):
                self._tally.name(event.instrument_id, event.name)
            elif isinstance(event, JobQueued):
                self._script.jobs[event.account_id, event.client_job_id] = event.job_id
        self._tally.see(now_ns, command, events)
        for event in events:
            if isinstance(event, LeaseOffered):
                self._take(event)
            elif isinstance(event, JobCancelling):
                held = self._running[event.lease_id]
                work = stopped(held.work, now_ns - held.began_ns, c.StopCause.CANCELLED)
                self._hold(held._replace(work=work))
        return events

    def _take(self, offered: LeaseOffered) -> None:
        """A worker takes a lease and begins."""
        fence = offered.fence_epoch, offered.fence_sequence
        for answer in (c.AcceptLease, c.StartLease):
            self._apply(answer(offered.worker_id, offered.lease_id, *fence))
        work = self._stand_ins.work(self._core, offered)
        self._guessed += work.guessed
        if work.takes_ns > offered.stop_within_ns or work.cause == c.StopCause.TIME:
            work = stopped(work, offered.stop_within_ns, c.StopCause.TIME)
        self._hold(Running(offered, work, self._core.now_ns))

    def _hold(self, running: Running) -> None:
        lease_id = running.offered.lease_id
        self._running[lease_id] = running
        heapq.heappush(self._due, (running.began_ns + running.work.takes_ns, lease_id))

    def _finish(self, lease_id: int) -> None:
        """A worker's receipt, unless the lease has ended without it, or the work was stopped."""
        running = self._running.pop(lease_id, None)
        lease = self._core.leases.get(lease_id)
        if running is None or lease is None or not lease.is_open:
            return
        events = self._apply(receipt(self._core, running.offered, running.work))
        assert not isinstance(events[0], ReceiptRefused | Refused), f"a played receipt: {events[0]}"
