"""The gateway as a process of its own: started, watched, started again, and told to end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from exchange.http.views import Views
from exchange.link.engine_end import EngineEnd
from exchange.link.link import attach
from exchange.rpc.calls import PromptApi
from exchange.server.config import EdgesConfig
from exchange.server.internal import EngineApi

START_WITHIN_S: Final = 90.0
"""A gateway that does not listen after this time is given up: a starved machine takes its time."""
END_WITHIN_S: Final = 5.0
"""After the grace it gets this long to end by itself; then it is killed."""
RESTARTS_MAX: Final = 5
"""Restarts within `RESTARTS_WITHIN_S`, after which the exchange stops: something is wrong."""
RESTARTS_WITHIN_S: Final = 60.0
RESTART_WAIT_S: Final = 0.1
"""Between its death and the next start."""

_log = structlog.get_logger(__name__)


class GatewayFailed(Exception):
    """The gateway does not stay up."""


class GatewayProcess:
    """Edges in another process, as `Edges` otherwise. A dead one is started again.

    Args:
        api: Answers the calls that come.
        views: Answer what HTTP asks.
        config: Settings of the edges.
        command: Starts the process; the number of a file descriptor is added.

    Attributes:
        restarts: How often it was started again.
        listening: Whether it serves.
        failed: Fails with `GatewayFailed` once it does not stay up.
        address: host:port of gRPC, once started.
        http_address: host:port of HTTP; empty without it.
    """

    def __init__(
        self, api: PromptApi, views: Views, config: EdgesConfig, command: Sequence[str]
    ) -> None:
        self._api = EngineApi(api, views)
        self._config = config
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._link: EngineEnd | None = None
        self._watching: asyncio.Task[None] | None = None
        self._draining = False
        self.restarts = 0
        self.listening = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # It may be that nobody asks any more.
        self.failed.add_done_callback(lambda failed: failed.exception())
        self.address = ""
        self.http_address = ""

    @property
    def pid(self) -> int:
        """The process that serves now."""
        assert self._process is not None, "the gateway was not started"
        return self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it listens.

        Raises:
            OSError: it cannot be started, or cannot listen.
        """
        await self._launch()
        # Where the system chose a port, the next gateway takes the same.
        self._config = replace(self._config, address=self.address, http_address=self.http_address)
        self._watching = asyncio.create_task(self._watch())

    async def begin_drain(self) -> None:
        """Tell health checks that no new work is taken."""
        self._draining = True
        if self._link is not None:
            self._link.drain()

    async def stop(self, grace_s: float) -> None:
        """Drain, let calls finish within the grace, and end the process."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._link is not None:
            self._link.stop(grace_s)
        await self._end(grace_s + END_WITHIN_S)

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = self._link = EngineEnd(self._api, msgspec.json.encode(self._config))
            await attach(link, ours)
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork and no more
                [*self._command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # What the terminal signals is for us; we tell the gateway what follows from it.
                process_group=0,
            )
        try:
            async with asyncio.timeout(START_WITHIN_S):
                ready = await link.ready
        except TimeoutError as error:
            await self._end(0)
            raise OSError(f"the gateway did not listen within {START_WITHIN_S:g} s") from error
        except BaseException:
            await self._end(0)
            raise
        self.address, self.http_address = ready.address, ready.http_address
        self.listening = True
        if self._draining:
            link.drain()

    async def _end(self, within_s: float) -> None:
        """Wait for the process to end, so long; then kill it."""
        if self._process is not None:
            try:
                async with asyncio.timeout(within_s):
                    await _end_of(self._process)
            except TimeoutError:
                self._process.kill()
                await _end_of(self._process)
        if self._link is not None:
            self._link.close()

    async def _watch(self) -> None:
        """Start the gateway again when it has died."""
        loop = asyncio.get_running_loop()
        restarted_s: list[float] = []
        while True:
            assert self._process is not None
            assert self._link is not None
            status = await _end_of(self._process)
            self.listening = False
            self._link.close()
            await asyncio.sleep(RESTART_WAIT_S)
            restarted_s = [at for at in restarted_s if at > loop.time() - RESTARTS_WITHIN_S]
            if len(restarted_s) >= RESTARTS_MAX:
                self.failed.set_exception(
                    GatewayFailed(f"the gateway died {RESTARTS_MAX + 1} times; status {status}")
                )
                return
            restarted_s.append(loop.time())
            _log.error("the gateway has died and is started again", status=status)
            self.restarts += 1
            try:
                await self._launch()
            except OSError as error:
                _log.error("the gateway could not be started", error=str(error))


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process without a thread; its status."""
    if process.poll() is None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        pidfd = os.pidfd_open(process.pid)
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
    return process.wait()
