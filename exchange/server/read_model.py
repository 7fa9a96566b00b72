"""What feeds the read model beside the exchange: started, watched, started again.

The exchange goes on without it: what it gives nobody must lose, and it catches up by itself. It is
a process of its own where the exchange serves the public, so that it never holds the interpreter
up; a thread does where everything is to be in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from threading import Event, Thread
from typing import Final

import msgspec
import structlog

from exchange.journal import JournalError
from exchange.readmodel.database import sqlite_url
from exchange.readmodel.errors import ReadModelError
from exchange.readmodel.follow import follow
from exchange.readmodel.traces import closing_traces

OFF: Final = "off"
"""In place of a URL: no read model."""
RESTART_MIN_S: Final = 0.5
RESTART_MAX_S: Final = 30.0
"""How long after its end it is started again; the wait doubles while it does not last."""
LASTED_S: Final = 60.0
"""Whoever ran for so long has not failed at once."""
STOP_WITHIN_S: Final = 5.0
"""How long it gets to catch up at the end before it is killed."""

LEVELS: Final = frozenset({"debug", "info", "warning", "error"})
"""Levels of log lines that a process may have."""

_log = structlog.get_logger(__name__)


def read_model_url(directory: Path, asked: str) -> str:
    """The URL of the read model: as asked for, or of a file in the data directory; "" for none."""
    if asked == OFF:
        return ""
    return asked or sqlite_url(directory / "read-model" / "read-model.sqlite3")


class ReadModelFeeder(ABC):
    """Feeds the read model from a journal until stopped.

    Args:
        journal: The journal's folder; it holds a segment.
        snapshots: The snapshots' folder.
        url: Of the database.
        traces: Where traces of jobs go (`exchange.readmodel.traces`); empty: nowhere.
    """

    def __init__(self, journal: Path, snapshots: Path, url: str, traces: str = "") -> None:
        self._journal = journal
        self._snapshots = snapshots
        self._url = url
        self._traces = traces
        self.restarts = 0

    @abstractmethod
    async def start(self) -> None:
        """Begin.

        Raises:
            OSError: no process or thread can be started.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Let it catch up, and end it; may be called again."""


class ReadModelProcess(ReadModelFeeder):
    """Runs `python -m exchange.readmodel`."""

    def __init__(self, journal: Path, snapshots: Path, url: str, traces: str = "") -> None:
        super().__init__(journal, snapshots, url, traces)
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that feeds now."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    async def start(self) -> None:
        """See ReadModelFeeder."""
        self._process = await self._spawn()
        self._watching = asyncio.create_task(self._watch(self._process))

    async def stop(self) -> None:
        """See ReadModelFeeder."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _spawn(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "exchange.readmodel",
            str(self._journal.absolute()),
            str(self._snapshots.absolute()),
            stdin=PIPE,
            stdout=PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(f"{self._url}\n{self._traces}\n".encode())
        process.stdin.close()
        return process

    async def _end(self, process: Process) -> int:
        """Its status once it has ended; until then its log becomes part of ours."""
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                fields = msgspec.json.decode(line, type=dict[str, object])
                level, event = str(fields.pop("level")), str(fields.pop("event"))
            except (msgspec.DecodeError, KeyError):
                level, event, fields = "warning", line.decode(errors="replace").rstrip(), {}
            getattr(_log, level if level in LEVELS else "warning")(event, **fields)
        return await process.wait()

    async def _watch(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        wait_s = RESTART_MIN_S
        while True:
            began = loop.time()
            status = await self._end(process)
            wait_s = RESTART_MIN_S if loop.time() - began > LASTED_S else wait_s
            _log.warning("the read model's feed ended", status=status, again_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RESTART_MAX_S)
            self.restarts += 1
            process = self._process = await self._spawn()


class ReadModelThread(ReadModelFeeder):
    """Runs the same in a thread of this process."""

    def __init__(self, journal: Path, snapshots: Path, url: str, traces: str = "") -> None:
        super().__init__(journal, snapshots, url, traces)
        self._stop = Event()
        self._thread = Thread(target=self._run, name="read-model-feed", daemon=True)

    async def start(self) -> None:
        """See ReadModelFeeder."""
        self._thread.start()

    async def stop(self) -> None:
        """See ReadModelFeeder."""
        self._stop.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, STOP_WITHIN_S)

    def _run(self) -> None:
        wait_s = RESTART_MIN_S
        while not self._stop.is_set():
            try:
                with closing_traces(self._traces) as traces:
                    journal, snapshots = self._journal, self._snapshots
                    follow(journal, self._url, self._stop, traces=traces, snapshots=snapshots)
            except (ReadModelError, JournalError) as error:
                _log.warning("the read model's feed ended", reason=str(error), again_in_s=wait_s)
                self._stop.wait(wait_s)
                wait_s = min(2 * wait_s, RESTART_MAX_S)
                self.restarts += 1
