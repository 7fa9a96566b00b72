"""A small exchange for tests: a clock by hand, funded accounts, a worker, jobs and orders.

Every command that a scene applies is kept as its record, so that `Scene.close` can replay the whole
scene and compare digests: each scenario is a determinism test as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from unittest import mock

import msgspec
import pytest

import matching
from exchange.core import commands as c
from exchange.core import limits
from exchange.core.events import AnyEvent, Event, LeaseOffered, Refused
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.reasons import Reason
from exchange.core.records import Record
from exchange.metering.cards import INSTANT, ModelCard
from exchange.metering.traces import DenseTrace, flops

T0: Final = 1_800_000_000 * NS_PER_S
"""When every scene begins."""
ASK: Final = 50_000_000
"""What the worker asks, nano-dollars per CU."""
FUNDS: Final = 10**12
BATCH_NS: Final = 10 * NS_PER_MS
PROMPT: Final = hashlib.sha256(b"prompt").digest()
ANSWER: Final = hashlib.sha256(b"answer").digest()
RECEIPT: Final = hashlib.sha256(b"receipt").digest()

E = TypeVar("E", bound=Event)
C = TypeVar("C", bound=Record)


def uuid7(number: int, at_ns: int = T0) -> bytes:
    """A UUIDv7 whose random part comes from a number."""
    body = bytearray(hashlib.blake2b(number.to_bytes(16, signed=True), digest_size=10).digest())
    body[0] = 0x70 | body[0] & 0x0F
    body[2] = 0x80 | body[2] & 0x3F
    return (at_ns // NS_PER_MS).to_bytes(6) + bytes(body)


def replace(command: C, **changes: Any) -> C:
    """The same command with other values in some fields."""
    return msgspec.structs.replace(command, **changes)


def unchanged_but_for_sequence(before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    """Whether two state trees differ in nothing but the count of commands."""
    sequence = 3
    return (*before[:sequence], *before[sequence + 1 :]) == (
        *after[:sequence],
        *after[sequence + 1 :],
    )


def of_kind(events: Iterable[AnyEvent], kind: type[E]) -> list[E]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


class Scene:
    """An exchange under test, and the records of all that was done to it."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.records = bytearray()
        self._numbers = 0
        self._lowered = ExitStack()
        self.at(T0)

    @property
    def now_ns(self) -> int:
        """The exchange's time."""
        return self.exchange.now_ns

    def new_id(self, ahead_ns: int = 0) -> bytes:
        """A fresh client id of now, or of some time ahead."""
        self._numbers += 1
        return uuid7(self._numbers, self.now_ns + ahead_ns)

    def events(self, *commands: c.Command) -> list[AnyEvent]:
        """Apply commands; all their events, invariants checked."""
        for command in commands:
            self.records += command.encode()
        outcomes = self.exchange.apply(commands)
        assert all(outcomes), "every command has an answer"
        self.exchange.check()
        return [event for outcome in outcomes for event in outcome]

    def do(self, command: c.Command) -> AnyEvent:
        """Apply one command; its first event, which is its answer."""
        return self.events(command)[0]

    def expect(self, command: c.Command, kind: type[E]) -> E:
        """Apply one command; the one event of this kind among its events."""
        found = of_kind(self.events(command), kind)
        assert len(found) == 1, found
        return found[0]

    def refused(self, command: c.Command) -> Reason:
        """Apply a command that must be refused and change nothing; why it was."""
        before = self.exchange.state_tree()
        answer = self.do(command)
        assert isinstance(answer, Refused), answer
        assert unchanged_but_for_sequence(before, self.exchange.state_tree())
        return answer.reason

    def bulk(self, commands: Iterable[c.Command]) -> list[AnyEvent]:
        """Apply many commands and check no invariants; the answer to each."""
        group = list(commands)
        for command in group:
            self.records += command.encode()
        return [outcome[0] for outcome in self.exchange.apply(group)]

    def lower(self, module: str, name: str, bound: int) -> None:
        """Lower a bound for this scene, where reaching it would take too long."""
        if matching.COMPILED:
            pytest.skip("a compiled core has its bounds built in")
        assert getattr(limits, name) > bound
        self._lowered.enter_context(mock.patch(f"exchange.core.{module}.{name}", bound))

    # Time

    def at(self, now_ns: int) -> list[AnyEvent]:
        """Advance to a time."""
        return self.events(c.Advance(now_ns))

    def later(self, by_ns: int) -> list[AnyEvent]:
        """Advance by a duration."""
        return self.at(self.now_ns + by_ns)

    def batch(self) -> list[AnyEvent]:
        """Advance to the next batch boundary."""
        return self.at((self.now_ns // BATCH_NS + 1) * BATCH_NS)

    # Furniture

    def account(self, name: str, kind: int = c.AccountKind.REAL, funds: int = 0) -> int:
        """Open an account and fund it; its id."""
        self.do(c.OpenAccount(kind, name))
        account_id = self.exchange.account_by_name[name]
        if funds:
            self.do(c.Deposit(account_id, self.new_id(), funds))
        return account_id

    def paper_book(self, name: str = "paper", **terms: Any) -> int:
        """A continuous paper instrument: ticks of 1 from 1 to 1,000, lots of 1; its id."""
        command = c.AddInstrument(2, 2, 0, 1, 1, 1, 1_000, 10**15, 0, 0, 0, 0, name)
        self.do(replace(command, **terms))
        return self.exchange.instrument_by_name[name]

    def real(self, account_id: int) -> int:
        """Balance of an account, nano-dollars."""
        return self.exchange.ledger.balance(account_id)

    def close(self) -> None:
        """The end of each scene: nothing lost, and the records lead to the same state."""
        with self._lowered:
            self._compare()

    def _compare(self) -> None:
        exchange = self.exchange
        exchange.check()
        assert exchange.imbalance_nanos() == 0
        assert exchange.overspend_nanos() == 0
        twin = Exchange()
        twin.apply(c.decode(bytes(self.records)))
        assert twin.digest() == exchange.digest(), "a replay differs"


@dataclass
class Offer:
    """A lease that was offered, and how its worker answers."""

    scene: Scene
    event: LeaseOffered

    @property
    def lease_id(self) -> int:
        return self.event.lease_id

    @property
    def job_id(self) -> int:
        return self.event.job_id

    @property
    def token(self) -> tuple[int, int, int, int]:
        """Worker, lease and fence, as each step of the worker names them."""
        event = self.event
        return (event.worker_id, event.lease_id, event.fence_epoch, event.fence_sequence)

    def accept(self) -> Offer:
        self.scene.do(c.AcceptLease(*self.token))
        return self

    def start(self) -> Offer:
        self.scene.do(c.StartLease(*self.token))
        return self

    def run(self) -> Offer:
        return self.accept().start()

    def decline(self, reason: int = Reason.WORKER_BUSY) -> list[AnyEvent]:
        return self.scene.events(c.DeclineLease(*self.token, reason))

    def receipt(self, prompt: int = 10, steps: int = 19, **changes: Any) -> c.SettleLease:
        """An honest receipt, but for the changes."""
        exchange = self.scene.exchange
        job = exchange.jobs[self.job_id]
        instrument = exchange.instruments[self.event.instrument_id]
        model = exchange.models[instrument.terms.model_id]
        trace = DenseTrace(prompt, steps)
        honest = c.SettleLease(
            *self.token,
            c.StopCause.FINISHED,
            1,
            flops(model.card, trace),
            trace.tokens_given,
            model.digest,
            job.terms.payload_digest,
            ANSWER,
            ANSWER,
            RECEIPT,
            trace.encode(),
        )
        return replace(honest, **changes)

    def settle(self, prompt: int = 10, steps: int = 19, **changes: Any) -> list[AnyEvent]:
        return self.scene.events(self.receipt(prompt, steps, **changes))


class Market(Scene):
    """A scene with a model, a class, a worker with two slots, buyers, and a paper book."""

    def __init__(self, card: ModelCard = INSTANT) -> None:
        super().__init__()
        self.buyer = self.account("buyer", funds=FUNDS)
        self.other = self.account("other", funds=FUNDS)
        self.seller = self.account("seller")
        self.ann = self.account("ann", c.AccountKind.PAPER, FUNDS)
        self.bob = self.account("bob", c.AccountKind.PAPER, FUNDS)
        self.do(c.AddModel(card.encode()))
        self.model = self.exchange.model_by_name[card.name]
        self.cpu = self.lease_class(f"{card.name}/cpu/interactive")
        self.paper = self.paper_book()
        self.worker = self.worker_of(self.seller)
        self.quote()

    def lease_class(self, name: str, **terms: Any) -> int:
        """A class: 1,000 tokens per second in, 100 out, start within 1 s; its instrument id."""
        rates = (1_000_000, 100_000, 4_096, NS_PER_S)
        command = c.AddInstrument(1, 1, self.model, 1, 1, 1, 10**9, 10**9, *rates, name)
        self.do(replace(command, **terms))
        return self.exchange.instrument_by_name[name]

    def registration(self, account_id: int, **changes: Any) -> c.RegisterWorker:
        command = c.RegisterWorker(account_id, 0, b"k" * 32, "worker", (2,), b"{}")
        return replace(command, **changes)

    def worker_of(self, account_id: int, **changes: Any) -> int:
        command = self.registration(account_id, **changes)
        self.do(command)
        return self.exchange.worker_by_name[account_id, command.name]

    def quoting(self, **changes: Any) -> c.SetQuote:
        command = c.SetQuote(self.worker, self.cpu, 0, 3_600 * NS_PER_S, (ASK, ASK))
        return replace(command, **changes)

    def quote(self, **changes: Any) -> AnyEvent:
        return self.do(self.quoting(**changes))

    def job(self, **changes: Any) -> c.SubmitJob:
        """1,000 MFLOP worth a milli-dollar, 10 tokens in, up to 20 out, within 10 s."""
        command = c.SubmitJob(
            account_id=self.buyer,
            client_job_id=self.new_id(),
            model_id=self.model,
            instrument_id=0,
            quantity_mflop=1_000,
            value_nanos=10**6,
            limit_nanos=0,
            max_cost_nanos=0,
            deadline_within_ns=10 * NS_PER_S,
            payload_digest=PROMPT,
            payload_bytes=40,
            input_tokens=10,
            input_tokens_max=40,
            output_tokens_max=20,
            tier="interactive",
        )
        return replace(command, **changes)

    def submit(self, **changes: Any) -> int:
        """Submit a job; its id."""
        self.do(self.job(**changes))
        return self.exchange.counters.job

    def offers(self, events: Iterable[AnyEvent]) -> list[Offer]:
        """The leases offered among events."""
        return [Offer(self, event) for event in of_kind(events, LeaseOffered)]

    def leased(self, **changes: Any) -> Offer:
        """Submit a job and let it clear at the next batch; the lease offered."""
        self.submit(**changes)
        (offer,) = self.offers(self.batch())
        return offer

    def running(self, **changes: Any) -> Offer:
        """A job that runs on the worker."""
        return self.leased(**changes).run()

    def order(self, **changes: Any) -> c.PlaceOrder:
        """Ann's bid for 1,000 MFLOP at 100."""
        command = c.PlaceOrder(
            account_id=self.ann,
            client_order_id=self.new_id(),
            instrument_id=self.paper,
            side=1,
            order_type=1,
            time_in_force=1,
            self_trade=1,
            price_nanos=100,
            quantity_mflop=1_000,
            expire_time_ns=0,
            max_cost_nanos=0,
        )
        return replace(command, **changes)

    def conditional(self, **changes: Any) -> c.PlaceConditionalOrder:
        """Ann's bid for 1,000 MFLOP at 100, with conditions."""
        plain = {k: v for k, v in changes.items() if k in c.PlaceOrder.__struct_fields__}
        rest = {k: v for k, v in changes.items() if k not in plain}
        return c.PlaceConditionalOrder(**msgspec.structs.asdict(self.order(**plain)), **rest)

    def place(self, **changes: Any) -> int:
        """Place an order; its id."""
        self.do(self.order(**changes))
        return self.exchange.counters.order

    def close(self) -> None:
        super().close()
        for kind in c.AccountKind:
            ids = [i for i, a in self.exchange.accounts.items() if a.kind == kind]
            assert sum(map(self.real, ids)) == 0, "paper and credit have mixed"
