"""Small gRPC servers that do what a test's script says, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from exchange.client import AsyncClient, RetryPolicy
from exchange.gateway.handlers import send
from exchange.rpc.errors import Code, RpcError
from exchange.v1 import (
    account_service_pb2_grpc,
    admin_service_pb2_grpc,
    job_service_pb2_grpc,
    market_data_service_pb2_grpc,
    order_service_pb2_grpc,
    webhook_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from tests.waiting import WITHIN_S

Context = grpc.aio.ServicerContext[Any, Any]
KEY: Final = "flx_" + "k" * 43
QUICK: Final = RetryPolicy(first_s=0.01, longest_s=0.05, reconnect_s=WITHIN_S)

_SERVICES: Final[dict[str, Any]] = {
    "AccountService": account_service_pb2_grpc,
    "AdminService": admin_service_pb2_grpc,
    "JobService": job_service_pb2_grpc,
    "MarketDataService": market_data_service_pb2_grpc,
    "OrderService": order_service_pb2_grpc,
    "WebhookService": webhook_service_pb2_grpc,
    "WorkerService": worker_service_pb2_grpc,
}


@contextlib.asynccontextmanager
async def serving(script: object, port: int = 0) -> AsyncIterator[str]:
    """host:port of a server whose methods are the script's; the others are UNIMPLEMENTED."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    for name, module in _SERVICES.items():
        servicer = getattr(module, f"{name}Servicer")()
        for method in {n for n in dir(script) if n[0].isupper()} & set(dir(servicer)):
            setattr(servicer, method, getattr(script, method))
        getattr(module, f"add_{name}Servicer_to_server")(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def connected(script: object, **settings: Any) -> AsyncIterator[AsyncClient]:
    """A client of a server with this script; it tries again quickly."""
    async with (
        serving(script) as target,
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
    number: int = code.value[0]
    error = RpcError(Code(number), reason, "as the script says", retry_after_ns=retry_after_ns)
    await send(error, context)


async def until(condition: Callable[[], bool], wait_s: float = WITHIN_S) -> None:
    """Return once the condition holds; look at it often."""
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110 - what is waited for raises no event
            await asyncio.sleep(0.005)
