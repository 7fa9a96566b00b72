"""The gRPC server: all services behind one port, with health checking and reflection."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from exchange.gateway.admission import CALLS_MAX, Admission
from exchange.gateway.handlers import ApiHandlers
from exchange.gateway.open_services import OpenServices
from exchange.rpc.calls import MESSAGE_BYTES_MAX, Api
from exchange.rpc.drain import Drain
from exchange.rpc.methods import SERVICE_NAMES

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


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """Settings of the gRPC edge.

    Attributes:
        address: host:port to listen on; port 0 lets the system choose.
        reflection: Whether the schema can be asked for.
        files_kept: Open files that other edges of the process may take.
    """

    address: str
    reflection: bool = True
    files_kept: int = 0


def connections_max(files_max: int) -> int:
    """How many connections to take where the process may have `files_max` open files."""
    if files_max == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, files_max - FILES_RESERVED))


class GrpcServer:
    """Serves gRPC until stopped.

    Args:
        api: Who answers.
        config: Settings.
    """

    def __init__(self, api: Api, config: GrpcConfig) -> None:
        self._api = api
        self._config = config
        self.admission = Admission()
        self._drain = Drain()
        self._health = health.aio.HealthServicer()
        self._server = self._build()

    def _build(self) -> grpc.aio.Server:
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files_max != resource.RLIM_INFINITY:
            files_max -= self._config.files_kept
        server = grpc.aio.server(
            options=(
                *OPTIONS,
                ("grpc.max_allowed_incoming_connections", connections_max(files_max)),
            ),
            # Ours is met first, and its refusal says when to come back.
            maximum_concurrent_rpcs=2 * CALLS_MAX,
        )
        open_services: Any = OpenServices(self.admission, self._drain)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, open_services)
        if self._config.reflection:
            names = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            servicer: Any = reflection.aio.ReflectionServicer(names)
            add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
            add(servicer, open_services)
        server.add_generic_rpc_handlers((ApiHandlers(self._api, self.admission), open_services))
        return server

    async def start(self) -> int:
        """Begin to serve; the port.

        Raises:
            OSError: the address cannot be had.
        """
        address = self._config.address
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: is another exchange running?") from error
        await self._server.start()
        await self.set_serving(True)
        return port

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told."""
        kinds = health_pb2.HealthCheckResponse
        status = kinds.SERVING if serving else kinds.NOT_SERVING
        for name in ("", *SERVICE_NAMES):
            await self._health.set(name, status)

    async def begin_drain(self) -> None:
        """Tell health checks that no new work is taken."""
        await self._health.enter_graceful_shutdown()
        self._drain.begin()

    async def stop(self, grace_s: float) -> None:
        """Drain, let calls finish within the grace, and close the port.

        The engine must run until this returns: what is under way is still committed.
        """
        await self.begin_drain()
        await self._server.stop(grace_s)
