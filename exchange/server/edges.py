"""The exchange's doors: gRPC and HTTP, in the process that this runs in."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exchange.gateway.admission import Admission
from exchange.gateway.grpc_server import CONNECTIONS_MAX, FILES_RESERVED, GrpcConfig, GrpcServer
from exchange.http.app import HttpServer
from exchange.http.calls import Calls
from exchange.http.listener import CONNECTIONS_MAX as HTTP_CONNECTIONS_MAX
from exchange.http.listener import connections_max
from exchange.http.views import Views
from exchange.link.gateway_end import RemoteApi
from exchange.rpc.calls import Api
from exchange.server.config import EdgesConfig

BOUNDS: Final = ("CALLS_MAX", "OPEN_CALLS_MAX")
"""What calls may be refused by before they are passed on."""


class Edges:
    """Both servers, over one `Api` and one set of `Views`.

    Args:
        api: Answers calls.
        views: Answer what HTTP asks.
        config: Settings.
        link: What leads to the engine's process; None where it is this one.

    Attributes:
        address: host:port of gRPC, once started.
        http_address: host:port of HTTP; empty without it.
    """

    def __init__(
        self, api: Api, views: Views, config: EdgesConfig, link: RemoteApi | None = None
    ) -> None:
        http_connections = connections_max(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        grpc_config = GrpcConfig(
            config.address,
            reflection=config.reflection,
            files_kept=http_connections if config.http_address else 0,
        )
        self._config = config
        self._grpc = GrpcServer(api, grpc_config)
        self._http: HttpServer | None = None
        if config.http_address:
            admission = self._grpc.admission
            collector = GatewayCollector(admission, link)
            calls = Calls(api, admission.admit)
            self._http = HttpServer(
                calls,
                views,
                config.http_address,
                http_connections,
                collector,
                config.default_values,
            )
        self.address = ""
        self.http_address = ""

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            OSError: an address cannot be had.
            ValueError: an address is not host:port.
        """
        self.address = _with_port(self._config.address, await self._grpc.start())
        if self._http is not None:
            self.http_address = _with_port(self._config.http_address, await self._http.start())

    async def begin_drain(self) -> None:
        """Tell health checks that no new work is taken."""
        await self._grpc.begin_drain()

    async def stop(self, grace_s: float) -> None:
        """Drain, let calls finish within the grace, and close the ports; may be called again."""
        await self._grpc.stop(grace_s)
        if self._http is not None:
            # Until here it has told that the exchange drains.
            await self._http.stop()


def allow_open_files() -> None:
    """Raise the process's own limit of open files; shells and service managers set it low."""
    wanted = CONNECTIONS_MAX + HTTP_CONNECTIONS_MAX + FILES_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class GatewayCollector(Collector):
    """What is let in, as metrics."""

    def __init__(self, admission: Admission, link: RemoteApi | None) -> None:
        self._admission = admission
        self._link = link

    def describe(self) -> Iterable[Metric]:
        """Nothing is computed at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of them now."""
        admission = self._admission
        for name, text, value in (
            ("flopex_gateway_calls", "Calls and streams under way", admission.calls),
            ("flopex_gateway_open_calls", "Those without a key", admission.open_calls),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        family = CounterMetricFamily(
            "flopex_gateway_refused", "Calls refused at once, by the bound met", labels=["bound"]
        )
        refused = {bound: admission.refused[bound] for bound in BOUNDS}
        if self._link is not None:
            refused["BUFFER_BYTES_MAX"] = self._link.refused
        for bound, count in refused.items():
            family.add_metric([bound], count)
        yield family
        if self._link is not None:
            yield from _link_metrics(self._link)


def _link_metrics(link: RemoteApi) -> Iterator[Metric]:
    yield GaugeMetricFamily("flopex_link_calls", "Calls on the link to the engine", value=len(link))
    yield GaugeMetricFamily(
        "flopex_link_full", "1 while the engine takes less than comes", value=int(link.full)
    )
    yield GaugeMetricFamily(
        "flopex_link_unread_bytes",
        "What waits for the caller who reads slowest",
        value=link.deepest(),
    )
    family = CounterMetricFamily(
        "flopex_link_bytes", "Bytes between gateway and engine", labels=["direction"]
    )
    family.add_metric(["to_engine"], link.sent_bytes)
    family.add_metric(["from_engine"], link.received_bytes)
    yield family


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"
