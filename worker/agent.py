"""The agent: keeps a session with the exchange up until the worker is told to leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
from collections.abc import Iterator
from typing import Final

import grpc

from exchange.client.channel import open_channel
from worker.backoff import Backoff
from worker.config import WorkerConfig
from worker.engines.adaptive import AdaptiveEngine, ThinkingRoom
from worker.engines.base import Engine
from worker.engines.instant import InstantEngine
from worker.engines.llama import LlamaEngine
from worker.facts import hardware_facts
from worker.identity import Identity, open_identity
from worker.session import Intent, Session, SessionEnd, WorkerRefused
from worker.spool import Spool
from worker.workshop import Workshop

EXIT_DRAINED: Final = 0
EXIT_STOPPED: Final = 1
"""Stopped at once, or the drain took too long, or the engine broke: leases may have been lost. Or
it was another process's drain that went on."""
GOODBYE_S: Final = 0.25
"""How long a stop waits for the goodbye to be sent."""
SAME_WISH_S: Final = 0.5
"""Signals that come within this time mean one thing: `timeout` and terminals send two at once."""
STABLE_S: Final = 10.0
"""A session that lasted this long was good: the next redial is quick."""

CHANNEL_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
"""Each session dials anew: gRPC must not add the pause that it remembers for the address."""

FATAL_CODES: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)
"""Answers to a registration that will not change by asking again."""

log: Final = logging.getLogger("flopex.worker")


class Agent:
    """Dials, serves, dials again; drains or stops when told.

    Args:
        config: The worker's settings.
        identity: Its key.
        engines: One for each slot.
    """

    def __init__(self, config: WorkerConfig, identity: Identity, engines: list[Engine]) -> None:
        self._config = config
        self._identity = identity
        self._intent = Intent()
        self._workshop = Workshop(engines, identity, Spool(config.data_dir), self._intent.news.set)
        self._facts = {
            **hardware_facts(),
            "engine": config.engine,
            "model": engines[0].card.name,
            **config.facts,
        }
        self._backoff = Backoff()
        self._stopped = asyncio.Event()
        self._registered = False
        self._found_draining = False

    def drain(self) -> None:
        """Take no new lease, finish what is held, leave; a second call stops at once."""
        if self._intent.draining:
            self.stop()
            return
        log.info("draining: %d leases to finish", len(self._workshop.held))
        self._intent.drain()

    def stop(self) -> None:
        """Stop at once; the exchange is told, so that it need not find out."""
        self._intent.leave()
        self._stopped.set()

    async def run(self) -> int:
        """Serve until drained or stopped; returns the exit status.

        Raises:
            WorkerRefused: the exchange does not want this worker.
            EngineError: an engine cannot load its model.
        """
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(self._wait_for_stop(serving))
        overdue = asyncio.create_task(self._wait_for_overdue_drain(serving))
        tasks = (serving, stopping, overdue)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if serving.done() and (not self._stopped.is_set() or not self._workshop.held):
                serving.result()
                whole = not self._workshop.broken and not self._found_draining
                return EXIT_DRAINED if whole else EXIT_STOPPED
            log.warning("stopped with %d leases open", len(self._workshop.held))
            return EXIT_STOPPED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._workshop.close()

    async def _wait_for_stop(self, serving: asyncio.Task[None]) -> None:
        await self._stopped.wait()
        await asyncio.wait({serving}, timeout=GOODBYE_S)

    async def _wait_for_overdue_drain(self, serving: asyncio.Task[None]) -> None:
        await self._intent.wait_for_drain()
        await asyncio.sleep(self._config.drain_timeout_s)
        log.warning("the drain took longer than %.0f s", self._config.drain_timeout_s)
        self.stop()
        await self._wait_for_stop(serving)

    async def _serve(self) -> None:
        await self._workshop.ready()
        while not self._may_leave():
            if await self._connect() is SessionEnd.LEFT:
                log.info("left the exchange")
                return
            if not self._may_leave():
                await self._pause()

    def _may_leave(self) -> bool:
        return self._intent.draining and not self._workshop.held

    async def _connect(self) -> SessionEnd | None:
        """One session; None where it failed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        log.info("connecting to %s as %s", self._config.target, self._config.name)
        session = Session(self._config, self._identity, self._facts, self._workshop, self._intent)
        channel = open_channel(
            self._config.target, self._config.key, tls=self._config.tls, options=CHANNEL_OPTIONS
        )
        try:
            end = await session.run(channel)
        except grpc.aio.AioRpcError as error:
            if error.code() in FATAL_CODES and not session.registered:
                raise WorkerRefused(f"{error.code().name}: {error.details()}") from error
            log.warning("connection lost: %s: %s", error.code().name, error.details())
            return None
        except (ConnectionError, TimeoutError) as error:
            log.warning("connection lost: %s", str(error) or "no answer to the registration")
            return None
        finally:
            await channel.close()
            self._note_registration(session)
            if session.registered and loop.time() - began > STABLE_S:
                self._backoff.reset()
        log.info("session ended: %s", end.value)
        return end

    def _note_registration(self, session: Session) -> None:
        """A drain that a process before this one began ends this one, too: it must start anew."""
        if session.registered and not self._registered:
            self._registered = True
            self._found_draining = session.found_draining
            if session.found_draining:
                log.error("a process before this one was draining; now that it has, start again")

    async def _pause(self) -> None:
        wait_s = self._backoff.wait_s()
        log.info("connecting again in %.1f s", wait_s)
        if self._intent.draining:
            await asyncio.sleep(wait_s)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._intent.wait_for_drain()


def make_engines(config: WorkerConfig) -> list[Engine]:
    """One engine for each slot."""
    engines: list[Engine] = []
    room = ThinkingRoom(device=config.device, size=config.size)
    for _ in range(config.slots):
        if config.engine == "adaptive":
            engines.append(AdaptiveEngine(room))
        elif config.engine == "instant":
            options = config.instant
            engines.append(
                InstantEngine(
                    tokens=options.tokens,
                    delay_s=options.delay_s,
                    prompt_delay_s=options.prompt_delay_s,
                    prompt_tokens_per_s=options.prompt_tokens_per_s,
                )
            )
        else:
            engines.append(LlamaEngine(gguf=config.gguf, threads=config.threads, fast=config.fast))
    return engines


@contextlib.contextmanager
def _signals(agent: Agent) -> Iterator[None]:
    """SIGTERM and SIGINT drain; one that comes later stops at once."""
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)
    heard_at = -math.inf

    def hear() -> None:
        nonlocal heard_at
        if loop.time() - heard_at >= SAME_WISH_S:
            heard_at = loop.time()
            agent.drain()

    for number in caught:
        loop.add_signal_handler(number, hear)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


async def run_worker(config: WorkerConfig) -> int:
    """Run a worker until it is drained; returns the exit status, 0 after a drain.

    SIGTERM and SIGINT drain it: it takes no new lease, finishes those it holds and leaves. A
    second signal stops it at once, with status 1.

    Raises:
        IdentityError: the data directory's key cannot be used.
        EngineError: the model cannot be loaded.
        WorkerRefused: the exchange does not want this worker (key, role or name).
    """
    with open_identity(config.data_dir) as identity:
        log.info("worker %s, data directory %s", config.name, config.data_dir)
        agent = Agent(config, identity, make_engines(config))
        with _signals(agent):
            return await agent.run()
