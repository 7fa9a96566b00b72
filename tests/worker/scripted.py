"""An exchange of which the test speaks every word, over real gRPC on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from exchange.metering import signing
from exchange.metering.cards import INSTANT
from exchange.metering.receipts import ReceiptBody, register_bytes
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    add_WorkerServiceServicer_to_server,
)
from tests.ports import reserved_port
from tests.waiting import WITHIN_S
from worker.agent import Agent, make_engines
from worker.config import InstantOptions, QuotePlan, WorkerConfig
from worker.identity import open_identity
from worker.quoting import Static

NS_PER_S = 1_000_000_000
KEY = "flx_" + "k" * 43
INSTRUMENT = "instant/cpu/interactive"
HEARTBEAT_NS = 200_000_000
QUIET = ("heartbeat", "quote")


class ServerSession:
    """The exchange's side of one session."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.metadata = dict(context.invocation_metadata())
        self.seen: list[pb.SessionRequest] = []
        self._inbox: asyncio.Queue[pb.SessionRequest] = asyncio.Queue()
        self.over = asyncio.Event()
        self.abort_with: grpc.StatusCode | None = None

    def take(self, message: pb.SessionRequest) -> None:
        self.seen.append(message)
        self._inbox.put_nowait(message)

    async def send(self, **message: Any) -> None:
        await self._context.write(pb.SessionResponse(**message))

    async def next(self, kind: str, ignore: tuple[str, ...] = QUIET) -> Any:
        """The next message, which must be of this kind; some kinds may come in between."""
        while True:
            async with asyncio.timeout(WITHIN_S):
                message = await self._inbox.get()
            found = message.WhichOneof("message")
            if found == kind:
                return getattr(message, found)
            assert found in ignore, f"wanted {kind}, got {message}"

    async def comes(self, kind: str, within_s: float) -> bool:
        """Whether a message of this kind comes soon; quiet ones may come in between."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    found = (await self._inbox.get()).WhichOneof("message")
                    if found == kind:
                        return True
                    assert found in QUIET, found
        return False

    async def quiet(self, seconds: float = 0.3) -> None:
        """Nothing but heartbeats and quotes comes for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._inbox.get()
                    assert message.WhichOneof("message") in QUIET, message

    async def welcome(
        self,
        *resumed: pb.ResumedLease,
        state: pb.WorkerState.ValueType = pb.WORKER_STATE_READY,
    ) -> pb.Register:
        """Take the registration."""
        register: pb.Register = await self.next("register")
        claim = register_bytes(register.name, register.public_key)
        assert signing.verify(register.public_key, register.signature, claim)
        await self.send(
            registered=pb.Registered(
                worker_id=7, heartbeat_ns=HEARTBEAT_NS, resumed=resumed, state=state
            )
        )
        return register

    async def offer(self, lease_id: int = 1, **changes: Any) -> pb.LeaseOffer:
        """Offer a lease for the instant model."""
        offer = make_offer(lease_id, **changes)
        await self.send(offer=offer)
        return offer

    async def output(self, ignore: tuple[str, ...] = QUIET) -> tuple[list[pb.Chunk], pb.Receipt]:
        """All chunks up to the receipt."""
        chunks: list[pb.Chunk] = []
        while True:
            async with asyncio.timeout(WITHIN_S):
                message = await self._inbox.get()
            match message.WhichOneof("message"):
                case "chunk":
                    chunks.append(message.chunk)
                case "receipt":
                    return chunks, message.receipt
                case other:
                    assert other in ignore, message

    async def accepted(self, lease_id: int = 1, paid_nanos: int = 5) -> None:
        """Answer a receipt."""
        await self.send(
            receipt_result=pb.ReceiptResult(lease_id=lease_id, accepted=True, paid_nanos=paid_nanos)
        )

    def close(self, code: grpc.StatusCode | None = None) -> None:
        """End the call, with an error if a code is given."""
        self.abort_with = code
        self.over.set()


def make_offer(lease_id: int = 1, **changes: Any) -> pb.LeaseOffer:
    """An offer for the instant model, with room for 1,000 tokens."""
    job = jobs_pb.JobInput(prompt="hello", output_tokens_max=changes.pop("tokens", 3), seed=9)
    values: dict[str, Any] = {
        "lease_id": lease_id,
        "fence": pb.Fence(epoch=1, sequence=100 + lease_id),
        "instrument": INSTRUMENT,
        "model": INSTANT.name,
        "quantity_mflop": 1_000,
        "price_nanos": 10,
        "payload": job.SerializeToString(),
        "accept_within_ns": 60 * NS_PER_S,
        "stop_within_ns": 600 * NS_PER_S,
        "attempt": 1,
    }
    return pb.LeaseOffer(**{**values, **changes})


class ScriptedExchange(WorkerServiceServicer):
    """A real server; sessions come out of `session()` in the order in which they are opened."""

    def __init__(self, port: int) -> None:
        self._server: grpc.aio.Server | None = None
        self._sessions: asyncio.Queue[ServerSession] = asyncio.Queue()
        self.port = port

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = grpc.aio.server()
        add_WorkerServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.target)
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def session(self) -> ServerSession:
        """The next session that a worker opens."""
        async with asyncio.timeout(WITHIN_S):
            return await self._sessions.get()

    async def ListWorkers(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not part of the script")

    async def SetWorker(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not part of the script")

    async def ExplainWorker(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not part of the script")

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        session = ServerSession(context)
        self._sessions.put_nowait(session)

        async def read() -> None:
            async for message in request_iterator:
                session.take(message)

        reading = asyncio.create_task(read())
        ending = asyncio.create_task(session.over.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            ending.cancel()
        if session.abort_with is not None:
            await context.abort(session.abort_with, "as the test says")


@contextlib.asynccontextmanager
async def scripted_exchange() -> AsyncIterator[ScriptedExchange]:
    with reserved_port() as port:
        exchange = ScriptedExchange(port)
        await exchange.start()
        try:
            yield exchange
        finally:
            await exchange.stop()


class RunningWorker:
    """A worker in this process."""

    def __init__(self, agent: Agent, task: asyncio.Task[int]) -> None:
        self.agent = agent
        self._task = task

    async def exit_status(self) -> int:
        async with asyncio.timeout(WITHIN_S):
            return await self._task


def make_config(target: str, data_dir: Path, **changes: Any) -> WorkerConfig:
    """One slot of the instant engine and one quote."""
    values: dict[str, Any] = {
        "key": KEY,
        "name": "w",
        "data_dir": data_dir,
        "quotes": (QuotePlan(INSTRUMENT, Static((10,))),),
        "engine": "instant",
        "instant": InstantOptions(),
        "slots": 1,
    }
    return WorkerConfig(target=target, **{**values, **changes})


@contextlib.asynccontextmanager
async def running_worker(config: WorkerConfig) -> AsyncIterator[RunningWorker]:
    """A worker that runs until the block ends."""
    with open_identity(config.data_dir) as identity:
        agent = Agent(config, identity, make_engines(config))
        task = asyncio.create_task(agent.run())
        try:
            yield RunningWorker(agent, task)
        finally:
            agent.stop()
            await asyncio.gather(task, return_exceptions=True)


def body_of(receipt: pb.Receipt) -> ReceiptBody:
    """What a receipt states."""
    return ReceiptBody(
        receipt.lease_id,
        receipt.fence.epoch,
        receipt.fence.sequence,
        receipt.cause,
        receipt.flops,
        receipt.seed,
        receipt.model_digest,
        receipt.input_digest,
        receipt.output_digest,
        receipt.trace,
    )


def text_of(chunks: list[pb.Chunk]) -> str:
    """The output; the chunks must have no gap."""
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    return "".join(chunk.text for chunk in chunks)


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
