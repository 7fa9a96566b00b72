"""A load client: open loop, one process, one connection.

Every order has an intended time that does not depend on how the server keeps up; its latency is
counted from there, so waiting in this process and the filling of a batch are included (no
coordinated omission). Messages are what the Python client sends, in packed rows, and made before
the clock starts; latencies are worked out after it stops. So the client's own CPU disturbs little
on a small machine.

Reads one trial as a JSON line from standard input, answers with a line once its messages are made,
runs it at the next line, answers with what it measured, and so on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import selectors
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import grpc

from exchange.packed import INSTRUCTION, PLACE
from exchange.v1 import order_service_pb2 as pb
from flopex.bench.flow import Flow
from flopex.bench.latencies import Latencies

TRADE: Final = "/exchange.v1.OrderService/Trade"
PLACE_ORDER: Final = "/exchange.v1.OrderService/PlaceOrder"
BATCH_WAIT_NS: Final = 4_000_000
"""A batch is sent when it is full or this long after its first order."""
DRAIN_S: Final = 3.0
"""How long to wait for the last answers."""
BACKLOG_S: Final = 2.0
"""A trial that falls this far behind its schedule is given up: it has failed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to send: `rate` orders per second for `seconds`, in batches of at most `batch`."""

    target: str
    key: str
    mode: str
    rate: float
    seconds: float
    batch: int
    seed: int
    stream: int
    instrument_id: int


@dataclass(slots=True)
class Message:
    """One message: its orders are number `first` to `first + count - 1`, due at `due_ns`.

    `places` of them are new orders, the others cancel one, and may come too late for that.
    """

    due_ns: int
    first: int
    count: int
    data: bytes
    places: int = 1


def schedule(trial: Trial, flow: Flow) -> list[Message]:
    """All messages of a trial, with the times at which they are due."""
    total = max(1, int(trial.rate * trial.seconds))
    gap_ns = 1e9 / trial.rate
    if trial.mode == "unary":
        return [
            Message(
                int(i * gap_ns),
                i,
                1,
                pb.PlaceOrderRequest(order=flow.place()).SerializeToString(),
            )
            for i in range(total)
        ]
    messages: list[Message] = []
    first = 0
    while first < total:
        begin_ns = int(first * gap_ns)
        inside = int(BATCH_WAIT_NS / gap_ns) + 1 if trial.batch > 1 else 1
        count = min(trial.batch, inside, total - first)
        last_ns = int((first + count - 1) * gap_ns)
        full = count == trial.batch
        due_ns = last_ns if full else begin_ns + BATCH_WAIT_NS
        rows = b"".join([flow.row() for _ in range(count)])
        request = pb.TradeRequest(request_id=len(messages) + 1, packed=rows)
        places = rows[:: INSTRUCTION.size].count(PLACE)
        messages.append(Message(due_ns, first, count, request.SerializeToString(), places))
        first += count
    return messages


class Run:
    """One trial under way."""

    def __init__(self, trial: Trial, messages: list[Message]) -> None:
        self.trial = trial
        self.messages = messages
        self.total = messages[-1].first + messages[-1].count
        self.gap_ns = 1e9 / trial.rate
        self.answered: list[tuple[Message, int]] = []
        self.accepted = 0  # new orders, as a stream's answers say
        self.answers: list[bytes] = []  # of unary calls, to be read once the clock has stopped
        self.acked = 0
        self.errors: list[str] = []
        self.gave_up = False
        self.origin_ns = 0
        self.done = asyncio.Event()

    def acknowledge(self, message: Message) -> None:
        """All orders of a message are acknowledged now."""
        self.answered.append((message, time.monotonic_ns()))
        self.acked += message.count
        if self.acked == self.total:
            self.done.set()

    def refused(self) -> int:
        """New orders that were answered and not accepted: a rate of refusals is none of orders."""
        accepted = self.accepted
        for answer in self.answers:
            reports = pb.PlaceOrderResponse.FromString(answer).reports
            accepted += any(one.execution_type == pb.EXECUTION_TYPE_NEW for one in reports)
        return max(0, sum(message.places for message, _ in self.answered) - accepted)

    def latencies(self) -> Latencies:
        """From each acknowledged order's intended time to its acknowledgement."""
        found = Latencies()
        for message, answered_ns in self.answered:
            due_ns = self.origin_ns + message.first * self.gap_ns
            waited_ns = answered_ns - due_ns
            found.add(int(waited_ns - i * self.gap_ns) // 1_000 for i in range(message.count))
        return found

    def fail(self, error: str) -> None:
        """The trial cannot go on."""
        self.errors.append(error)
        self.done.set()

    async def until_due(self, message: Message) -> bool:
        """Sleep until a message is due; False where the trial is too far behind or over."""
        wait_ns = self.origin_ns + message.due_ns - time.monotonic_ns()
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / 1e9)
        elif wait_ns < -BACKLOG_S * 1e9:
            self.gave_up = True
            self.done.set()
        return not self.done.is_set()


async def _read(call: Any, run: Run) -> None:
    by_id = dict(enumerate(run.messages, 1))
    while (data := await call.read()) is not grpc.aio.EOF:
        response = pb.TradeResponse.FromString(data)
        if response.request_id:
            run.accepted += sum(accepted.count for accepted in response.accepted)
            run.acknowledge(by_id[response.request_id])


async def _stream(channel: grpc.aio.Channel, run: Run, metadata: Any) -> None:
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(TRADE)
    call = method(metadata=metadata)
    reader = asyncio.create_task(_read(call, run))
    reader.add_done_callback(
        lambda task: (
            run.fail(repr(task.exception())) if not task.cancelled() and task.exception() else None
        )
    )
    try:
        for message in run.messages:
            if not await run.until_due(message):
                break
            await call.write(message.data)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        run.fail(repr(error))
    await _finish(run)
    reader.cancel()
    call.cancel()


async def _unary(channel: grpc.aio.Channel, run: Run, metadata: Any) -> None:
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PLACE_ORDER)
    tasks: set[asyncio.Task[None]] = set()

    async def one(message: Message) -> None:
        try:
            answer = await method(message.data, metadata=metadata, timeout=DRAIN_S + BACKLOG_S)
        except grpc.aio.AioRpcError as error:
            run.fail(repr(error))
        else:
            run.acknowledge(message)
            run.answers.append(answer)

    for message in run.messages:
        if not await run.until_due(message):
            break
        task = asyncio.create_task(one(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await _finish(run)
    for task in tasks:
        task.cancel()


async def _finish(run: Run) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            await run.done.wait()
    except TimeoutError:
        run.gave_up = True


async def _go(trial: Trial, messages: list[Message]) -> Run:
    run = Run(trial, messages)
    metadata = (("authorization", f"Bearer {trial.key}"),)
    async with grpc.aio.insecure_channel(trial.target) as channel:
        await channel.channel_ready()
        run.origin_ns = time.monotonic_ns() + 20_000_000
        await (_unary if trial.mode == "unary" else _stream)(channel, run, metadata)
    return run


def _fine_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers keep to microseconds: select(2) does, epoll counts whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main() -> None:
    """Serve trials until standard input ends."""
    for line in sys.stdin:
        trial = Trial(**json.loads(line))
        messages = schedule(trial, Flow(trial.seed, trial.stream, trial.instrument_id))
        gc.collect()
        gc.freeze()
        gc.disable()
        print(json.dumps({"ready": len(messages)}), flush=True)
        sys.stdin.readline()
        cpu = time.process_time()
        with asyncio.Runner(loop_factory=_fine_loop) as runner:
            run = runner.run(_go(trial, messages))
        cpu = time.process_time() - cpu
        gc.unfreeze()
        gc.enable()
        if refused := run.refused():
            run.fail(f"{refused} new orders were refused")
        answer = {
            "sent": run.total,
            "acked": run.acked,
            "gave_up": run.gave_up,
            "errors": run.errors[:3],
            "cpu_s": cpu,
            "latencies": run.latencies().counts,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
