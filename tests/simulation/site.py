"""The exchange of a simulation: its real parts without sockets, on a disk that forgets and fails.

It lives in one process at a time; between two lives there are only the disk and the blobs.
"""

from __future__ import annotations

import asyncio
import errno
import functools
from collections.abc import Callable
from pathlib import Path
from random import Random

import grpc

from exchange.blobs import BlobStore
from exchange.core.limits import RULES_VERSION
from exchange.engine import Engine, EngineConfig, Group
from exchange.engine.opening import apply
from exchange.gateway.handlers import STATUS
from exchange.journal import JournalError, LocalLog
from exchange.journal.simulated import Fault, SimulatedDisk
from exchange.receipts import ReceiptStore
from exchange.recovery import Replica
from exchange.rpc.api import LocalApi
from exchange.rpc.errors import DETAILS_KEY, RpcError
from exchange.rpc.history import History
from exchange.rpc.outputs import OutputHub
from exchange.rpc.services import Services
from exchange.rpc.sessions import SessionConfig
from exchange.server.bootstrap import ensure_operator
from exchange.testing.network import ServedCall, Status, VirtualNetwork
from exchange.testing.virtual import Process, VirtualLoop
from tests.simulation.auditor import Auditor

ADDRESS = "exchange"
JOURNAL = Path("journal")
RECEIPTS = Path("receipts")
SEGMENT_BYTES = 32_768
"""Small, so that every run goes through several segments."""
GENESIS = b"simulation"
OPERATOR = "flx_" + "o" * 43
S = 1_000_000_000
SESSIONS = SessionConfig(heartbeat_ns=2 * S, reconnect_within_ns=5 * S)
SYNC_NS = (100_000, 400_000)
"""Shortest and longest time that the disk usually needs to make a write durable,"""
SLOW_SYNC_NS = 20_000_000
"""and what it needs once in fifty times."""
DURABLE = ("pwrite_durable", "wait", "fdatasync", "sync_directory")


class CoreBroke(Exception):
    """A group could not be applied."""


class Disk(SimulatedDisk):
    """A simulated disk that takes time, and that takes its process along where it crashes."""

    def attach(self, loop: VirtualLoop, process: Process) -> None:
        """Belong to this process from now on."""
        self._loop, self._process = loop, process

    def fail_at(self, at: int, fault: Fault) -> None:
        """Let a change fail, counted from now."""
        self._faults = {len(self.changes) + at: fault}

    def be_good(self) -> None:
        """Fail no more."""
        self._faults = {}

    def begin(self, operation: str, path: Path, size: int) -> Fault | None:
        fault = super().begin(operation, path, size)
        if operation in DURABLE:
            chance = self._process.random
            low, high = SYNC_NS
            slow = chance.random() < 0.02
            self._loop.now_ns += SLOW_SYNC_NS if slow else chance.randint(low, high)
        if fault is not None and fault.crash:
            self._process.kill()
        return fault

    def after_power_loss(self, chance: Random) -> Disk:
        """The disk that the next life finds."""
        after = Disk(write_mode=self._write_mode)
        vars(after).update(vars(self.crash(chance)))
        return after


async def serve(api: LocalApi, call: ServedCall) -> Status:
    """Answer a call of the network; how it ended."""
    try:
        await api.serve(call)
    except RpcError as error:
        details = ((DETAILS_KEY, error.details()),)
        return Status(STATUS[error.code], error.message, details)
    return Status(grpc.StatusCode.OK)


class Site:
    """Starts the exchange, and starts it again.

    Args:
        loop: Its time.
        network: Where it listens.
        directory: For blobs and the read model: real files.
        chance: Decides what a loss of power leaves.
        on_finding: Told of what should never happen.

    Attributes:
        lives: How often it was started.
        auditor: Reads everything.
        opened: Set once the first life serves.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        network: VirtualNetwork,
        directory: Path,
        chance: Random,
        on_finding: Callable[[BaseException], None],
    ) -> None:
        self.disk = Disk()
        self.auditor = Auditor()
        self.lives = 0
        self.opened = asyncio.Event()
        self.services: Services | None = None
        self.process: Process | None = None
        self._loop = loop
        self._network = network
        self._directory = directory
        self._chance = chance
        self._on_finding = on_finding
        self._ahead_ns = 0
        self._drift_ppm = 0
        self._breaks_in = 0
        self._taken_back = 0

    @property
    def alive(self) -> bool:
        """Whether the exchange runs."""
        return self.process is not None and self.process.alive

    def set_clock(self, ahead_ns: int, drift_ppm: int) -> None:
        """Step the machine's clock, and let it drift."""
        self._ahead_ns, self._drift_ppm = ahead_ns, drift_ppm
        if self.process is not None:
            self.process.clock_ahead_ns, self.process.clock_drift_ppm = ahead_ns, drift_ppm

    def break_disk(self, at: int, fault: Fault) -> None:
        """Let a change of the disk fail, counted from now."""
        self.disk.fail_at(at, fault)

    def break_core(self, groups: int) -> None:
        """Let the application of a group fail, counted from now: 1 for the next one."""
        self._breaks_in = groups

    def apply(self, replica: Replica, first_sequence: int, records: bytes) -> Group:
        """What the engine calls to apply a group that is being written."""
        group = apply(replica, first_sequence, records)
        self._breaks_in -= 1
        if self._breaks_in == 0:
            raise CoreBroke(first_sequence)
        return group

    def be_good(self) -> None:
        """Nothing fails any more."""
        self.disk.be_good()
        self._breaks_in = 0

    def start(self) -> None:
        """Begin a life."""
        assert not self.alive
        self.lives += 1
        process = self.process = self._loop.process(f"exchange-{self.lives}")
        self.set_clock(self._ahead_ns, self._drift_ppm)
        self.disk.attach(self._loop, process)
        running = process.spawn(self._run(process))
        process.on_kill.append(self._let_go)
        # In the director's own process: the dead hear nothing.
        running.add_done_callback(lambda task: self._ended(process, task))

    def kill(self) -> None:
        """Power is lost."""
        if self.process is not None:
            self.process.kill()

    async def _run(self, process: Process) -> None:
        """One life."""
        log = LocalLog(
            JOURNAL,
            rules_version=RULES_VERSION,
            genesis=GENESIS,
            segment_bytes=SEGMENT_BYTES,
            files=self.disk,
        )
        history, outputs = History(), OutputHub()

        def on_replay(group: Group) -> None:
            history.on_group(group)
            outputs.on_group(group)
            self.auditor.on_replay(group)

        config = EngineConfig(JOURNAL, genesis=GENESIS)
        engine = Engine.open(config, process, on_replay, log)
        self.auditor.recovered(engine.core)
        if self._taken_back:
            # The new epoch's own record has its place.
            assert engine.core.sequence == self._taken_back, "what was taken back is there"
            self._taken_back = 0
        engine.subscribe(self.auditor.on_group)
        blobs = BlobStore(self._directory / "blobs", self._directory / "master.key")
        # Files close when a process dies.
        process.on_kill.append(blobs.close)
        receipts = ReceiptStore(RECEIPTS, segment_bytes=SEGMENT_BYTES, files=self.disk)
        services = Services(engine, blobs, receipts, history, process, outputs)
        api = LocalApi(services, SESSIONS)
        running = asyncio.create_task(engine.run())
        await ensure_operator(engine, self._directory / "operator.key", OPERATOR)
        api.start()
        self.services = services
        self._network.listen(process, ADDRESS, functools.partial(serve, api))
        self.opened.set()
        await running

    def _let_go(self) -> None:
        self.services = None
        self.disk = self.disk.after_power_loss(self._chance)

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        """The life ended by itself: by a disk or a core that failed, or by a finding."""
        error = None if task.cancelled() else task.exception()
        process.kill()
        if isinstance(error, CoreBroke):
            [self._taken_back] = error.args
            if hasattr(error, "__notes__"):  # Not even that could be written.
                self._taken_back = 0
        elif not (isinstance(error, JournalError | OSError) and self._disk_failed(error)):
            self._on_finding(error or AssertionError("the engine stopped by itself"))

    @staticmethod
    def _disk_failed(error: BaseException) -> bool:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        return cause is not None and cause.errno in (errno.EIO, errno.ENOSPC)
