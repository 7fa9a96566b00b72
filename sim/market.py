"""A demand through the engine that runs live: `exchange.core`, in virtual time.

Nothing of the market is modelled here. The driver gives commands and time, as the live exchange
does, and plays the workers: each takes what it is offered at once, computes for as long as its
class promises, and sends a true receipt; unless the conduct says otherwise (`sim.agents`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Final, NamedTuple

from exchange.core import commands as c
from exchange.core.accounts import EXTERNAL
from exchange.core.events import (
    Cleared,
    JobEnded,
    JobQueued,
    JobState,
    LeaseEnded,
    LeaseOffered,
    Refused,
)
from exchange.core.exchange import Exchange
from exchange.core.limits import (
    BALANCE_MAX_NANOS,
    FLOPS_PER_MFLOP,
    JOB_QUANTITY_MAX_MFLOP,
    NS_PER_MS,
    NS_PER_S,
    OUTPUT_TOKENS_MAX,
    PRICE_MAX_NANOS,
    QUOTE_TTL_MAX_NS,
)
from exchange.core.reasons import Reason
from exchange.core.rules import LIVE_RULES, Rules
from exchange.metering.cards import ModelCard
from exchange.metering.traces import DenseTrace, flops
from sim.agents.cast import cast
from sim.agents.conduct import Claim, Conduct, Ending
from sim.collecting import collecting_paused
from sim.demand import Demand, Job
from sim.outcome import Outcome
from sim.scenario import FLOPS_PER_TOKEN, HardwareClass, Scenario
from sim.supply import Change
from worker.quoting import Inventory, QuotePolicy, Static

BEGIN_NS: Final = 1_780_000_000 * NS_PER_S
"""When every simulated market begins, nanoseconds since the epoch."""
CARD: Final = ModelCard(name="simulated", family="instant", flops_per_token=FLOPS_PER_TOKEN)
CARD_DIGEST: Final = CARD.digest()
TIER: Final = "simulated"
CREDIT_NANOS: Final = 10**17
"""Of each account, where the exchange can hold so much: no buyer runs out of money."""
MILLI: Final = 1_000
_ZERO: Final = bytes(32)
_HEARD: Final = frozenset({Cleared, JobEnded, JobQueued, LeaseEnded, LeaseOffered, Refused})
CLAIMED_TOO_MUCH: Final = 1.5
"""FLOPs that a lying receipt states, over those of its own trace."""


class _Running(NamedTuple):
    """A lease at work: what will be computed of it, and between when and when."""

    offer: LeaseOffered
    input_tokens: int
    output_tokens: int
    begin_ns: int
    end_ns: int
    slowness: float = 1.0
    claim: Claim = Claim.TRUE
    cancels_ns: int = 0

    def done_tokens(self, now_ns: int) -> int:
        """Computed by now, rounded up: a token that was begun is made."""
        whole_ns = self.end_ns - self.begin_ns
        tokens = self.input_tokens + self.output_tokens
        return -(-tokens * min(now_ns - self.begin_ns, whole_ns) // whole_ns)


def run_market(
    demand: Demand,
    scenario: Scenario,
    conduct: Conduct | None = None,
    rules: Rules = LIVE_RULES,
    changes: Sequence[Change] = (),
) -> Outcome:
    """Let the live engine trade the jobs.

    Args:
        demand: The jobs.
        scenario: Its fleet and how it asks.
        conduct: What buyers say and workers do; where it is not given, that of the scenario's
            agents, and honest without any.
        rules: Of clearing; the live ones where not given.
        changes: Losses and returns of workers, in the order of their times.

    Returns:
        Which class served each job and when it was done, what was paid, and the digest of the
        engine's state at the end.
    """
    with collecting_paused():
        return _Market(demand, scenario, conduct or cast(demand, scenario), rules, changes).run()


class _Market:
    def __init__(
        self,
        demand: Demand,
        scenario: Scenario,
        conduct: Conduct,
        rules: Rules,
        changes: Sequence[Change],
    ) -> None:
        self._demand, self._scenario, self._conduct = demand, scenario, conduct
        self._core = Exchange(rules)
        self._arriving = 0  # the next of the demand's jobs
        self._changes = changes
        self._changing = 0  # the next of them
        self._comings: list[tuple[c.RegisterWorker, c.SetQuote]] = []  # by worker
        self._quotes: dict[int, c.SetQuote] = {}  # by worker's id
        self._last_ns = BEGIN_NS + max(job.deadline_ns for job in demand.jobs)
        self._at_work: dict[int, _Running] = {}  # by lease
        self._ends: list[tuple[int, int, int]] = []  # (end, entry, lease); of those too that moved
        self._entered = 0
        self._told: dict[int, Job] = {}  # by number, as their buyers tell them
        self._jobs: dict[int, Job] = {}  # the same by the exchange's id
        self._outcome = Outcome.empty("market", len(demand.jobs))
        self._class_of: dict[int, int] = {}  # instrument -> index of the class
        self._events = 0

    def run(self) -> Outcome:
        self._open()
        jobs = self._demand.jobs
        while True:
            now_ns = min(self._core.next_timer_ns() or self._last_ns + 1, self._last_ns + 1)
            if self._arriving < len(jobs):
                now_ns = min(now_ns, BEGIN_NS + jobs[self._arriving].arrival_ns)
            if self._changing < len(self._changes):
                now_ns = min(now_ns, BEGIN_NS + self._changes[self._changing].at_ns)
            if self._ends:
                now_ns = min(now_ns, self._ends[0][0])
            elif now_ns > self._last_ns:
                break
            self._turn(now_ns)
        outcome = self._outcome
        digest = hashlib.sha256(self._core.digest())
        digest.update(repr((outcome.served_by, outcome.done_ns, outcome.paid_nanos)).encode())
        outcome.digest = digest.hexdigest()
        outcome.events = self._events
        self._core.check()
        assert not self._core.imbalance_nanos(), "the ledger does not add up"
        assert not self._core.overspend_nanos(), "a job cost more than it may"
        return outcome

    def _open(self) -> None:
        """The operator's commands, and the workers' registrations and standing quotes."""
        count = self._scenario.accounts
        credit_nanos = min(CREDIT_NANOS, BALANCE_MAX_NANOS // count)
        accounts = [c.OpenAccount(c.AccountKind.REAL, f"buyer-{i}") for i in range(count)]
        # Account ids are given in order, behind those that stand for the world outside.
        self._first_account = max(EXTERNAL) + 1
        self._seller = self._first_account + count
        self._apply(BEGIN_NS, [
            *accounts,
            c.OpenAccount(c.AccountKind.REAL, "seller"),
            *(
                c.Deposit(
                    self._first_account + i,
                    _id16(BEGIN_NS, i),
                    min(self._conduct.credit_nanos(i) or credit_nanos, credit_nanos),
                )
                for i in range(count)
            ),
            c.AddModel(CARD.encode()),
            *map(self._instrument, self._scenario.classes),
        ])  # fmt: skip
        for index, (instrument_id, kind) in enumerate(
            zip(sorted(self._core.instruments), self._scenario.classes, strict=True)
        ):
            self._class_of[instrument_id] = index
            policy = policy_of(kind, self._scenario, self._demand.unit_price_nanos)
            prices = policy.prices_nanos(kind.slots)
            for number in range(kind.workers):
                name = f"{kind.name}-{number}"
                key = hashlib.sha256(name.encode()).digest()
                register = c.RegisterWorker(self._seller, 0, key, name, (kind.slots,), b"{}")
                worker_id = len(self._comings) + 1
                quote = c.SetQuote(worker_id, instrument_id, 0, QUOTE_TTL_MAX_NS, prices)
                self._comings.append((register, quote))
                self._quotes[worker_id] = quote
                self._apply(BEGIN_NS, [register, quote])

    def _instrument(self, kind: HardwareClass) -> c.AddInstrument:
        rate = max(1, round(self._demand.millitokens_per_s * kind.speed))
        return c.AddInstrument(
            settlement=c.Settlement.LEASE,
            mode=c.ClearingMode.BATCH,
            model_id=1,
            tick_nanos=1,
            lot_mflop=1,
            price_min_nanos=1,
            price_max_nanos=PRICE_MAX_NANOS,
            quantity_max_mflop=JOB_QUANTITY_MAX_MFLOP,
            prefill_millitokens_per_s=rate,
            decode_millitokens_per_s=rate,
            context_tokens_max=OUTPUT_TOKENS_MAX,
            latest_start_ns=NS_PER_S,
            name=f"{CARD.name}/{kind.name}/{TIER}",
        )

    def _turn(self, now_ns: int) -> None:
        """All that is due now, then what the workers answer to it."""
        commands = self._changed(now_ns - BEGIN_NS)
        jobs, arrived_ns = self._demand.jobs, now_ns - BEGIN_NS
        while self._arriving < len(jobs) and jobs[self._arriving].arrival_ns <= arrived_ns:
            told = self._conduct.told(jobs[self._arriving], arrived_ns)
            self._arriving += 1
            if told is not None:
                self._told[told.number] = told
                # A buyer may tell a later deadline than its job has.
                self._last_ns = max(self._last_ns, BEGIN_NS + told.deadline_ns)
                commands.append(self._submit(told))
        if self._conduct.revises and commands:
            for running in list(self._at_work.values()):
                self._revise(running, now_ns)
        commands += self._finished(now_ns)
        offers = self._apply(now_ns, commands)
        while offers:
            answers: list[c.Command] = []
            for offer in offers:
                answers += self._answer(offer, now_ns)
            offers = self._apply(now_ns, answers)

    def _answer(self, offer: LeaseOffered, now_ns: int) -> list[c.Command]:
        """What the worker says to a lease."""
        lease = offer.worker_id, offer.lease_id, offer.fence_epoch, offer.fence_sequence
        told = self._jobs[offer.job_id]
        deed = self._conduct.deed(offer.worker_id - 1, told)
        if not deed.takes:
            decline = c.DeclineLease(*lease, Reason.WORKER_DECLINED)
            return [decline, self._quotes[offer.worker_id]]
        if deed.delivers:
            tokens = self._conduct.computed(told, now_ns - BEGIN_NS)
            running = self._planned(_Running(offer, *tokens, now_ns, 0, deed.slowness, deed.claim))
            ends = now_ns - BEGIN_NS, running.end_ns - BEGIN_NS
            cancels_ns = self._conduct.cancels_ns(told, *ends)
            if cancels_ns is not None:
                running = running._replace(cancels_ns=BEGIN_NS + cancels_ns)
            self._keep(running)
        return [c.AcceptLease(*lease), c.StartLease(*lease)]

    def _planned(self, running: _Running) -> _Running:
        """With the end that follows from its tokens."""
        instrument = self._core.instruments[running.offer.instrument_id]
        takes_ns = instrument.run_time_ns(running.input_tokens, running.output_tokens)
        if running.slowness != 1:
            takes_ns = round(takes_ns * running.slowness)
        return running._replace(end_ns=running.begin_ns + takes_ns)

    def _keep(self, running: _Running) -> None:
        """The lease is at work until then; what was planned of it before is void."""
        self._entered += 1
        self._at_work[running.offer.lease_id] = running
        at_ns = running.cancels_ns or running.end_ns
        heapq.heappush(self._ends, (at_ns, self._entered, running.offer.lease_id))

    def _revise(self, running: _Running, now_ns: int) -> _Running:
        """Ask whether so much is still to be computed."""
        told = self._jobs[running.offer.job_id]
        done = running.done_tokens(now_ns)
        tokens = self._conduct.revised(told, done, now_ns - BEGIN_NS)
        if tokens is None or tokens == (running.input_tokens, running.output_tokens):
            return running
        running = running._replace(input_tokens=tokens[0], output_tokens=tokens[1])
        running = self._planned(running)
        self._keep(running)
        return running

    def _finished(self, now_ns: int) -> list[c.Command]:
        """Receipts of the work that ends now, and cancellations of work that its buyer stops."""
        commands: list[c.Command] = []
        while self._ends and self._ends[0][0] <= now_ns:
            at_ns, _, lease_id = heapq.heappop(self._ends)
            running = self._at_work.get(lease_id)
            if running is None or at_ns not in (running.end_ns, running.cancels_ns):
                continue  # it was to end then, and does not
            lease = self._core.leases[lease_id]
            if not lease.is_open:  # it was lost
                del self._at_work[lease_id]
            elif at_ns == running.cancels_ns:
                del self._at_work[lease_id]
                done = running.done_tokens(now_ns)
                cut = running._replace(
                    input_tokens=min(done, running.input_tokens),
                    output_tokens=max(done - running.input_tokens, 1),
                )
                commands.append(c.CancelJob(lease.account_id, lease.job_id))
                commands.append(_receipt(cut, self._jobs[lease.job_id], c.StopCause.CANCELLED))
            elif not self._conduct.revises or self._revise(running, now_ns).end_ns <= now_ns:
                done_now = self._at_work.pop(lease_id)
                commands.append(_receipt(done_now, self._jobs[lease.job_id]))
        return commands

    def _changed(self, now_ns: int) -> list[c.Command]:
        """The losses and returns of workers that are due."""
        commands: list[c.Command] = []
        while self._changing < len(self._changes):
            at_ns, worker, present = self._changes[self._changing]
            if at_ns > now_ns:
                break
            self._changing += 1
            commands += self._comings[worker] if present else [c.WorkerLost(worker + 1)]
        return commands

    def _apply(self, now_ns: int, commands: list[c.Command]) -> list[LeaseOffered]:
        """One commit group; returns the leases that were offered in it."""
        group = [c.Advance(now_ns), *commands]
        offers: list[LeaseOffered] = []
        for command, events in zip(group, self._core.apply(group), strict=True):
            self._events += len(events)
            for event in events:
                if type(event) not in _HEARD:
                    continue  # most are
                if isinstance(event, LeaseOffered):
                    offers.append(event)
                elif isinstance(event, JobEnded):
                    self._ended(event, now_ns)
                elif isinstance(event, JobQueued) and isinstance(command, c.SubmitJob):
                    told = self._told.pop(_number(command.client_job_id))
                    self._jobs[event.job_id] = told
                elif isinstance(event, Cleared):
                    self._conduct.cleared(
                        self._class_of[event.instrument_id], event.price_nanos, now_ns - BEGIN_NS
                    )
                elif isinstance(event, LeaseEnded):
                    if event.reason:
                        self._outcome.faults[event.reason.name] += 1
                elif isinstance(event, Refused):
                    assert isinstance(command, c.SubmitJob), f"{command} was refused: {event}"
                    told = self._told.pop(_number(command.client_job_id))
                    self._outcome.faults[event.reason.name] += 1
                    self._conduct.ended(told, Ending(0, 0, answered=False), now_ns - BEGIN_NS)
        return offers

    def _ended(self, event: JobEnded, now_ns: int) -> None:
        job, settled = self._jobs.pop(event.job_id), self._core.jobs[event.job_id]
        answered = event.state == JobState.SETTLED
        self._conduct.ended(job, Ending(event.flops, event.paid_nanos, answered), now_ns - BEGIN_NS)
        self._outcome.paid_nanos[job.number] = event.paid_nanos
        if not answered:
            return
        lease = self._core.leases[settled.lease_id]
        self._outcome.serve(
            job.number, self._class_of[lease.instrument_id], now_ns - BEGIN_NS, settled.paid_nanos
        )

    def _submit(self, job: Job) -> c.SubmitJob:
        total = flops(CARD, DenseTrace(job.input_tokens, job.output_tokens - 1))
        return c.SubmitJob(
            account_id=self._first_account + job.account,
            client_job_id=_id16(BEGIN_NS + job.arrival_ns, job.number),
            model_id=1,
            instrument_id=0,
            quantity_mflop=-(-total // FLOPS_PER_MFLOP),
            value_nanos=job.value_nanos,
            limit_nanos=0,
            max_cost_nanos=0,
            deadline_within_ns=max(job.deadline_ns - job.arrival_ns, 1),
            payload_digest=_ZERO,
            payload_bytes=1,
            input_tokens=job.input_tokens,
            input_tokens_max=job.input_tokens,
            output_tokens_max=job.output_tokens,
            tier=TIER,
        )


def _receipt(
    running: _Running, told: Job, cause: c.StopCause = c.StopCause.FINISHED
) -> c.SettleLease:
    """What the worker says that it did, and what the gateway saw of it."""
    offer, claim = running.offer, running.claim
    tokens = running.input_tokens, running.output_tokens
    received = running.output_tokens
    if claim in (Claim.TRACE, Claim.FILLER):
        tokens = told.input_tokens, told.output_tokens
        received = told.output_tokens if claim == Claim.FILLER else received
    trace = DenseTrace(tokens[0], tokens[1] - 1)
    counted = flops(CARD, trace)
    return c.SettleLease(
        worker_id=offer.worker_id,
        lease_id=offer.lease_id,
        fence_epoch=offer.fence_epoch,
        fence_sequence=offer.fence_sequence,
        cause=cause,
        signature_valid=1,
        flops=round(counted * CLAIMED_TOO_MUCH) if claim == Claim.FLOPS else counted,
        tokens_received=received,
        model_digest=CARD_DIGEST,
        input_digest=_ZERO,
        output_digest=_ZERO,
        output_digest_received=_ZERO,
        receipt_digest=hashlib.sha256(offer.lease_id.to_bytes(8, "big")).digest(),
        trace=trace.encode(),
    )


def policy_of(kind: HardwareClass, scenario: Scenario, unit_price_nanos: float) -> QuotePolicy:
    """What a worker of this kind asks: the live policies, in nano-dollars per CU."""
    cost_nanos = max(1, round(kind.cost * unit_price_nanos))
    if not scenario.ask_exponent:
        return Static((cost_nanos,))
    ceiling_nanos = min(PRICE_MAX_NANOS, round(scenario.ask_ceiling * unit_price_nanos))
    return Inventory(cost_nanos, ceiling_nanos, round(scenario.ask_exponent * MILLI))


def _id16(now_ns: int, number: int) -> bytes:
    """A UUIDv7 that holds a number."""
    word = (now_ns // NS_PER_MS) << 80 | 7 << 76 | 2 << 62 | number
    return word.to_bytes(16, "big")


def _number(client_id: bytes) -> int:
    return int.from_bytes(client_id[8:], "big") & ((1 << 62) - 1)
