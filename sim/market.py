"""A demand through the engine that runs live: `exchange.core`, in virtual time.

Nothing of the market is modelled here. The driver gives commands and time, as the live exchange
does, and plays the workers (`sim.workers`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

from exchange.core import commands as c
from exchange.core.accounts import EXTERNAL
from exchange.core.events import (
    AnyEvent,
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
    SETTLE_AFTER_STOP_NS,
)
from exchange.core.rules import LIVE_RULES, Rules
from exchange.metering.traces import DenseTrace, flops
from sim.agents.cast import cast
from sim.agents.conduct import Conduct, Ending
from sim.collecting import collecting_paused
from sim.demand import Demand, Job
from sim.outcome import Outcome
from sim.scenario import HardwareClass, Scenario
from sim.supply import Change, changes_of, cost_factors
from sim.workers import CARD, Workers
from worker.quoting import Inventory, QuotePolicy, Static

BEGIN_NS: Final = 1_780_000_000 * NS_PER_S
"""When every simulated market begins, nanoseconds since the epoch."""
TIER: Final = "simulated"
CREDIT_NANOS: Final = 10**17
"""Of each account, where the exchange can hold so much: no buyer runs out of money."""
MILLI: Final = 1_000
_ZERO: Final = bytes(32)
_HEARD: Final = frozenset({Cleared, JobEnded, JobQueued, LeaseEnded, Refused})


class Observer(Protocol):
    """Sees all that the engine is told and tells."""

    def see(self, now_ns: int, command: c.Command, events: Sequence[AnyEvent]) -> None:
        """One command, in its order, and its events; time counts from the epoch."""
        ...


def run_market(
    demand: Demand,
    scenario: Scenario,
    conduct: Conduct | None = None,
    rules: Rules = LIVE_RULES,
    changes: Sequence[Change] | None = None,
    *,
    standing: bool = True,
    observer: Observer | None = None,
) -> Outcome:
    """Let the live engine trade the jobs.

    Args:
        demand: The jobs.
        scenario: Its fleet and how it asks.
        conduct: What buyers say and workers do; where it is not given, that of the scenario's
            agents, and honest without any.
        rules: Of clearing; the live ones where not given.
        changes: Losses and returns of workers, in the order of their times; those of the scenario
            where not given.
        standing: Whether a quote states an ask for every slot, as live workers' do; or else one ask
            for all slots, sent anew when a lease begins or ends.
        observer: Sees all commands and events.

    Returns:
        Which class served each job and when it was done, what was paid, and the digest of the
        engine's state at the end.
    """
    with collecting_paused():
        if changes is None:
            changes = changes_of(scenario, demand.window_starts_ns[-1] / NS_PER_S)
        conduct = conduct or cast(demand, scenario)
        market = _Market(demand, scenario, conduct, rules, changes, observer)
        market.workers.standing = standing
        return market.run()


class _Market:
    def __init__(
        self,
        demand: Demand,
        scenario: Scenario,
        conduct: Conduct,
        rules: Rules,
        changes: Sequence[Change],
        observer: Observer | None,
    ) -> None:
        self._demand, self._scenario, self._conduct = demand, scenario, conduct
        self._core = Exchange(rules)
        self._arriving = 0  # the next of the demand's jobs
        self._observer = observer
        # A lease of a worker that is lost or cheats may last so long beyond its job's deadline.
        self._grace_ns = SETTLE_AFTER_STOP_NS if changes or scenario.agents else 0
        self._last_ns = BEGIN_NS + max(j.deadline_ns for j in demand.jobs) + self._grace_ns
        self._told: dict[int, Job] = {}  # by number, as their buyers tell them
        self._jobs: dict[int, Job] = {}  # the same by the exchange's id
        self._outcome = Outcome.empty("market", len(demand.jobs))
        self._class_of: dict[int, int] = {}  # instrument -> index of the class
        self._events = 0
        self.workers = Workers(self._core, conduct, self._jobs, self._class_of, BEGIN_NS)
        losses = scenario.losses
        self.workers.changes = changes
        self.workers.found_after_ns = round(losses.found_after_s * NS_PER_S) if losses else 0
        factors = cost_factors(scenario, demand.window_starts_ns[-1] / NS_PER_S)
        self.workers.asks = [(at_ns, self._asks(factor)) for at_ns, factor in factors]

    def run(self) -> Outcome:
        self._open()
        jobs = self._demand.jobs
        while True:
            now_ns = min(self._core.next_timer_ns() or self._last_ns + 1, self._last_ns + 1)
            if self._arriving < len(jobs):
                now_ns = min(now_ns, BEGIN_NS + jobs[self._arriving].arrival_ns)
            now_ns = min(now_ns, self.workers.next_ns() or now_ns)
            if now_ns > self._last_ns and not self.workers.busy:
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
        # An exchange refers to itself, so it goes only once the collector has walked over it all.
        # What there are millions of goes now.
        self._core.jobs.clear()
        self._core.leases.clear()
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
        workers = 0
        _, asks = self.workers.asks[0]
        for index, (instrument_id, kind, prices) in enumerate(
            zip(sorted(self._core.instruments), self._scenario.classes, asks, strict=True)
        ):
            self._class_of[instrument_id] = index
            for number in range(kind.workers):
                name = f"{kind.name}-{number}"
                key = hashlib.sha256(name.encode()).digest()
                register = c.RegisterWorker(self._seller, 0, key, name, (kind.slots,), b"{}")
                workers += 1
                quote = c.SetQuote(workers, instrument_id, 0, QUOTE_TTL_MAX_NS, prices)
                self._apply(BEGIN_NS, self.workers.join(register, quote))

    def _asks(self, factor: float) -> list[tuple[int, ...]]:
        """What a worker of each class asks where work costs so many times the class's cost."""
        unit_nanos = self._demand.unit_price_nanos
        return [
            policy_of(kind, self._scenario, unit_nanos, factor).prices_nanos(kind.slots)
            for kind in self._scenario.classes
        ]

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
        commands = self.workers.changed(now_ns)
        jobs, arrived_ns = self._demand.jobs, now_ns - BEGIN_NS
        while self._arriving < len(jobs) and jobs[self._arriving].arrival_ns <= arrived_ns:
            told = self._conduct.told(jobs[self._arriving], arrived_ns)
            self._arriving += 1
            if told is not None:
                self._told[told.number] = told
                # A buyer may tell a later deadline than its job has.
                last_ns = BEGIN_NS + told.deadline_ns + self._grace_ns
                self._last_ns = max(self._last_ns, last_ns)
                commands.append(self._submit(told))
        if self._conduct.revises and commands:
            self.workers.revised(now_ns)
        commands += self.workers.finished(now_ns)
        offers = self._apply(now_ns, commands)
        while offers:
            answers = [answer for offer in offers for answer in self.workers.answer(offer, now_ns)]
            offers = self._apply(now_ns, answers)

    def _apply(self, now_ns: int, commands: list[c.Command]) -> list[LeaseOffered]:
        """One commit group; returns the leases that were offered in it."""
        group: list[c.Command] = [c.Advance(now_ns), *commands]
        offers: list[LeaseOffered] = []
        for at, events in enumerate(self._core.apply(group)):
            self._events += len(events)
            if self._observer is not None:
                self._observer.see(now_ns, group[at], events)
            for event in events:
                # What `isinstance` asks of a record's class takes much longer.
                if type(event) is LeaseOffered:
                    offers.append(event)
                elif type(event) in _HEARD:
                    self._hear(group[at], event, now_ns)
        return offers

    def _hear(self, command: c.Command, event: AnyEvent, now_ns: int) -> None:
        """What the driver has to do with an event that is no offer."""
        if type(event) is JobEnded:
            self._ended(event, now_ns)
        elif type(event) is JobQueued:
            if type(command) is c.SubmitJob:  # or else it is another attempt
                self._jobs[event.job_id] = self._told.pop(number_of(command.client_job_id))
        elif type(event) is Cleared:
            class_index = self._class_of[event.instrument_id]
            self._conduct.cleared(class_index, event.price_nanos, now_ns - BEGIN_NS)
        elif type(event) is LeaseEnded:
            if event.reason:
                self._outcome.faults[event.reason.name] += 1
        elif type(event) is Refused:
            assert type(command) is c.SubmitJob, f"{command} was refused: {event}"
            told = self._told.pop(number_of(command.client_job_id))
            self._outcome.faults[event.reason.name] += 1
            self._conduct.ended(told, Ending(0, 0, answered=False), now_ns - BEGIN_NS)

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
        legs = self._legs(job, self._conduct.legs(job) or ())
        model_id, quantity_mflop, input_tokens, input_tokens_max, tier = 0, 0, 0, 0, ""
        if not legs:  # else they state it
            model_id, input_tokens, tier = 1, job.input_tokens, TIER
            input_tokens_max = self._conduct.allowed(job)
            quantity_mflop = _quantity_mflop(input_tokens_max, job.output_tokens)
        return c.SubmitJob(
            account_id=self._first_account + job.account,
            client_job_id=_id16(BEGIN_NS + job.arrival_ns, job.number),
            model_id=model_id,
            instrument_id=0,
            quantity_mflop=quantity_mflop,
            value_nanos=job.value_nanos,
            limit_nanos=0,
            max_cost_nanos=0,
            deadline_within_ns=max(job.deadline_ns - job.arrival_ns, 1),
            payload_digest=_ZERO,
            payload_bytes=1,
            input_tokens=input_tokens,
            input_tokens_max=input_tokens_max,
            output_tokens_max=job.output_tokens,
            tier=tier,
            legs=legs,
        )

    def _legs(self, job: Job, inputs: Sequence[int]) -> tuple[int, ...]:
        """A leg in every class that has input: the same value for the work to do there."""
        if not inputs:
            return ()
        numbers: list[int] = []
        for instrument_id, tokens in zip(self._class_of, inputs, strict=True):
            if not tokens:
                continue
            quantity_mflop = _quantity_mflop(tokens, job.output_tokens)
            numbers += (instrument_id, 0, quantity_mflop, tokens, tokens)
        return tuple(numbers)


def _quantity_mflop(input_tokens: int, output_tokens: int) -> int:
    """Budget for so many tokens."""
    return -(-flops(CARD, DenseTrace(input_tokens, output_tokens - 1)) // FLOPS_PER_MFLOP)


def policy_of(
    kind: HardwareClass, scenario: Scenario, unit_price_nanos: float, factor: float = 1.0
) -> QuotePolicy:
    """What a worker of this kind asks: the live policies, in nano-dollars per CU.

    Its costs are `factor` times those of its class, and the ceiling is never below them.
    """
    cost_nanos = max(1, round(kind.cost * factor * unit_price_nanos))
    if not scenario.ask_exponent:
        return Static((cost_nanos,))
    ceiling_nanos = min(PRICE_MAX_NANOS, round(scenario.ask_ceiling * unit_price_nanos))
    ceiling_nanos = max(ceiling_nanos, cost_nanos)
    return Inventory(cost_nanos, ceiling_nanos, round(scenario.ask_exponent * MILLI))


def _id16(now_ns: int, number: int) -> bytes:
    """A UUIDv7 that holds a number."""
    word = (now_ns // NS_PER_MS) << 80 | 7 << 76 | 2 << 62 | number
    return word.to_bytes(16, "big")


def number_of(client_id: bytes) -> int:
    """Of the job that a market submits under this client id."""
    return int.from_bytes(client_id[8:], "big") & ((1 << 62) - 1)
