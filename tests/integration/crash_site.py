"""A whole exchange in processes of its own, made to be killed: server, workers, buyers, a trader.

What a client was told is written down in `Told`; what the journal holds is read from disk at the
end. Nothing here shares memory with the exchange.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from exchange.metering.cards import INSTANT
from exchange.rpc.auth import new_secret
from exchange.testing import metadata, uuid7
from exchange.v1 import account_service_pb2 as accounts_pb
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_pb2
from exchange.v1 import order_service_pb2 as orders_pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from exchange.v1.admin_service_pb2_grpc import AdminServiceStub
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from exchange.v1.order_service_pb2_grpc import OrderServiceStub
from tests.ports import reserved_port
from tests.waiting import WITHIN_S

INSTRUMENT = "instant/cpu/interactive"
PAPER = "paper/kill"
CALL_S = 15.0
"""A call that has no answer after so long is asked again, with the same id."""
MS = 1_000_000
S = 1_000 * MS
UNKNOWN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)
"""The call may or may not have been sequenced: it is repeated with the same id."""


@dataclass
class Told:
    """What clients were told was done."""

    jobs: dict[bytes, int] = field(default_factory=dict)
    deposits: dict[bytes, int] = field(default_factory=dict)
    orders: dict[bytes, int] = field(default_factory=dict)
    ended: dict[int, tuple[int, int]] = field(default_factory=dict)
    repeats: int = 0


def gateway_of(pid: int) -> int:
    """The gateway's process, one of the children of the engine's."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (found,) = (child for child in children if b"gateway" in _command_line(child))
    return int(found)


def _command_line(pid: str) -> bytes:
    """Of a process; nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class CrashSite:
    """Starts, kills and restarts the exchange; its workers stay up and find it again.

    Args:
        directory: For its data and logs.
        seed: Of what happens when.
        options: More of `flopex serve`.
    """

    def __init__(self, directory: Path, seed: int, *options: str) -> None:
        self.options = options
        self.directory = directory
        self.data = directory / "data"
        self.random = random.Random(seed)
        self._port = contextlib.ExitStack()
        self.address = f"127.0.0.1:{self._port.enter_context(reserved_port())}"
        self.operator = new_secret()
        self.keys: dict[str, str] = {}
        self.told = Told()
        self.kills = 0
        self.starts = 0
        self._server: asyncio.subprocess.Process | None = None
        self._workers: list[asyncio.subprocess.Process] = []
        self.channel = grpc.aio.insecure_channel(
            self.address,
            options=(
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
            ),
        )

    async def _spawn(self, name: str, key: str, *arguments: str) -> asyncio.subprocess.Process:
        environment = {
            **os.environ,
            "FLOPEX_OPERATOR_KEY": self.operator,
            "FLOPEX_KEY": key,
            "FLOPEX_TARGET": self.address,
            "FLOPEX_DATA": str(self.data),
        }
        with (self.directory / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "flopex", *arguments, stdout=log, stderr=log, env=environment
            )

    async def start(self) -> None:
        """Start the exchange and wait until it answers."""
        self.starts += 1
        self._server = await self._spawn(
            *("server", "", "serve", "--data", str(self.data)),
            *("--address", self.address, "--http", "off", *self.options),
        )
        await self.answering()

    async def answering(self) -> None:
        """Wait until the exchange answers."""
        assert self._server is not None
        async with asyncio.timeout(WITHIN_S):
            while True:
                if self._server.returncode is not None:
                    log = (self.directory / "server.log").read_text()
                    raise AssertionError(f"the exchange did not start:\n{log[-3000:]}")
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self.invariants()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill -9, at once."""
        assert self._server is not None
        self._server.send_signal(signal.SIGKILL)
        await self._server.wait()
        self.kills += 1

    @property
    def pid(self) -> int:
        """Of the exchange's (first) process."""
        assert self._server is not None
        return self._server.pid

    async def ended(self) -> int:
        """Wait for the exchange to end by itself; its status."""
        assert self._server is not None
        async with asyncio.timeout(WITHIN_S):
            return await self._server.wait()

    async def kill_gateway(self) -> None:
        """Kill -9 the gateway alone, and wait until another answers."""
        assert self._server is not None
        victim = gateway_of(self._server.pid)
        os.kill(victim, signal.SIGKILL)
        self.kills += 1
        await self.answering()

    async def stop(self) -> None:
        """End everything that still runs."""
        self._port.close()
        await self.channel.close()
        for process in (*self._workers, self._server):
            if process is not None and process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(WITHIN_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()

    # The operator

    def admin(self, name: str, request: Any) -> Awaitable[Any]:
        """One call of the operator's."""
        method = getattr(AdminServiceStub(self.channel), name)
        result: Awaitable[Any] = method(request, metadata=metadata(self.operator), timeout=CALL_S)
        return result

    def invariants(self, full: bool = False) -> Awaitable[admin_pb.GetInvariantsResponse]:
        """What the exchange says of itself."""
        return self.admin("GetInvariants", admin_pb.GetInvariantsRequest(full=full))

    async def furnish(self) -> None:
        """Model, instruments, accounts, keys."""
        await self.admin("CreateModel", admin_pb.CreateModelRequest(card=INSTANT.encode()))
        lease = market_pb2.Instrument(
            name=INSTRUMENT,
            settlement=market_pb2.SETTLEMENT_LEASE,
            clearing_mode=market_pb2.CLEARING_MODE_BATCH,
            tick_nanos=1,
            lot_mflop=1,
            price_min_nanos=1,
            price_max_nanos=10**9,
            quantity_max_mflop=10**9,
            prefill_millitokens_per_s=1_000_000,
            decode_millitokens_per_s=10_000,
            context_tokens_max=4_096,
            latest_start_ns=S,
        )
        paper = market_pb2.Instrument(
            name=PAPER,
            settlement=market_pb2.SETTLEMENT_PAPER,
            clearing_mode=market_pb2.CLEARING_MODE_CONTINUOUS,
            tick_nanos=1,
            lot_mflop=1,
            price_min_nanos=1,
            price_max_nanos=10**6,
            quantity_max_mflop=10**9,
        )
        for instrument in (lease, paper):
            await self.admin(
                "CreateInstrument", admin_pb.CreateInstrumentRequest(instrument=instrument)
            )
        for name, role, is_paper in (
            ("buyer", "trader", False),
            ("seller", "worker", False),
            ("player", "trader", True),
        ):
            await self.admin(
                "CreateAccount", admin_pb.CreateAccountRequest(name=name, paper=is_paper)
            )
            made = await self.admin(
                "CreateKey", admin_pb.CreateKeyRequest(account=name, roles=[role], label="test")
            )
            self.keys[name] = made.secret
        for name in ("buyer", "player"):
            request = admin_pb.DepositRequest(account=name, request_id=uuid7(), amount_nanos=10**12)
            await self.admin("Deposit", request)

    async def hire(self, count: int) -> None:
        """Start workers; they stay when the exchange is killed."""
        for number in range(count):
            self._workers.append(
                await self._spawn(
                    f"worker-{number}",
                    self.keys["seller"],
                    *("worker", "run", "--engine", "instant", "--instant-delay", "0.02"),
                    *("--name", f"w{number}", "--slots", "2"),
                    *("--quote", f"{INSTRUMENT}=static:1000,2000"),
                )
            )

    # Clients that never give up

    async def until_told(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Repeat a call, with the same id, until the exchange has answered it."""
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in UNKNOWN:
                    raise
                self.told.repeats += 1
                await asyncio.sleep(0.05)

    async def buy(self) -> None:
        """Submit one job and remember what was answered; sometimes cancel it."""
        ident = uuid7()
        request = jobs_pb.SubmitJobRequest(
            client_job_id=ident,
            model=INSTANT.name,
            input=jobs_pb.JobInput(
                prompt="x" * self.random.randint(1, 40),
                output_tokens_max=self.random.randint(1, 20),
            ),
            value_nanos=10**7,
            deadline_ns=120 * S,
        )
        stub, sent = JobServiceStub(self.channel), metadata(self.keys["buyer"])
        answer = await self.until_told(
            lambda: stub.SubmitJob(request, metadata=sent, timeout=CALL_S)
        )
        self.told.jobs[ident] = answer.job.job_id
        if self.random.random() < 0.1:
            cancel = jobs_pb.CancelJobRequest(job_id=answer.job.job_id)
            with contextlib.suppress(
                grpc.aio.AioRpcError
            ):  # ended meanwhile, or unheard: both fine
                await stub.CancelJob(cancel, metadata=sent, timeout=CALL_S)

    async def deposit(self) -> None:
        """Put one nano-dollar and some in."""
        ident, amount = uuid7(), self.random.randint(1, 1_000)
        request = admin_pb.DepositRequest(account="buyer", request_id=ident, amount_nanos=amount)
        await self.until_told(lambda: self.admin("Deposit", request))
        self.told.deposits[ident] = amount

    async def trade(self) -> None:
        """Place one paper order."""
        ident = uuid7()
        request = orders_pb.PlaceOrderRequest(
            order=orders_pb.NewOrder(
                client_order_id=ident,
                instrument_id=2,
                side=self.random.choice((market_pb2.SIDE_BID, market_pb2.SIDE_ASK)),
                self_trade_prevention=market_pb2.SELF_TRADE_PREVENTION_DECREMENT,
                price_nanos=self.random.randint(1, 50),
                quantity_mflop=self.random.randint(1, 50),
            )
        )
        stub, sent = OrderServiceStub(self.channel), metadata(self.keys["player"])
        answer = await self.until_told(
            lambda: stub.PlaceOrder(request, metadata=sent, timeout=CALL_S)
        )
        self.told.orders[ident] = answer.reports[0].order_id

    @contextlib.asynccontextmanager
    async def crowd(self) -> AsyncIterator[None]:
        """Inside, clients act all the time; at the end each finishes what it has begun."""
        stopping = asyncio.Event()

        async def act(action: Callable[[], Awaitable[None]], pause_s: float) -> None:
            while not stopping.is_set():
                await action()
                await asyncio.sleep(self.random.uniform(0, pause_s))

        async with asyncio.TaskGroup() as tasks:
            for action, pause_s in (
                (self.buy, 0.2),
                (self.buy, 0.2),
                (self.buy, 0.2),
                (self.deposit, 0.1),
                (self.trade, 0.05),
                (self.trade, 0.05),
            ):
                tasks.create_task(act(action, pause_s))
            try:
                yield
            finally:
                stopping.set()

    async def all_ended(self, within_s: float) -> None:
        """Wait until every job that was acknowledged has ended, and remember how."""
        stub, sent = JobServiceStub(self.channel), metadata(self.keys["buyer"])
        terminal = (
            jobs_pb.JOB_STATE_SETTLED,
            jobs_pb.JOB_STATE_CANCELLED,
            jobs_pb.JOB_STATE_EXPIRED,
            jobs_pb.JOB_STATE_FAILED,
        )
        async with asyncio.timeout(within_s):
            for job_id in self.told.jobs.values():
                while job_id not in self.told.ended:
                    request = jobs_pb.GetJobRequest(job_id=job_id)
                    answer = await self.until_told(
                        lambda asked=request: stub.GetJob(asked, metadata=sent, timeout=CALL_S)  # type: ignore[misc]
                    )
                    job = answer.job
                    if job.state in terminal:
                        self.told.ended[job_id] = (job.state, job.paid_nanos)
                    else:
                        await asyncio.sleep(0.1)

    async def account(self, name: str) -> accounts_pb.Account:
        """An account as its owner sees it."""
        stub = AccountServiceStub(self.channel)
        request = accounts_pb.GetAccountRequest()
        answer = await stub.GetAccount(request, metadata=metadata(self.keys[name]), timeout=CALL_S)
        return answer.account
