"""How much longer leases took than their class promises, from the journal of a live run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from exchange.core.commands import Command
from exchange.core.events import AnyEvent, LeaseAccepted, LeaseOffered, ReceiptSettled
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_MS
from sim.tally import ANSWERED


class Overhead:
    """Watches a replay: see `flopex.replay.Watcher`."""

    def __init__(self) -> None:
        self._offered: dict[int, tuple[int, LeaseOffered]] = {}
        self._accepts_ns: list[int] = []
        self._beyond_ns: list[int] = []

    def see(
        self, core: Exchange, commands: Sequence[Command], told: Iterable[list[AnyEvent]]
    ) -> None:
        """One commit group and its events."""
        del commands
        for events in told:
            for event in events:
                match event:
                    case LeaseOffered():
                        self._offered[event.lease_id] = core.now_ns, event
                    case LeaseAccepted():
                        self._accepts_ns.append(core.now_ns - self._offered[event.lease_id][0])
                    case ReceiptSettled() if event.cause in ANSWERED:
                        self._beyond_ns.append(self._beyond(core, event))

    def _beyond(self, core: Exchange, event: ReceiptSettled) -> int:
        """Time from offer to receipt, less the promised run time."""
        offered_ns, offered = self._offered[event.lease_id]
        job = core.jobs[event.job_id]
        assert job.work is not None, "a lease is for no leg"
        promised_ns = core.instruments[offered.instrument_id].run_time_ns(
            job.work.input_tokens, job.terms.output_tokens_max
        )
        return core.now_ns - offered_ns - promised_ns

    def summary(self) -> dict[str, float]:
        """Milliseconds from offer to acceptance, and of a lease beyond its promise."""
        return {
            "accept_p50_ms": _percentile_ms(self._accepts_ns, 50),
            "accept_p95_ms": _percentile_ms(self._accepts_ns, 95),
            "beyond_promise_p50_ms": _percentile_ms(self._beyond_ns, 50),
            "beyond_promise_p95_ms": _percentile_ms(self._beyond_ns, 95),
        }


def _percentile_ms(times_ns: list[int], percent: int) -> float:
    if len(times_ns) < 2:
        return 0.0
    return round(statistics.quantiles(times_ns, n=100)[percent - 1] / NS_PER_MS, 1)
