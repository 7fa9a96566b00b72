"""A load client: open loop, one process, one connection.

Every order has an intended time that does not depend on how the server keeps up; its latency is
counted from there, so waiting in this process and the filling of a batch are included (no
coordinated omission). Messages are what the Python client sends, in packed rows, and made before
the clock starts, or taken from a ring of them (`flopex.bench.messages`) while it waits for the next
one's time; latencies are worked out after it stops. So the client's own CPU disturbs little on a
small machine.

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
from typing import Any, Final

import grpc

from exchange.v1 import order_service_pb2 as pb
from flopex.bench.flow import Flow
from flopex.bench.latencies import Latencies
from flopex.bench.messages import Message, Messages, Trial, schedule

TRADE: Final = "/exchange.v1.OrderService/Trade"
PLACE_ORDER: Final = "/exchange.v1.OrderService/PlaceOrder"
DRAIN_S: Final = 3.0
"""How long to wait for the last answers."""
BACKLOG_S: Final = 2.0
"""A trial that falls this far behind its schedule is given up: it has failed."""


class Run:
    """One trial under way."""

    def __init__(self, trial: Trial, messages: Messages) -> None:
        self.trial = trial
        self.messages = messages
        self.total = trial.orders
        self.gap_ns = trial.gap_ns
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
        self.acked += message.orders
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
            found.add(int(waited_ns - i * self.gap_ns) // 1_000 for i in range(message.orders))
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
    while (data := await call.read()) is not grpc.aio.EOF:
        first = pb.TradeResponse.FromString(data)
        for response in (first, *first.following):
            if response.request_id:
                run.accepted += sum(accepted.count for accepted in response.accepted)
                run.acknowledge(run.messages[response.request_id - 1])


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
        for number in range(len(run.messages)):
            data = run.messages.data(number)
            if not await run.until_due(run.messages[number]):
                break
            await call.write(data)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        run.fail(repr(error))
    await _finish(run)
    reader.cancel()
    call.cancel()


async def _unary(channel: grpc.aio.Channel, run: Run, metadata: Any) -> None:
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PLACE_ORDER)
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int, message: Message) -> None:
        data = run.messages.data(number)
        try:
            answer = await method(data, metadata=metadata, timeout=DRAIN_S + BACKLOG_S)
        except grpc.aio.AioRpcError as error:
            run.fail(repr(error))
        else:
            run.acknowledge(message)
            run.answers.append(answer)

    for number in range(len(run.messages)):
        message = run.messages[number]
        if not await run.until_due(message):
            break
        task = asyncio.create_task(one(number, message))
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


async def _go(trial: Trial, messages: Messages) -> Run:
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
