"""What it costs to tell many: WebSocket subscribers of one book, and when each learns of a change.

Server and subscribers are two processes of one machine with one clock. A subscriber does no more
than it must: it counts frames and reads the time that a message carries, so that what is measured
is the exchange. The delay of a message is from the commit of the change (its journal time) to its
arrival at that subscriber; a slow machine's own delays are in it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

from flopex.bench.fanout_server import INSTRUMENT
from flopex.bench.latencies import Latencies
from flopex.bench.machine import machine

OPENING_AT_ONCE: Final = 50
"""Subscribers that connect at the same time."""
FILES_KEPT: Final = 64
WITHIN_S: Final = 60.0
_TIME: Final = b'"event_time_ns":"'
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured.

    Attributes:
        subscribers: WebSockets that read everything.
        slow: WebSockets beside them that read nothing.
        per_s: Changes of the book each second, at most 50 of which are told.
        seconds: How long.
    """

    subscribers: int
    slow: int
    per_s: float
    seconds: float


class Subscriber(asyncio.Protocol):
    """One WebSocket: a handshake, a subscription, and then arrivals.

    Args:
        key: Of any account.
        host: For the handshake.
        latencies: Gets the delay of each message, once `counting` is set on the class.
    """

    counting = False

    def __init__(self, key: str, host: str, latencies: Latencies) -> None:
        self._key = key
        self._host = host
        self._latencies = latencies
        self._buffer = bytearray()
        self._open = False
        self.messages = 0
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        nonce = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws/v1/market HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {self._key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Whatever has come."""
        now_ns = time.time_ns()
        self._buffer += data
        if not self._open:
            self._shake_hands()
        while self._open and (text := self._frame()) is not None:
            self._take(text, now_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; before it began that is an error."""
        if not self.subscribed.done():
            self.subscribed.set_exception(exc or ConnectionError("the exchange hung up"))

    def _shake_hands(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionError(head.splitlines()[0].decode())
        self._open = True
        self._buffer = rest
        said = {"method": "subscribe", "channel": "book", "instrument": INSTRUMENT, "id": 1}
        text = json.dumps(said).encode()
        # Clients must mask what they send; a mask of zeros leaves it as it is.
        self.transport.write(bytes((0x81, 0x80 | _LENGTH_16)) + len(text).to_bytes(2, "big"))
        self.transport.write(bytes(4) + text)

    def _frame(self) -> bytes | None:
        """The next whole frame's content."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1], 2
        if length == _LENGTH_16:
            length, start = int.from_bytes(buffer[2:4], "big"), 4
        elif length == _LENGTH_64:
            length, start = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < start + length:
            return None
        text = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return text

    def _take(self, text: bytes, now_ns: int) -> None:
        at = text.find(_TIME)
        if at < 0:
            if not self.subscribed.done():
                self.subscribed.set_result(None)
            return
        if Subscriber.counting:
            begin = at + len(_TIME)
            told_ns = int(text[begin : text.index(b'"', begin)])
            self.messages += 1
            self._latencies.add([(now_ns - told_ns) // 1_000])


async def run(settings: Settings) -> dict[str, Any]:
    """Measure once.

    Raises:
        OSError: The machine allows too few open files.
    """
    _allow_files(settings.subscribers + settings.slow + FILES_KEPT)
    with tempfile.TemporaryDirectory(prefix="flopex-fanout-") as directory:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "flopex.bench.fanout_server",
            directory, str(settings.per_s),
            stdin=PIPE, stdout=PIPE,
            process_group=0,  # Ctrl-C at a terminal is for us, who end it
        )  # fmt: skip
        try:
            ready = await _line(server)
            async with AsyncExitStack() as stack:
                found = await _measure(settings, server, ready, stack)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            await server.wait()
    return {"settings": asdict(settings), "machine": machine(), **found}


async def _measure(
    settings: Settings, server: Process, ready: dict[str, Any], stack: AsyncExitStack
) -> dict[str, Any]:
    latencies = Latencies()
    host, (key, slow_key) = ready["http"], ready["keys"]
    readers = await _open(settings.subscribers, host, key, latencies, stack)
    for slow in await _open(settings.slow, host, slow_key, Latencies(), stack):
        slow.transport.pause_reading()
    before, began = await _cpu_s(server), time.monotonic()
    Subscriber.counting = True
    await asyncio.sleep(settings.seconds)
    Subscriber.counting = False
    cpu_s, took_s = await _cpu_s(server) - before, time.monotonic() - began
    counts = sorted(reader.messages for reader in readers)
    told = sum(counts)
    return {
        "messages": told,
        "messages_per_s": round(told / took_s),
        "each_least": counts[0],
        "each_most": counts[-1],
        "delay_p50_ms": latencies.percentile_ms(0.5),
        "delay_p99_ms": latencies.percentile_ms(0.99),
        "delay_max_ms": latencies.percentile_ms(1),
        "server_cpu_share": round(cpu_s / took_s, 3),
        "server_cpu_us_per_message": round(cpu_s / max(1, told) * 1e6, 1),
    }


async def _open(
    count: int, address: str, key: str, latencies: Latencies, stack: AsyncExitStack
) -> list[Subscriber]:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    opened: list[Subscriber] = []
    while len(opened) < count:
        some = [
            Subscriber(key, address, latencies)
            for _ in range(min(OPENING_AT_ONCE, count - len(opened)))
        ]
        for subscriber in some:
            await loop.create_connection(lambda made=subscriber: made, host, int(port))  # type: ignore[misc]
            stack.callback(subscriber.transport.abort)
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(*(subscriber.subscribed for subscriber in some))
        opened += some
    return opened


async def _cpu_s(server: Process) -> float:
    assert server.stdin is not None
    server.stdin.write(b"\n")
    return float((await _line(server))["cpu_s"])


async def _line(server: Process) -> dict[str, Any]:
    assert server.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        found: dict[str, Any] = json.loads(await server.stdout.readline())
    return found


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise OSError(f"{wanted} open files are needed, and {hard} allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
