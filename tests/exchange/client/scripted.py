"""Small gRPC servers that do what a test's script says, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from exchange.client import AsyncClient, RetryPolicy
from exchange.rpc.errors import RpcError
from exchange.v1 import (
    account_service_pb2_grpc,
    admin_service_pb2_grpc,
    job_service_pb2_grpc,
    market_data_service_pb2_grpc,
    order_service_pb2_grpc,
    worker_service_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]
KEY: Final = "flx_" + "k" * 43
QUICK: Final = RetryPolicy(first_s=0.01, longest_s=0.05, reconnect_s=5.0)

_ADD: Final[tuple[tuple[type, Any], ...]] = (
    (
        account_service_pb2_grpc.AccountServiceServicer,
        account_service_pb2_grpc.add_AccountServiceServicer_to_server,
    ),
    (
        admin_service_pb2_grpc.AdminServiceServicer,
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server,
    ),
    (
        job_service_pb2_grpc.JobServiceServicer,
        job_service_pb2_grpc.add_JobServiceServicer_to_server,
    ),
    (
        market_data_service_pb2_grpc.MarketDataServiceServicer,
        market_data_service_pb2_grpc.add_MarketDataServiceServicer_to_server,
    ),
    (
        order_service_pb2_grpc.OrderServiceServicer,
        order_service_pb2_grpc.add_OrderServiceServicer_to_server,
    ),
    (
        worker_service_pb2_grpc.WorkerServiceServicer,
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server,
    ),
)


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def serving(*servicers: object, port: int = 0) -> AsyncIterator[str]:
    """host:port of a server with these servicers."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    for servicer in servicers:
        for kind, add in _ADD:
            if isinstance(servicer, kind):
                add(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def connected(*servicers: object, **settings: Any) -> AsyncIterator[AsyncClient]:
    """A client of a server with these servicers; it tries again quickly."""
    async with (
        serving(*servicers) as target,
        AsyncClient(target, KEY, **({"retry": QUICK} | settings)) as client,
    ):
        yield client


async def fail(
    context: Context,
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    reason: str = "DRAINING",
    retry_after_ns: int = 0,
) -> None:
    """End a call as the exchange does."""
    await RpcError(code, reason, "as the script says", retry_after_ns=retry_after_ns).send(context)


async def until(condition: Callable[[], bool], wait_s: float = 10.0) -> None:
    """Return once the condition holds; look at it often."""
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110 - what is waited for raises no event
            await asyncio.sleep(0.005)
