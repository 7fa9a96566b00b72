"""The whole exchange: engine, stores, the API beside them, and the edges before it.

The edges are in this process or, for load, in one of their own; nothing else knows which.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from exchange.blobs import BlobStore
from exchange.engine import Clock, Engine, EngineConfig, Group, Recovery, SystemClock
from exchange.http.sources import Sources
from exchange.http.views import LocalViews
from exchange.journal import JournalMissing, SnapshotStore, has_journal
from exchange.readmodel.database import check_url
from exchange.readmodel.model import QUESTIONS_MAX, ReadModel
from exchange.readmodel.traces import TracesUnavailable, check_target
from exchange.receipts import ReceiptStore
from exchange.recovery import SnapshotConfig, SnapshotKeeper, collecting_paused
from exchange.rpc.api import LocalApi
from exchange.rpc.history import History
from exchange.rpc.outputs import OutputHub
from exchange.rpc.services import Services
from exchange.rpc.streams import Queue
from exchange.server.bootstrap import ensure_operator
from exchange.server.config import ServerConfig
from exchange.server.gateway_process import GatewayProcess
from exchange.server.helpers import Helper
from exchange.server.read_model import (
    ReadModelProcess,
    ReadModelThread,
    read_model_url,
)
from exchange.server.recollection import recollect
from exchange.server.webhooks import Webhooks
from exchange.webhooks.store import FILE as WEBHOOKS_FILE

GRACE_DEFAULT_S: Final = 10.0
COLLECT_DIVISOR_APART: Final = 4
"""The engine's `collect_divisor` where the gateway is a process of its own (docs/adr/0022)."""
GC_THRESHOLDS: Final = (50_000, 5, 1_000_000)
"""Of `gc.set_threshold`. The hot path makes many short-lived lists and no cycles, so the youngest
objects are looked at seldom. The oldest never are: among millions that takes a good part of a
second, in which nobody is answered. A cycle that grew old before it was garbage (of a long stream
that ended by an error, some kilobytes) stays until the process ends."""

_log = structlog.get_logger(__name__)


class ServerFailed(Exception):
    """The exchange had to stop: the process must end with a status other than zero."""


class EdgesLike(Protocol):
    """gRPC and HTTP, wherever they run: `Edges` or `GatewayProcess`."""

    address: str
    http_address: str

    async def start(self) -> None:
        """Begin to serve."""
        ...

    async def begin_drain(self) -> None:
        """Tell health checks that no new work is taken."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Drain, let calls finish within the grace, and close the ports."""
        ...


class Server:
    """An exchange that can be started and stopped once.

    Args:
        config: Settings.
        clock: Where the time comes from.
    """

    def __init__(self, config: ServerConfig, clock: Clock | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._closing = contextlib.ExitStack()
        self._engine: Engine | None = None
        self._running: asyncio.Task[None] | None = None
        self._snapshots: SnapshotKeeper | None = None
        self._api: LocalApi | None = None
        self._edges: EdgesLike | None = None
        self._feeding: Helper | None = None
        self._read_model: ReadModel | None = None
        self._webhooks: Webhooks | None = None
        self.services: Services
        self.operator_secret: str | None = None

    @property
    def engine(self) -> Engine:
        """The running engine."""
        assert self._engine is not None, "the server was not started"
        return self._engine

    @property
    def edges(self) -> EdgesLike:
        """GRPC and HTTP."""
        assert self._edges is not None, "the server was not started"
        return self._edges

    @property
    def read_model_feeder(self) -> Helper | None:
        """What feeds the read model; None where there is none."""
        return self._feeding

    @property
    def address(self) -> str:
        """host:port of gRPC."""
        return self.edges.address

    @property
    def http_address(self) -> str:
        """host:port of HTTP; empty without it."""
        return self.edges.http_address

    @property
    def recovered(self) -> Recovery:
        """What start-up found in the journal."""
        return self.engine.recovered

    async def start(self) -> None:
        """Recover, begin to commit, begin to serve.

        Raises:
            JournalError: the journal is in use, damaged, of another exchange or version, or gone.
            BlobError: the blob store cannot be opened.
            ReceiptsError: the receipts cannot be opened.
            ReadModelUrlInvalid: the read model's URL names no database that is known.
            TracesUnavailable: traces are wanted and cannot be made, or not sent to that target.
            OSError: the address or the data directory cannot be had.
            ValueError: the given operator secret is no API key.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(0)
            raise

    async def _start(self) -> None:
        config = self.config
        if url := read_model_url(config.directory, config.read_model):
            check_url(url)
        if config.traces:
            check_target(config.traces)
            if not url:
                raise TracesUnavailable("traces are made with the read model, which is off")
        config.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_lost_journal(config.directory)
        history = History()
        outputs = OutputHub()

        def on_replay(group: Group) -> None:
            history.on_group(group)
            outputs.on_group(group)

        engine_config = EngineConfig(
            config.directory / "journal",
            segment_bytes=config.segment_bytes,
            write_mode=config.write_mode,
            cut_damaged_tail=config.cut_damaged_tail,
            snapshots=config.directory / "snapshots",
            collect_divisor=COLLECT_DIVISOR_APART if config.gateway_command else 1,
            prepare_in_thread=True,
        )
        engine = self._engine = Engine.open(engine_config, self._clock, on_replay)
        self._snapshots = _keep_snapshots(engine, engine_config, config.snapshots)
        self._running = asyncio.create_task(engine.run())
        read_model = await self._start_read_model(engine)
        if read_model is not None:
            await recollect(
                engine.core, engine.recovered.replayed_from, read_model, history, outputs
            )
        blobs = BlobStore(config.directory / "blobs", config.directory / "master.key")
        self._closing.callback(blobs.close)
        receipts = ReceiptStore(
            config.directory / "receipts", cut_damaged_tail=config.cut_damaged_tail
        )
        self._closing.callback(receipts.close)
        self.services = Services(engine, blobs, receipts, history, self._clock, outputs, read_model)
        if read_model is not None:
            waiting = Queue(lambda: read_model.questions, QUESTIONS_MAX)
            self.services.queues["read_model_questions"] = waiting
        # Before the first turn of the engine, so that the readers of its feed miss nothing.
        webhooks = self._open_webhooks(engine, url).servicer if read_model is not None else None
        api = self._api = LocalApi(self.services, config.sessions, webhooks)
        edges = self._edges = self._make_edges(api)
        self.operator_secret = await ensure_operator(
            engine, config.operator_key_path, config.operator_secret
        )
        await edges.start()
        # From now on workers can come back, so from now on they are waited for.
        api.start()
        if self._webhooks is not None:
            await self._webhooks.start()
        _log.info(
            "the exchange is open",
            address=self.address,
            http_address=self.http_address,
            directory=str(config.directory),
            records=engine.recovered.records,
            torn_tail=engine.recovered.torn_tail,
            receipts=receipts.count,
            receipts_torn_tail=receipts.torn_tail,
            recovery_s=round(engine.recovered.elapsed_s, 3),
            snapshot=engine.recovered.snapshot and engine.recovered.snapshot.name,
        )

    async def _start_read_model(self, engine: Engine) -> ReadModel | None:
        """Start its process; it reads the journal, so nothing that happens from now on is lost."""
        url = read_model_url(self.config.directory, self.config.read_model)
        if not url:
            return None
        feeder = ReadModelProcess if self.config.read_model_process else ReadModelThread
        directory = self.config.directory
        self._feeding = feeder(
            directory / "journal", directory / "snapshots", url, self.config.traces
        )
        await self._feeding.start()
        self._read_model = ReadModel(url, lambda: engine.core.sequence, self.config.fresh_within_s)
        self._read_model.start()
        return self._read_model

    def _open_webhooks(self, engine: Engine, url: str) -> Webhooks:
        config = self.config
        self._webhooks = Webhooks(
            config.directory / WEBHOOKS_FILE,
            url,
            engine,
            allow_private=config.webhooks_private,
            process=config.read_model_process,
        )
        return self._webhooks

    def _make_edges(self, api: LocalApi) -> EdgesLike:
        config = self.config
        views = LocalViews(_sources(self.services), alone=bool(config.gateway_command))
        if config.gateway_command:
            return GatewayProcess(api, views, config.edges, config.gateway_command)
        from exchange.server.edges import Edges, allow_open_files

        allow_open_files()
        return Edges(api, views, config.edges)

    async def wait(self) -> None:
        """Return when the server was stopped.

        Raises:
            ServerFailed: the engine could not go on, or the gateway does not stay up; nothing
                unwritten was published.
        """
        assert self._running is not None
        waiting: list[asyncio.Future[None]] = [self._running]
        if isinstance(self._edges, GatewayProcess):
            waiting.append(self._edges.failed)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for name, future in zip(("engine", "gateway"), waiting, strict=False):
            if future.done() and (error := future.exception()) is not None:
                raise ServerFailed(f"the {name} stopped: {error}") from error

    async def begin_drain(self) -> None:
        """Take no new work, and say goodbye on every stream."""
        assert self._api is not None, "the server was not started"
        assert self._edges is not None
        self._api.drain()
        await self._edges.begin_drain()

    async def stop(self, grace_s: float = GRACE_DEFAULT_S) -> None:
        """Drain: refuse new work, say goodbye, let calls finish, commit what waits, close.

        Args:
            grace_s: Seconds that calls get to finish.
        """
        if self._api is not None and self._edges is not None:
            await self.begin_drain()
            await self._edges.stop(grace_s)
        if self._api is not None:
            await self._api.stop()
        if self._engine is not None and self._running is not None:
            await self._engine.stop()
            # What it failed of, if it did, is told by `wait`.
            await asyncio.gather(self._running, return_exceptions=True)
            if self._snapshots is not None:
                failed = self._running.cancelled() or self._running.exception() is not None
                await self._snapshots.stop(publish=not failed)
        if self._webhooks is not None:
            await self._webhooks.stop()
        if self._feeding is not None:
            await self._feeding.stop()
        if self._read_model is not None:
            await self._read_model.close()
        self._closing.close()


def _keep_snapshots(engine: Engine, config: EngineConfig, when: SnapshotConfig) -> SnapshotKeeper:
    """Take snapshots of a running engine from now on."""
    assert config.snapshots is not None
    last = engine.recovered.snapshot
    keeper = SnapshotKeeper(
        config.directory,
        config.snapshots,
        config.genesis,
        when,
        engine.replica,
        int(last.stem) if last is not None else 0,
    )
    engine.stats.snapshots = keeper.stats
    engine.subscribe(keeper.on_group)
    return keeper


def _refuse_lost_journal(directory: Path) -> None:
    """Go on where there is a journal, or where nothing shows that there was one.

    The first start makes the journal before anything else.

    Raises:
        JournalMissing: it is gone.
    """
    journal = directory / "journal"
    if has_journal(journal):
        return
    seal, receipts = directory / "blobs" / "SEAL", directory / "receipts"
    traces = [seal] if seal.exists() else []
    traces += [receipts] if has_journal(receipts) else []
    traces += SnapshotStore(directory / "snapshots").paths()[:1]
    if traces:
        raise JournalMissing(journal, traces)


def _sources(services: Services) -> Sources:
    """What HTTP may read: neither edge knows the other."""
    return Sources(
        engine=services.engine,
        recent_trades=services.history.trades,
        is_connected=services.sessions.is_connected,
        sessions=lambda: services.sessions.connected,
        streams=lambda: services.streams,
        counters=lambda: services.counters,
        queues=lambda: {n: (q.depth(), q.limit) for n, q in services.queues.items()},
        read_model=lambda: services.read_model,
        draining=lambda: services.drain.active,
    )


async def serve(
    config: ServerConfig,
    on_started: Callable[[Server], None] | None = None,
    grace_s: float = GRACE_DEFAULT_S,
) -> None:
    """Run an exchange until SIGTERM or SIGINT, then drain it.

    Args:
        config: Settings.
        on_started: Told once the address is known.
        grace_s: Seconds that calls get to finish.

    Raises:
        ServerFailed: the journal could not be written, or an invariant broke.
        Exception: start-up failed, as `Server.start` says.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    server = Server(config)
    with collecting_paused():  # a state that was just loaded holds no garbage
        await server.start()
        gc.freeze()
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    failing = asyncio.create_task(server.wait())
    stopping = asyncio.create_task(signalled.wait())
    try:
        if on_started is not None:
            on_started(server)
        await asyncio.wait((failing, stopping), return_when=asyncio.FIRST_COMPLETED)
        failed = failing.done()
        _log.info("the exchange drains" if not failed else "the exchange failed")
        await server.stop(0 if failed else grace_s)
        await failing
    finally:
        stopping.cancel()
        failing.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
