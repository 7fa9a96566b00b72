"""Recorded markets for the tests: one that was simulated, and one written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.core import commands as c
from exchange.core.events import AnyEvent, LeaseOffered
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.metering.cards import INSTANT
from exchange.metering.traces import DenseTrace, flops
from sim.market import run_market
from sim.recording import Recording
from tests.sim.demands import SMALL, small_demand

BEGIN_NS = 1_780_000_000 * NS_PER_S
BUYER, SELLER = 3, 4


class Recorder:
    """A core that keeps its commands, and what a recording sees of them."""

    def __init__(self) -> None:
        self.core = Exchange()
        self.recording = Recording()
        self.groups: list[list[c.Command]] = []

    def apply(self, commands: Sequence[c.Command]) -> list[list[AnyEvent]]:
        told = list(self.core.apply(commands))
        self.groups.append(list(commands))
        self.recording.see(self.core, commands, told)
        return told


class Seen:
    """A market's commands, group by group: each begins with the time."""

    def __init__(self) -> None:
        self.groups: list[list[c.Command]] = []

    def see(self, now_ns: int, command: c.Command, events: Sequence[AnyEvent]) -> None:
        if isinstance(command, c.Advance):
            self.groups.append([])
        self.groups[-1].append(command)


def simulated_record() -> Recorder:
    """The record of a simulated market, whose workers do what played ones do."""
    seen = Seen()
    run_market(small_demand(), SMALL, observer=seen)
    recorder = Recorder()
    for group in seen.groups:
        recorder.apply(group)
    return recorder


class Hand:
    """A market of two tiers and one worker of two slots, moved step by step by a test."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.now_ns = BEGIN_NS
        self.offers: list[LeaseOffered] = []
        self.jobs = 0
        self.give(
            c.OpenAccount(c.AccountKind.REAL, "buyer"),
            c.OpenAccount(c.AccountKind.REAL, "seller"),
            c.Deposit(BUYER, self.id16(1 << 20), 10**12),
            c.AddModel(INSTANT.encode()),
            *(self._instrument(tier) for tier in ("interactive", "batch")),
            c.RegisterWorker(SELLER, 0, b"k" * 32, "one", (2,), b"{}"),
            *(c.SetQuote(1, i, 0, 3_600 * NS_PER_S, (1_003_000, 2_007_000)) for i in (1, 2)),
        )

    def _instrument(self, tier: str) -> c.AddInstrument:
        return c.AddInstrument(
            settlement=c.Settlement.LEASE,
            mode=c.ClearingMode.BATCH,
            model_id=1,
            tick_nanos=1,
            lot_mflop=1,
            price_min_nanos=1,
            price_max_nanos=10**8,
            quantity_max_mflop=10**6,
            prefill_millitokens_per_s=100_000,
            decode_millitokens_per_s=10_000,
            context_tokens_max=4_096,
            latest_start_ns=NS_PER_S,
            name=f"instant/cpu/{tier}",
        )

    def id16(self, number: int) -> bytes:
        """A UUIDv7 of now that holds a number."""
        word = (self.now_ns // NS_PER_MS) << 80 | 7 << 76 | 2 << 62 | number
        return word.to_bytes(16, "big")

    def give(self, *commands: c.Command, after_ms: int = 0) -> list[list[AnyEvent]]:
        """One commit group, so many milliseconds later."""
        self.now_ns += after_ms * NS_PER_MS
        told = self.recorder.apply([c.Advance(self.now_ns), *commands])
        self.offers += [e for events in told for e in events if isinstance(e, LeaseOffered)]
        return told

    def job(self, *, value: int = 10**6, tier: str = "interactive", seconds: int = 60) -> int:
        """A job of 100 tokens in and up to 50 out: 6 s by the class's promise."""
        self.jobs += 1
        self.give(
            c.SubmitJob(
                account_id=BUYER,
                client_job_id=self.id16(self.jobs),
                model_id=1,
                instrument_id=0,
                quantity_mflop=200,
                value_nanos=value,
                limit_nanos=0,
                max_cost_nanos=0,
                deadline_within_ns=seconds * NS_PER_S,
                payload_digest=b"p" * 32,
                payload_bytes=300,
                input_tokens=100,
                input_tokens_max=300,
                output_tokens_max=50,
                tier=tier,
            ),
            after_ms=1,
        )
        self.give(after_ms=10)
        return self.jobs

    def start(self) -> LeaseOffered:
        """The worker takes the oldest lease that it was offered."""
        offer = self.offers.pop(0)
        fence = offer.fence_epoch, offer.fence_sequence
        self.give(
            c.AcceptLease(offer.worker_id, offer.lease_id, *fence),
            c.StartLease(offer.worker_id, offer.lease_id, *fence),
            after_ms=1,
        )
        return offer

    def settle(self, offer: LeaseOffered, tokens: int, after_ms: int) -> None:
        """The worker's receipt, later."""
        trace = DenseTrace(100, tokens - 1)
        self.give(
            c.SettleLease(
                worker_id=offer.worker_id,
                lease_id=offer.lease_id,
                fence_epoch=offer.fence_epoch,
                fence_sequence=offer.fence_sequence,
                cause=c.StopCause.FINISHED,
                signature_valid=1,
                flops=flops(INSTANT, trace),
                tokens_received=tokens,
                model_digest=INSTANT.digest(),
                input_digest=b"p" * 32,
                output_digest=bytes(32),
                output_digest_received=bytes(32),
                receipt_digest=b"r" * 32,
                trace=trace.encode(),
            ),
            after_ms=after_ms,
        )
