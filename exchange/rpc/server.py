"""The gRPC server: all services behind one port, with health checking and reflection."""

from __future__ import annotations

import resource
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from exchange.rpc.accounts import AccountServicer
from exchange.rpc.admin import AdminServicer
from exchange.rpc.interceptors.calls import CallInterceptor
from exchange.rpc.job_blobs import JobBlobs
from exchange.rpc.jobs import JobServicer
from exchange.rpc.market_data import MarketDataServicer
from exchange.rpc.orders import OrderServicer
from exchange.rpc.services import MESSAGE_BYTES_MAX, STREAMS_MAX, Services
from exchange.rpc.sessions import SessionConfig, SessionHub
from exchange.rpc.workers import WorkerServicer
from exchange.v1 import (
    account_service_pb2_grpc,
    admin_service_pb2_grpc,
    job_service_pb2_grpc,
    market_data_service_pb2_grpc,
    order_service_pb2_grpc,
    worker_service_pb2_grpc,
)

SERVICE_NAMES: Final = (
    "exchange.v1.AccountService",
    "exchange.v1.AdminService",
    "exchange.v1.JobService",
    "exchange.v1.MarketDataService",
    "exchange.v1.OrderService",
    "exchange.v1.WorkerService",
)

CONNECTIONS_MAX: Final = 4_096
"""Connections open at the same time; fewer where the process may not open so many files."""
FILES_RESERVED: Final = 128
"""Open files kept for the journal and the stores: connections never take these."""

OPTIONS: Final = (
    # Two servers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", 2 * MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ping this often; the name with "recv" in it is ignored by gRPC.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Whoever connects and does not speak HTTP/2 soon, or makes no call for long, is let go.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
)


def connections_max(files_max: int) -> int:
    """How many connections to take where the process may have `files_max` open files."""
    if files_max == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, files_max - FILES_RESERVED))


class RpcServer:
    """Serves gRPC until stopped.

    Args:
        services: What the servicers work with; its hubs are made here.
        sessions: How long workers may be silent or away.
    """

    def __init__(self, services: Services, sessions: SessionConfig | None = None) -> None:
        self._services = services
        services.job_blobs = JobBlobs(services)
        services.sessions = SessionHub(services, sessions)
        # Before the servicers' own readers, so that what those read is up to date.
        for reader in (
            services.history,
            services.outputs,
            services.job_blobs,
            services.sessions,
            services.open_calls,
        ):
            services.engine.subscribe(reader.on_group)
        self._health = health.aio.HealthServicer()
        self._server = self._build()

    def _build(self) -> grpc.aio.Server:
        services = self._services
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files_max != resource.RLIM_INFINITY:
            files_max -= services.config.files_kept
        server = grpc.aio.server(
            interceptors=(CallInterceptor(services),),
            options=(
                *OPTIONS,
                ("grpc.max_allowed_incoming_connections", connections_max(files_max)),
            ),
            maximum_concurrent_rpcs=STREAMS_MAX,
        )
        account_service_pb2_grpc.add_AccountServiceServicer_to_server(
            AccountServicer(services), server
        )
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(services), server)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(services), server)
        market_data_service_pb2_grpc.add_MarketDataServiceServicer_to_server(
            MarketDataServicer(services), server
        )
        order_service_pb2_grpc.add_OrderServiceServicer_to_server(OrderServicer(services), server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(
            WorkerServicer(services), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if services.config.reflection:
            names = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        return server

    async def start(self) -> int:
        """Begin to serve; the port.

        Raises:
            OSError: the address cannot be had.
        """
        address = self._services.config.address
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: is another exchange running?") from error
        self._services.job_blobs.start()
        self._services.sessions.start()
        await self._server.start()
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", *SERVICE_NAMES):
            await self._health.set(name, serving)
        return port

    async def stop(self, grace_s: float) -> None:
        """Say goodbye on every stream, let calls finish within the grace, and close the port.

        The engine must run until this returns: what is under way is still committed.
        """
        await self._health.enter_graceful_shutdown()
        self._services.drain.begin()
        await self._server.stop(grace_s)
        await self._services.sessions.stop()
        await self._services.job_blobs.stop()
