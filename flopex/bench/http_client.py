"""A load client of `flopex bench http`: closed loop, one process, so many requests at a time.

Reads one JSON line (`Load`), answers with one: how many answers came, how long each took from its
request to its end, and the CPU time of this process. Every answer is checked: its text must be what
the instant engine gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import grpc

from exchange.client.ids import uuid7
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from flopex.bench.latencies import Latencies

MODEL: Final = "instant"
PIECE: Final = "token "
VALUE_NANOS: Final = 1_000_000
REQUEST_WITHIN_S: Final = 30.0

Ask = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Load:
    """What to do.

    Attributes:
        kind: "grpc" (SubmitJob, then WatchJob to the end), "http" (a chat completion in one piece)
            or "stream" (one as server-sent events).
        target: host:port of gRPC.
        http: host:port of HTTP.
        key: API key.
        concurrency: Requests under way at a time.
        seconds: For how long new ones are begun.
        tokens: Length of each answer.
    """

    kind: str
    target: str
    http: str
    key: str
    concurrency: int
    seconds: float
    tokens: int


@contextlib.asynccontextmanager
async def _grpc(load: Load) -> Any:
    metadata = (("authorization", f"Bearer {load.key}"),)
    job_input = pb.JobInput(
        messages=[pb.ChatMessage(role="user", content="Hello.")], output_tokens_max=load.tokens
    )
    async with grpc.aio.insecure_channel(load.target) as channel:
        stub = JobServiceStub(channel)

        async def ask() -> str:
            request = pb.SubmitJobRequest(
                client_job_id=uuid7(), model=MODEL, input=job_input, value_nanos=VALUE_NANOS
            )
            answer = await stub.SubmitJob(request, metadata=metadata, timeout=REQUEST_WITHIN_S)
            watch = stub.WatchJob(
                pb.WatchJobRequest(job_id=answer.job.job_id),
                metadata=metadata,
                timeout=REQUEST_WITHIN_S,
            )
            return "".join([u.chunk.text async for u in watch if u.HasField("chunk")])

        yield ask


@contextlib.asynccontextmanager
async def _http(load: Load) -> Any:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello."}],
        "max_tokens": load.tokens,
        "stream": load.kind == "stream",
        "exchange": {"value": VALUE_NANOS},
    }
    headers = {"Authorization": f"Bearer {load.key}"}
    timeout = aiohttp.ClientTimeout(total=REQUEST_WITHIN_S)
    async with aiohttp.ClientSession(
        f"http://{load.http}", headers=headers, timeout=timeout
    ) as session:

        async def ask() -> str:
            async with session.post("/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                if load.kind == "http":
                    found: str = (await response.json())["choices"][0]["message"]["content"]
                    return found
                pieces: list[str] = []
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        chunk = json.loads(line[6:])
                        pieces += [c["delta"].get("content", "") for c in chunk["choices"]]
                return "".join(pieces)

        yield ask


async def run(load: Load) -> dict[str, Any]:
    """Send requests for so long; the JSON object of what came.

    Raises:
        RuntimeError: an answer was not the engine's.
    """
    expected = PIECE * load.tokens
    found = Latencies()
    async with (_grpc if load.kind == "grpc" else _http)(load) as ask:
        # Connections are made, and the worker has come, before the clock starts.
        await asyncio.gather(*[ask() for _ in range(load.concurrency)])
        cpu_s, began_s = time.process_time(), time.monotonic()

        async def loop() -> None:
            while (at_s := time.monotonic()) < began_s + load.seconds:
                answer = await ask()
                if answer != expected:
                    raise RuntimeError(f"{answer!r} came in place of {expected!r}")
                found.add([int((time.monotonic() - at_s) * 1e6)])

        await asyncio.gather(*[loop() for _ in range(load.concurrency)])
        return {
            "answers": len(found),
            "elapsed_s": time.monotonic() - began_s,
            "cpu_s": time.process_time() - cpu_s,
            "latencies": found.counts,
        }


def main() -> None:
    """`python -m flopex.bench.http_client`, with the load on standard input."""
    load = Load(**json.loads(sys.stdin.readline()))
    print(json.dumps(asyncio.run(run(load))), flush=True)


if __name__ == "__main__":
    main()
