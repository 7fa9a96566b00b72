"""One seed: a market at work, a while of everything going wrong, and then it must all come right.

from tests.simulation.run import simulate
print(simulate(seed=7))
"""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import logging
import tempfile
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from unittest import mock

from structlog.testing import capture_logs

from exchange.client.channel import KeyedChannel
from exchange.client.enums import JobState
from exchange.core import commands as c
from exchange.core.commands import decode
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import read_journal
from exchange.journal.simulated import Fault
from exchange.metering.cards import INSTANT
from exchange.rpc import auth
from exchange.testing import uuid7
from exchange.testing.channel import VirtualChannel
from exchange.testing.network import Faults, VirtualNetwork
from exchange.testing.virtual import Process, VirtualLoop
from tests.simulation.clients import INSTRUMENT, KEYS, PAPER, Buyer, Told, Trader, agent, banker
from tests.simulation.site import JOURNAL, Site

FUNDS: Final = 10**12
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files that nobody keeps are quickest."""
CHAOS_S: Final = 15.0
"""How long things go wrong, seconds of virtual time."""
QUIET_S: Final = 400.0
"""Once faults have ceased, everything must have ended within this time."""
PROBE_S: Final = 60.0
"""And then a new job must be settled within this time."""
SKEW_MAX_NS: Final = 5_000_000_000
S: Final = 1_000_000_000
EXPECTED_ERRORS: Final = ("a receipt cannot be stored", "old receipts cannot be removed")
"""Logged as errors where the disk has failed."""


class Result(NamedTuple):
    """What a run was: equal for equal seeds."""

    seed: int
    digest: str
    commands: int
    lives: int
    virtual_s: float
    told: dict[str, int]
    network: dict[str, int]


class Finding(AssertionError):
    """What must never happen has happened."""


def simulate(seed: int) -> Result:
    """Run one seed.

    Raises:
        BaseException: the finding.
    """
    gc.disable()  # when garbage is found must not depend on what ran before
    try:
        with tempfile.TemporaryDirectory(prefix="simulation-", dir=MEMORY) as name:
            return _World(seed, Path(name)).run()
    finally:
        gc.enable()


class _World:
    """All of one run."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed = seed
        self.directory = directory
        self.random = Random(f"{seed} world")
        self.loop = VirtualLoop(seed)
        self.network = VirtualNetwork(self.loop)
        self.told = Told()
        self.site = Site(
            self.loop, self.network, directory, Random(f"{seed} power"), self.on_finding
        )
        self.finding: asyncio.Future[None] = self.loop.create_future()
        self.disk_failed = False
        self.slots = {f"worker-{i}": self.random.randint(1, 2) for i in range(2)}
        self.workers: dict[str, Process] = {}
        self.worker_lives = 0

    def run(self) -> Result:
        self.loop.set_exception_handler(lambda _, context: self.on_finding(_error_in(context)))
        with ExitStack() as stack:
            stack.enter_context(self.loop.installed())
            stack.enter_context(mock.patch("worker.agent.open_channel", self._dial))
            stack.enter_context(mock.patch("worker.agent.hardware_facts", dict))
            stack.enter_context(mock.patch("os.fsync", _survive))
            stack.enter_context(mock.patch("exchange.engine.engine.apply", self.site.apply))
            logs = stack.enter_context(capture_logs())
            stack.callback(self.loop.close)
            stack.callback(self.site.kill)  # gives its files back
            stack.callback(logging.getLogger("flopex.worker").setLevel, logging.NOTSET)
            logging.getLogger("flopex.worker").setLevel(logging.CRITICAL)
            self.loop.run_until_complete(self._first_of(self._play()))
            self._check_logs(logs)
            return self._judge()

    def on_finding(self, error: BaseException) -> None:
        """End the run."""
        if not self.finding.done():
            self.finding.set_exception(error)

    async def _first_of(self, playing: Any) -> None:
        play = asyncio.ensure_future(playing)
        await asyncio.wait({play, self.finding}, return_when=asyncio.FIRST_COMPLETED)
        if self.finding.done():
            play.cancel()
            self.finding.result()
        play.result()

    # ---- the play ----

    async def _play(self) -> None:
        self.site.start()
        await self._furnish()
        for name in self.slots:
            self._hire(name)
        people = self._people()
        await self._chaos()
        self._calm()
        self._restart()
        await self._within(QUIET_S, self._all_done(people), "not everything has ended")
        await self._within(PROBE_S, self._probe(), "a new job was not settled")

    @staticmethod
    async def _within(seconds: float, play: Coroutine[Any, Any, None], otherwise: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                await play
        except TimeoutError as error:
            raise Finding(f"{otherwise} within {seconds:g} s") from error

    async def _all_done(self, people: list[asyncio.Task[None]]) -> None:
        """Clients have their answers, and every job has ended."""
        await asyncio.gather(*people)
        while self._open_jobs():  # noqa: ASYNC110 - nothing tells of it over all lives
            await asyncio.sleep(0.5)

    def _open_jobs(self) -> bool:
        services = self.site.services
        return services is None or any(job.is_open for job in services.core.jobs.values())

    async def _furnish(self) -> None:
        """Model, instruments, accounts, keys and money, by the engine itself."""
        await self.site.opened.wait()
        assert self.site.services is not None
        engine = self.site.services.engine
        accounts = (
            ("buyer", c.AccountKind.REAL, c.Role.TRADER),
            ("seller", c.AccountKind.REAL, c.Role.WORKER),
            ("player", c.AccountKind.PAPER, c.Role.TRADER),
        )
        rates = (1_000_000, 10_000, 4_096, S)
        commands: list[c.Command] = [
            c.AddModel(INSTANT.encode()),
            c.AddInstrument(1, 1, 1, 1, 1, 1, 10**9, 10**9, *rates, INSTRUMENT),
            c.AddInstrument(2, 2, 0, 1, 1, 1, 10**6, 10**9, 0, 0, 0, 0, PAPER),
        ]
        for name, kind, role in accounts:
            await engine.submit(c.OpenAccount(kind, name))
            account_id = engine.core.account_by_name[name]
            commands.append(c.AddKey(account_id, int(role), auth.hash_secret(KEYS[name]), "key"))
            if name != "seller":
                commands.append(c.Deposit(account_id, uuid7(engine.now_ns()), FUNDS))
        for outcome in await engine.submit_many(commands):
            assert outcome.refused is None, outcome

    def _people(self) -> list[asyncio.Task[None]]:
        def process(name: str) -> Process:
            made = self.loop.process(name)
            made.clock_ahead_ns = self.random.randint(-SKEW_MAX_NS, SKEW_MAX_NS)
            made.clock_drift_ppm = self.random.randint(-500, 500)
            return made

        tasks = []
        for number in range(2):
            at = process(f"buyer-{number}")
            tasks.append(at.spawn(Buyer(self.network, at, self.told, KEYS["buyer"]).run(4)))
        for number in range(2):
            at = process(f"player-{number}")
            tasks.append(at.spawn(Trader(self.network, at, self.told, KEYS["player"]).run(6)))
        at = process("banker")
        tasks.append(at.spawn(banker(self.network, at, self.told).run(4)))
        return tasks

    def _hire(self, name: str) -> None:
        """Start a worker, perhaps again, with what it kept on disk."""
        self.worker_lives += 1
        process = self.workers[name] = self.loop.process(f"{name}-{self.worker_lives}")
        process.clock_drift_ppm = self.random.randint(-500, 500)
        process.spawn(self._work(process, name)).add_done_callback(self._worker_ended)

    async def _work(self, process: Process, name: str) -> None:
        await agent(process, name, self.directory / name, self.slots[name]).run()

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self.on_finding(task.exception() or Finding("a worker left by itself"))

    def _dial(self, target: str, key: str, **_: object) -> KeyedChannel:
        return KeyedChannel(VirtualChannel(self.network, self.loop.current(), target), key)

    # ---- what goes wrong ----

    async def _chaos(self) -> None:
        chance = self.random
        self.network.faults = Faults(
            delay_s=(0.000_2, chance.choice((0.002, 0.02, 0.2))),
            slow_share=chance.choice((0, 0.01, 0.05)),
            slow_s=chance.choice((0.5, 3.0)),
            break_share=chance.choice((0, 0.005, 0.03)),
            twice_share=chance.choice((0, 0.05, 0.3)),
        )
        until = self.loop.time() + CHAOS_S
        while self.loop.time() < until:
            await asyncio.sleep(chance.uniform(0.1, 4.0))
            if not self.site.alive:
                self._restart()
                continue
            chance.choice(
                (
                    self._lose_power,
                    self._lose_power,
                    self._fail_soon,
                    self._fail_soon,
                    self._break_soon,
                    self._kill_a_worker,
                    self._darken,
                    self._turn_the_clock,
                )
            )()

    def _lose_power(self) -> None:
        self.site.kill()

    def _fail_soon(self) -> None:
        """The disk crashes the machine in one of its next changes, or returns an error."""
        chance = self.random
        error = chance.choice((0, 0, 0, errno.EIO, errno.ENOSPC))
        written = chance.choice((0, 100, 512, 10_000))
        self.disk_failed = self.disk_failed or bool(error)
        fault = Fault(error=error, written=written, crash=not error)
        self.site.break_disk(chance.randint(0, 40), fault)

    def _break_soon(self) -> None:
        """The core fails in one of its next groups, which the journal must take back."""
        self.site.break_core(self.random.randint(1, 20))

    def _kill_a_worker(self) -> None:
        name = self.random.choice(list(self.workers))
        if self.workers[name].alive:
            self.workers[name].kill()
            self.loop.call_later(self.random.uniform(0.1, 8.0), self._hire, name)

    def _darken(self) -> None:
        """A worker or the exchange cannot be reached for a while."""
        assert self.site.process is not None
        name = self.random.choice([*self.workers.values(), self.site.process]).name
        self.network.darken(name)
        self.loop.call_later(self.random.uniform(0.5, 12.0), self.network.lighten)

    def _turn_the_clock(self) -> None:
        ahead_ns = self.random.randint(-SKEW_MAX_NS, SKEW_MAX_NS)
        self.site.set_clock(ahead_ns, self.random.randint(-2_000, 2_000))

    def _restart(self) -> None:
        if not self.site.alive:
            self.site.start()

    def _calm(self) -> None:
        """From now on nothing goes wrong any more."""
        self.network.faults = Faults()
        self.network.lighten()
        self.site.be_good()

    # ---- what must come right ----

    async def _probe(self) -> None:
        """The market works again: a new job is settled soon."""
        process = self.loop.process("probe")
        buyer = Buyer(self.network, process, self.told, KEYS["buyer"])
        job_id = await process.spawn(buyer.buy())
        answer = await process.spawn(buyer.sdk.jobs.follow(job_id))
        self.told.ended[job_id] = (answer.job.state, answer.job.paid_nanos)

    def _check_logs(self, logs: Any) -> None:
        for entry in logs:
            if entry["log_level"] in {"error", "critical"}:
                expected = self.disk_failed and entry["event"] in EXPECTED_ERRORS
                assert expected, f"the exchange logged an error: {entry}"

    def _judge(self) -> Result:
        """Everything that was acknowledged is there, nothing twice, and the money is right."""
        site, told = self.site, self.told
        services, auditor = site.services, site.auditor
        assert services is not None
        core = services.core
        core.check()
        auditor.check()
        assert services.engine.stats.subscriber_errors == 0
        for ident, job_id in told.jobs.items():
            assert auditor.jobs.get(ident) == job_id, "an acknowledged job is lost"
        for ident, order_id in told.orders.items():
            assert auditor.orders.get(ident) == order_id, "an acknowledged order is lost"
        for ident, amount in told.deposits.items():
            assert auditor.deposits.get(ident) == amount, "an acknowledged deposit is lost"
        for job_id, (state, paid_nanos) in told.ended.items():
            ended = auditor.ended[job_id]
            assert (int(ended.state), ended.paid_nanos) == (int(state), paid_nanos)
        paid = sum(ended.paid_nanos for ended in auditor.ended.values())
        buyer = core.account_by_name["buyer"]
        assert core.ledger.balance(buyer) == FUNDS + sum(told.deposits.values()) - paid
        assert core.ledger.balance(core.account_by_name["seller"]) == paid
        assert core.ledger.pending(buyer) == 0
        replayed = Exchange()
        for record in read_journal(JOURNAL, rules_version=RULES_VERSION, files=site.disk):
            replayed.apply(decode(record.payload))
        assert replayed.digest() == core.digest(), "a replay from the disk gives another state"
        return self._result(core)

    def _result(self, core: Exchange) -> Result:
        told = {
            "jobs": len(self.told.jobs),
            "settled": sum(s is JobState.SETTLED for s, _ in self.told.ended.values()),
            "orders": len(self.told.orders),
            "deposits": len(self.told.deposits),
            "repeats": self.told.repeats,
        }
        network = dict(sorted(self.network.counts.items()))
        digest = hashlib.sha256(core.digest())
        digest.update(f"{self.loop.now_ns} {told} {network} {self.site.lives}".encode())
        return Result(
            self.seed,
            digest.hexdigest()[:32],
            core.sequence,
            self.site.lives,
            self.loop.time(),
            told,
            network,
        )


def _survive(descriptor: int) -> None:
    """What is real here survives anyway. A plain function: a mock keeps a record of its calls."""


def _error_in(context: dict[str, Any]) -> BaseException:
    found: BaseException | None = context.get("exception")
    return found or Finding(context["message"])
