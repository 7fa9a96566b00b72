"""The demo's other processes: the exchange and the workers, each a `flopex` command of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from flopex.processes import PARENT_VARIABLE

STOP_WITHIN_S: Final = 15.0
"""How long a child gets to drain after SIGTERM before it is killed."""
LOG_TAIL_LINES: Final = 5
LINE_BYTES_MAX: Final = 1 << 20


class Child:
    """One `flopex` command as a child process; its output goes to a log file.

    Args:
        name: For people, and the log file's name.
        arguments: What follows `flopex`.
        log_directory: Where its log file lies; it grows over restarts.
        on_line: Called with each line of its stdout.
        environment: Variables beside the inherited ones.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log_directory: Path,
        on_line: Callable[[str], None] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_directory / f"{name}.log"
        self._arguments = arguments
        self._on_line = on_line
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.stopping = False

    @property
    def pid(self) -> int:
        """Its process id; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process."""
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "flopex", *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES_MAX,
                env={**os.environ, **self._environment, PARENT_VARIABLE: str(os.getpid())},
                # A Ctrl-C at the terminal is the demo's to handle: it stops its children in order.
                start_new_session=True,
            )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self.log_path.open("ab", buffering=0) as log:
            async for line in self._process.stdout:
                log.write(line)
                if self._on_line is not None:
                    self._on_line(line.decode("utf-8", "replace").rstrip())

    async def wait(self) -> int:
        """Its exit status, once it has ended; negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Drain it with SIGTERM, and kill it if that takes too long."""
        self.stopping = True
        process = self._process
        if process is None:
            return
        try:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(STOP_WITHIN_S):
                    await process.wait()
        except (TimeoutError, ProcessLookupError):
            pass
        finally:
            self.kill()
            if self._reader is not None:
                await self._reader

    def kill(self) -> None:
        """End it now."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        try:
            with self.log_path.open(errors="replace") as log:
                lines = deque((line.rstrip() for line in log if line.strip()), LOG_TAIL_LINES)
        except OSError:
            return ""
        return "\n".join(lines)
