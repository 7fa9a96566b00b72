"""What works beside the exchange: started, watched, started again.

The exchange goes on without it. It is a process of its own where the exchange serves the public, so
that it never holds the interpreter up; a thread does where everything is to be in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Final

import msgspec
import structlog

RESTART_MIN_S: Final = 0.5
RESTART_MAX_S: Final = 30.0
"""How long after its end it is started again; the wait doubles while it does not last."""
LASTED_S: Final = 60.0
"""Whoever ran for so long has not failed at once."""
STOP_WITHIN_S: Final = 5.0
"""How long it gets to finish at the end before it is killed."""

LEVELS: Final = frozenset({"debug", "info", "warning", "error"})
"""Levels of log lines that a process may have."""

_log = structlog.get_logger(__name__)


class Helper(ABC):
    """Runs until stopped.

    Args:
        what: Names it in the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.restarts = 0

    @abstractmethod
    async def start(self) -> None:
        """Begin.

        Raises:
            OSError: no process or thread can be started.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Let it finish, and end it; may be called again."""


class HelperProcess(Helper):
    """Runs `python -m MODULE`, which ends at SIGTERM and logs JSON lines to stdout.

    Args:
        what: Names it in the log.
        module: With its arguments, which everybody on the machine can read.
        lines: What it reads from stdin, which nobody else can.
    """

    def __init__(self, what: str, module: Sequence[str], lines: Sequence[str]) -> None:
        super().__init__(what)
        self._module = module
        self._lines = lines
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that works now."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    async def start(self) -> None:
        """See Helper."""
        self._process = await self._spawn()
        self._watching = asyncio.create_task(self._watch(self._process))

    async def stop(self) -> None:
        """See Helper."""
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
            *(sys.executable, "-P", "-m", *self._module),
            stdin=PIPE,
            stdout=PIPE,
            # Ctrl-C at a terminal is for the exchange: it says when this one ends.
            process_group=0,
        )
        assert process.stdin is not None
        process.stdin.write("".join(f"{line}\n" for line in self._lines).encode())
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
            # One that was told to end, as a signal to a whole group does, has not failed.
            log = _log.warning if status else _log.info
            log(f"{self._what} ended", status=status, again_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RESTART_MAX_S)
            self.restarts += 1
            process = self._process = await self._spawn()


class HelperThread(Helper):
    """Runs the same in a thread of this process.

    Args:
        what: Names it in the log.
        run: Works until the event is set.
        errors: What it may fail of, and is started again.
    """

    def __init__(
        self, what: str, run: Callable[[Event], None], errors: tuple[type[Exception], ...]
    ) -> None:
        super().__init__(what)
        self._work = run
        self._errors = errors
        self._stop = Event()
        self._thread = Thread(target=self._run, name=what, daemon=True)

    async def start(self) -> None:
        """See Helper."""
        self._thread.start()

    async def stop(self) -> None:
        """See Helper."""
        self._stop.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, STOP_WITHIN_S)

    def _run(self) -> None:
        wait_s = RESTART_MIN_S
        while not self._stop.is_set():
            try:
                self._work(self._stop)
            except self._errors as error:
                _log.warning(f"{self._what} ended", reason=str(error), again_in_s=wait_s)
                self._stop.wait(wait_s)
                wait_s = min(2 * wait_s, RESTART_MAX_S)
                self.restarts += 1
