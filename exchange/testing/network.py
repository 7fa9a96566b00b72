"""gRPC without sockets, in virtual time: real stubs on one side, the real API on the other.

Messages travel as their bytes. As on TCP those of one call arrive in order or not at all, and the
calls of a connection overtake each other. Everything else may go wrong, as `Faults` says: messages
are late, connections break with what was on its way, calls arrive twice, links go dark.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from exchange.testing.virtual import Process, VirtualLoop

if TYPE_CHECKING:
    from exchange.testing.channel import ClientCall

KEEPALIVE_S: Final = 40.0
"""A message that could not be delivered for so long breaks its connection."""
RETRANSMIT_S: Final = 0.2
"""While a link is dark, what was sent over it is tried again at this pace, seconds."""

Metadata = tuple[tuple[str, str | bytes], ...]
Serve = Callable[["ServedCall"], Awaitable["Status"]]
"""Answers a call; how it ended."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad a network is; all shares are of 1.

    Attributes:
        delay_s: The shortest and the longest time that a message usually takes, seconds.
        slow_share: How many messages take up to `slow_s` instead.
        slow_s: Seconds.
        break_share: How many messages are lost, and their call's connection with them.
        twice_share: How many calls with one request arrive twice.
    """

    delay_s: tuple[float, float] = (0.000_1, 0.001)
    slow_share: float = 0.0
    slow_s: float = 0.0
    break_share: float = 0.0
    twice_share: float = 0.0


class Status(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    trailing: Metadata = ()


class Opening(NamedTuple):
    """What a call begins with."""

    method: str
    metadata: Metadata
    deadline_s: float | None


RESET: Final = Status(grpc.StatusCode.UNAVAILABLE, "the connection broke")
REFUSED: Final = Status(grpc.StatusCode.UNAVAILABLE, "nobody listens there")
CANCELLED: Final = Status(grpc.StatusCode.CANCELLED, "cancelled by the client")


class VirtualNetwork:
    """Carries calls between processes of one loop.

    Args:
        loop: Whose time it is.
        faults: How bad it is; may be exchanged at any time.

    Attributes:
        counts: What happened: "messages", "broken", "twice", "slow", "refused".
    """

    def __init__(self, loop: VirtualLoop, faults: Faults | None = None) -> None:
        self.loop = loop
        self.faults = faults or Faults()
        self.counts: Counter[str] = Counter()
        self._listeners: dict[str, Listener] = {}
        self._dark: set[str] = set()

    def listen(self, process: Process, address: str, serve: Serve) -> None:
        """Serve calls in this process as long as it lives."""
        listener = self._listeners[address] = Listener(process, serve)
        process.on_kill.append(lambda: self._forget(address, listener))

    def find(self, address: str) -> Listener | None:
        """Who listens there."""
        return self._listeners.get(address)

    def darken(self, process_name: str) -> None:
        """Nothing reaches this process, and nothing comes from it, until `lighten`."""
        self._dark.add(process_name)

    def lighten(self) -> None:
        """All links work again."""
        self._dark.clear()

    def is_dark(self, *names: str) -> bool:
        """Whether one of these processes cannot be reached."""
        return not self._dark.isdisjoint(names)

    def _forget(self, address: str, listener: Listener) -> None:
        if self._listeners.get(address) is listener:
            del self._listeners[address]


class _Pipe:
    """One direction of one call: messages arrive in order, each in its own time."""

    def __init__(
        self,
        network: VirtualNetwork,
        source: Process,
        target: Process,
        chance: Random,
        lost: Callable[[], None],
    ) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._chance = chance
        self._lost = lost
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._closed = False

    def send(self, deliver: Callable[[], None], *, may_break: bool = True) -> None:
        """Let `deliver` run in the target, some time later."""
        if self._closed or not self._source.alive:
            return
        network, chance = self._network, self._chance
        faults = network.faults
        network.counts["messages"] += 1
        delay_s = chance.uniform(*faults.delay_s)
        if chance.random() < faults.slow_share:
            network.counts["slow"] += 1
            delay_s = chance.uniform(delay_s, faults.slow_s)
        if may_break and chance.random() < faults.break_share:
            network.counts["broken"] += 1
            deliver = self._lost
        at = network.loop.time() + delay_s
        if self._waiting:
            at = max(at, self._waiting[-1][0])
        self._waiting.append((at, deliver))
        if len(self._waiting) == 1:
            self._target.call_at(at, self._pump)

    def close(self) -> None:
        """Nothing more arrives."""
        self._closed = True
        self._waiting.clear()

    def _pump(self) -> None:
        now = self._network.loop.time()
        if self._network.is_dark(self._source.name, self._target.name) and self._waiting:
            if now - self._waiting[0][0] > KEEPALIVE_S:
                self._lost()
            else:
                self._target.call_at(now + RETRANSMIT_S, self._pump)
            return
        while self._waiting and self._waiting[0][0] <= now:
            # Out first: what is delivered may close the pipe.
            _, deliver = self._waiting.popleft()
            deliver()
        if self._waiting:
            self._target.call_at(self._waiting[0][0], self._pump)


class VirtualCall:
    """One call: `client` and `served`, its ends, see only what the pipes brought them."""

    def __init__(self, network: VirtualNetwork, process: Process, server: Listener) -> None:
        self.network = network
        self.process = process
        self.server = server
        # Chance of its own, so that calls do not depend on the order in which others go on.
        self._chance = Random(process.random.getrandbits(64))
        up, down = (Random(self._chance.getrandbits(64)) for _ in range(2))
        self.up = _Pipe(network, process, server.process, up, self.break_off)
        self.down = _Pipe(network, server.process, process, down, self.break_off)
        self.client: ClientCall | None = None
        self.served: ServedCall | None = None
        self._broken = False
        process.on_kill.append(self.break_off)
        server.process.on_kill.append(self.break_off)

    def break_off(self) -> None:
        """The connection is gone: both ends hear of it, each in its own time."""
        if self._broken:
            return
        self._broken = True
        self.up.close()
        self.down.close()
        now, chance = self.network.loop.time(), self._chance
        low, high = self.network.faults.delay_s
        if self.client is not None:
            self.process.call_at(now + chance.uniform(low, high), self.client.end, RESET)
        self.server.process.call_at(now + chance.uniform(low, high), self._end_served)

    def _end_served(self) -> None:
        if self.served is not None:
            self.served.cancel()

    def send_up(self, act: Callable[[ServedCall], object], *, may_break: bool = True) -> None:
        """Let something happen at the server's end, some time later."""

        def deliver() -> None:
            if self.served is not None:
                act(self.served)

        self.up.send(deliver, may_break=may_break)

    def send_down(self, act: Callable[[ClientCall], object]) -> None:
        """Let something happen at the client's end, some time later."""

        def deliver() -> None:
            if self.client is not None:
                act(self.client)

        self.down.send(deliver)

    def forget(self) -> None:
        """The call is over for its client: a later death of either end does not concern it."""
        for process in (self.process, self.server.process):
            with suppress(ValueError):
                process.on_kill.remove(self.break_off)


class ServedCall:
    """The server's end of a call; its messages are bytes.

    Attributes:
        method: Such as "/exchange.v1.OrderService/Trade".
        metadata: What the caller sent before its messages.
    """

    single = False

    def __init__(self, call: VirtualCall, opening: Opening) -> None:
        self.method = opening.method
        self.metadata = {n: v for n, v in opening.metadata if isinstance(v, str)}
        self.task: asyncio.Task[None] | None = None
        self._call = call
        self._deadline_s = opening.deadline_s
        self._requests: deque[bytes | None] = deque()
        self._news = asyncio.Event()
        self._callbacks: list[Callable[[], object]] = []
        self._done = False

    @property
    def left_s(self) -> float | None:
        """Seconds to the caller's deadline; None without one."""
        now = self._call.network.loop.time()
        return None if self._deadline_s is None else max(0.0, self._deadline_s - now)

    def on_end(self, callback: Callable[[], object]) -> None:
        """Call this once the call is over."""
        self._callbacks.append(callback)

    async def read(self) -> bytes | None:
        """The next request; None where the client has said that nothing follows."""
        while not self._requests:
            self._news.clear()
            await self._news.wait()
        if self._requests[0] is None:
            return None
        return self._requests.popleft()

    async def write(self, message: bytes) -> None:
        """Send a response."""
        self._call.send_down(lambda client: client.receive(message))
        await asyncio.sleep(0)

    def receive(self, data: bytes | None) -> None:
        """A request came, or the end of them."""
        self._requests.append(data)
        self._news.set()

    def cancel(self) -> None:
        """The client is gone."""
        if not self._done:
            if self.task is not None:
                self.task.cancel()
            self.finish()

    def finish(self) -> None:
        """The call is over for who serves it."""
        if not self._done:
            self._done = True
            for callback in self._callbacks:
                callback()


class Listener:
    """Who listens at an address."""

    def __init__(self, process: Process, serve: Serve) -> None:
        self.process = process
        self._serve = serve

    def accept(self, call: VirtualCall, opening: Opening) -> None:
        """A call has arrived."""
        served = call.served = ServedCall(call, opening)
        served.task = self.process.spawn(self._run(call, served))

    async def _run(self, call: VirtualCall, served: ServedCall) -> None:
        try:
            status = await self._serve(served)
        except asyncio.CancelledError:
            status = CANCELLED
        served.finish()
        call.send_down(lambda client: client.end(status))
