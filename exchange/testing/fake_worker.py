"""A worker that does exactly what a test tells it, over real gRPC; it can lie and it can vanish.

Example:
    async with FakeWorker(channel, key) as worker:
        await worker.register()
        await worker.quote("instant/cpu/interactive", 1_000)
        result = await worker.run(await worker.offer(), "Hello ", "world")
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self, cast

import grpc

from exchange.metering import signing
from exchange.metering.cards import INSTANT, ModelCard
from exchange.metering.receipts import ReceiptBody, register_bytes
from exchange.metering.traces import DenseTrace, flops
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason
from exchange.v1.worker_service_pb2_grpc import WorkerServiceStub

WAIT_S: Final = 60.0
"""How long a test waits for a message before it fails."""


class SessionEnded(Exception):
    """The exchange ended the session; `error` is the gRPC error, if it was one."""

    def __init__(self, error: grpc.aio.AioRpcError | None) -> None:
        super().__init__("the session has ended" if error is None else error.details())
        self.error = error


class FakeWorker:
    """One worker's side of a session.

    Args:
        channel: An open channel to the exchange.
        key: API key of the worker's account.
        name: Worker's name.
        slots: Slots of each pool.
        private_key: Ed25519 private key, 32 bytes; a new one by default.
        card: Model card by which it meters.
        heartbeats: Whether it says that it is alive by itself.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        key: str,
        *,
        name: str = "fake",
        slots: Sequence[int] = (1,),
        private_key: bytes | None = None,
        card: ModelCard = INSTANT,
        heartbeats: bool = True,
    ) -> None:
        self.name = name
        self.slots = tuple(slots)
        self.private_key = private_key or signing.generate_key()
        self.public_key = signing.public_key(self.private_key)
        self.card = card
        self.registered: pb.Registered | None = None
        self.heartbeats_heard = 0
        self._heartbeats = heartbeats
        self._stub = WorkerServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._inbox: list[pb.SessionResponse] = []
        self._news = asyncio.Event()
        self._ended: SessionEnded | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.vanish()

    # ---- session ----

    async def open(self) -> None:
        """Open the stream and say nothing."""
        assert self._call is None, "a session is open"
        self._inbox.clear()
        self._ended = None
        self._call = self._stub.Session(metadata=self._metadata)
        self._spawn(self._read(self._call))

    async def register(
        self,
        held: Iterable[pb.LeaseOffer] = (),
        **changes: Any,
    ) -> pb.Registered:
        """Open the stream and register; `changes` replaces fields of the register message.

        Raises:
            SessionEnded: the exchange refused.
        """
        await self.open()
        fields: dict[str, Any] = {
            "name": self.name,
            "public_key": self.public_key,
            "slots": self.slots,
            "facts": {"kind": "fake"},
            "held": [pb.HeldLease(lease_id=o.lease_id, fence=o.fence) for o in held],
            "signature": signing.sign(self.private_key, register_bytes(self.name, self.public_key)),
        }
        await self.send(register=pb.Register(**(fields | changes)))
        answer = (await self.receive("registered")).registered
        self.registered = answer
        if self._heartbeats:
            self._spawn(self._beat(answer.heartbeat_ns / 2e9))
        return answer

    async def vanish(self) -> None:
        """Break the stream without a word."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def leave(self) -> None:
        """Say goodbye and wait for the end of the stream."""
        await self.send(goodbye=pb.Goodbye(detail="test"))
        with contextlib.suppress(SessionEnded):
            while True:
                await self.receive()
        await self.vanish()

    # ---- messages ----

    async def send(self, **message: Any) -> None:
        """Send one message, named by its field in SessionRequest."""
        async with self._writing:
            try:
                await self._call.write(pb.SessionRequest(**message))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                # What the exchange said at the end is told by receive().
                if isinstance(error, asyncio.InvalidStateError) and self._ended is None:
                    raise

    async def receive(self, kind: str = "", wait_s: float = WAIT_S) -> pb.SessionResponse:
        """The oldest message of this kind (any but a heartbeat by default), taken out.

        Raises:
            SessionEnded: none is there and none will come.
            TimeoutError: none came in time.
        """
        async with asyncio.timeout(wait_s):
            while True:
                for position, message in enumerate(self._inbox):
                    if kind in ("", message.WhichOneof("message")):
                        return self._inbox.pop(position)
                if self._ended is not None:
                    raise self._ended
                self._news.clear()
                await self._news.wait()

    async def refusal(self) -> pb.Refusal:
        """The next refusal."""
        return (await self.receive("refusal")).refusal

    # ---- leases ----

    async def quote(self, instrument: str, *prices: int, pool: int = 0, ttl_ns: int = 0) -> None:
        """Set a standing quote; no prices withdraw it."""
        await self.send(
            quote=pb.Quote(instrument=instrument, pool=pool, prices_nanos=prices, ttl_ns=ttl_ns)
        )

    async def offer(self, wait_s: float = WAIT_S) -> pb.LeaseOffer:
        """The next fill."""
        return (await self.receive("offer", wait_s)).offer

    async def accept(self, offer: pb.LeaseOffer) -> None:
        """Take the lease."""
        await self.send(accept=pb.Accept(lease_id=offer.lease_id, fence=offer.fence))

    async def decline(
        self, offer: pb.LeaseOffer, reason: Reason.ValueType = Reason.REASON_WORKER_DECLINED
    ) -> None:
        """Refuse the lease."""
        await self.send(
            decline=pb.Decline(lease_id=offer.lease_id, fence=offer.fence, reason=reason)
        )

    async def start(self, offer: pb.LeaseOffer) -> None:
        """Say that the engine has begun."""
        await self.send(started=pb.Started(lease_id=offer.lease_id, fence=offer.fence))

    async def begin(self, offer: pb.LeaseOffer) -> None:
        """Take the lease and start."""
        await self.accept(offer)
        await self.start(offer)

    async def chunk(
        self, offer: pb.LeaseOffer, index: int, text: str, tokens: int | None = None
    ) -> None:
        """Send output; one token for each word unless told."""
        count = words(text) if tokens is None else tokens
        await self.send(
            chunk=pb.Chunk(
                lease_id=offer.lease_id, fence=offer.fence, index=index, text=text, tokens=count
            )
        )

    def receipt(
        self,
        offer: pb.LeaseOffer,
        text: str,
        done: DenseTrace | None = None,
        **changes: Any,
    ) -> pb.Receipt:
        """A true receipt for this output, then with `changes`, signed after them.

        Args:
            offer: The lease.
            text: All of its output.
            done: What the engine did; by default, it gave one token for each word.
            changes: Fields of `ReceiptBody` to lie about; a `signature` stands as given.
        """
        done = done or DenseTrace(prompt_tokens(offer.payload), max(words(text) - 1, 0))
        body = ReceiptBody(
            lease_id=offer.lease_id,
            fence_epoch=offer.fence.epoch,
            fence_sequence=offer.fence.sequence,
            cause=jobs_pb.STOP_CAUSE_FINISHED,
            flops=flops(self.card, done),
            seed=0,
            model_digest=self.card.digest(),
            input_digest=hashlib.sha256(offer.payload).digest(),
            output_digest=hashlib.sha256(text.encode()).digest(),
            trace=done.encode(),
        )
        signature = changes.pop("signature", None)
        body = body._replace(**changes)
        if signature is None:
            signature = signing.sign(self.private_key, body.signed_bytes())
        return pb.Receipt(
            lease_id=body.lease_id,
            fence=pb.Fence(epoch=body.fence_epoch, sequence=body.fence_sequence),
            cause=cast("jobs_pb.StopCause.ValueType", body.cause),
            flops=body.flops,
            model_digest=body.model_digest,
            input_digest=body.input_digest,
            output_digest=body.output_digest,
            trace=body.trace,
            seed=body.seed,
            signature=signature,
        )

    async def settle(self, receipt: pb.Receipt) -> pb.ReceiptResult:
        """Send a receipt and wait for what became of it."""
        await self.send(receipt=receipt)
        while True:
            result = (await self.receive("receipt_result")).receipt_result
            if result.lease_id == receipt.lease_id:
                return result

    async def run(self, offer: pb.LeaseOffer, *texts: str) -> pb.ReceiptResult:
        """A lease's whole honest life: take, start, put out, settle."""
        await self.begin(offer)
        for index, text in enumerate(texts):
            await self.chunk(offer, index, text)
        return await self.settle(self.receipt(offer, "".join(texts)))

    async def serve(self, *texts: str) -> None:
        """Run every offer that comes, with this output, until cancelled or ended."""
        with contextlib.suppress(SessionEnded):
            while True:
                await self.run(await self.offer(wait_s=3_600), *texts)

    # ---- tasks ----

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, call: Any) -> None:
        error: grpc.aio.AioRpcError | None = None
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                if message.WhichOneof("message") == "heartbeat":
                    self.heartbeats_heard += 1
                else:
                    self._inbox.append(message)
                    self._news.set()
        except grpc.aio.AioRpcError as caught:
            error = caught
        finally:
            self._ended = SessionEnded(error)
            self._news.set()

    async def _beat(self, every_s: float) -> None:
        while self._ended is None:
            await asyncio.sleep(every_s)
            await self.send(heartbeat=jobs_pb.Heartbeat())


def words(text: str) -> int:
    """Tokens of an output, as this worker counts them."""
    return max(len(text.split()), 1) if text else 0


def prompt_tokens(payload: bytes) -> int:
    """Tokens of a prompt, as this worker counts them."""
    job = jobs_pb.JobInput.FromString(payload)
    return max(words(job.prompt) + sum(words(m.content) for m in job.messages), 1)
