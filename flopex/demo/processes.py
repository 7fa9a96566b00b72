"""The demo's exchange and workers as processes: started, watched, started again once, stopped."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flopex.config import OPERATOR_KEY_NAME, read_key_file
from flopex.demo.children import Child
from flopex.demo.market import YOU, YOUR_VALUE, Keys
from flopex.demo.scenario import TIERS, WORKERS
from flopex.demo.stage import Kind, Stage

START_WITHIN_S: Final = 60.0
"""How long the exchange gets to open, also on a busy machine."""
RESTARTS_MAX: Final = 1
"""How often a process that died is started again."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why, and where the logs are."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a demo was asked for.

    Attributes:
        directory: Data directory of the exchange; logs and the workers' keys lie in it, too.
        engine: What the workers of text run: llama or instant.
        address: Where the exchange listens; port 0 lets the system choose.
        http: Where its page is; port 0 lets the system choose.
        serving: More options of `flopex serve`.
    """

    directory: Path
    engine: str = "llama"
    address: str = "127.0.0.1:0"
    http: str = "127.0.0.1:0"
    serving: tuple[str, ...] = ()


class Cast:
    """All processes of a demo. `failed` is set once it cannot go on."""

    def __init__(self, settings: Settings, stage: Stage) -> None:
        self._settings = settings
        self._stage = stage
        self._logs = settings.directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._opened: asyncio.Future[dict[str, Any]] | None = None
        self._exchange: Child | None = None
        self._workers: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.address = ""
        self.http_address = ""

    async def start_exchange(self) -> None:
        """Start the exchange; return once it is open.

        Raises:
            DemoFailed: it did not open.
        """
        await self._open(self._settings.address, self._settings.http)
        self._watchers.append(asyncio.create_task(self._watch_exchange()))

    @property
    def operator_key(self) -> str:
        """The operator's key, from the data directory."""
        return read_key_file(self._settings.directory / OPERATOR_KEY_NAME)

    @property
    def children(self) -> list[Child]:
        """The processes, the exchange first."""
        return ([self._exchange] if self._exchange else []) + self._workers

    async def _open(self, address: str, http: str) -> dict[str, Any]:
        self._opened = asyncio.get_running_loop().create_future()
        directory = str(self._settings.directory)
        self._exchange = exchange = Child(
            "exchange",
            [
                *("serve", "--json", "--single-process", "--address", address, "--http", http),
                *("--data", directory, "--grace", "2"),
                *("--default-value", f"{YOU}={YOUR_VALUE}"),
                *self._settings.serving,
            ],
            self._logs,
            self._on_exchange_line,
        )
        await exchange.start()
        ended = asyncio.create_task(exchange.wait())
        try:
            done, _ = await asyncio.wait(
                (self._opened, ended), timeout=START_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
            if self._opened not in done:
                raise DemoFailed(f"the exchange did not open:\n{exchange.last_words()}")
        finally:
            ended.cancel()
        started = self._opened.result()
        self.address = self._stage.address = started["address"]
        self.http_address = started["http"]
        return started

    def _on_exchange_line(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if message.get("type") == "started" and self._opened and not self._opened.done():
            self._opened.set_result(message)

    async def _watch_exchange(self) -> None:
        """Report an exchange that dies; start it again in the same data directory, once."""
        for restart in range(RESTARTS_MAX + 1):
            exchange = self._exchange
            assert exchange is not None
            status = await exchange.wait()
            if exchange.stopping:
                return
            self._stage.say(Kind.TROUBLE, f"the exchange died (exit status {status})")
            if restart == RESTARTS_MAX:
                break
            try:
                started = await self._open(self.address, self.http_address)
            except DemoFailed as error:
                self._fail(str(error))
                return
            self._stage.say(
                Kind.TROUBLE,
                f"started again in the same data directory: {started['records']} records replayed "
                f"in {started['recovery_s']} s, epoch {started['epoch']}; leases go on",
            )
        self._fail("the exchange died twice")

    async def start_workers(self, keys: Keys, text_model: str, thinking_model: str) -> None:
        """Start the workers; they dial in once their model is loaded."""
        for part in WORKERS:
            engine = "adaptive" if part.thinks else self._settings.engine
            model = thinking_model if part.thinks else text_model
            quotes = [f"--quote={model}/cpu/{tier}=static:{part.price_nanos}" for tier in TIERS]
            child = Child(
                part.name,
                [
                    *("worker", "run", "--name", part.name, "--engine", engine),
                    *("--target", self.address, "--data", str(self._settings.directory)),
                    *("--threads", "1", "--log-level", "info", *quotes),
                    *(("--instant-delay", "0.01") if engine == "instant" else ()),
                ],
                self._logs,
                environment={"FLOPEX_KEY": keys.of[part.name]},
            )
            await child.start()
            self._workers.append(child)
            self._watchers.append(asyncio.create_task(self._watch_worker(child)))

    async def _watch_worker(self, child: Child) -> None:
        """Report a worker that dies; start it again under its name, once."""
        for restart in range(RESTARTS_MAX + 1):
            status = await child.wait()
            if child.stopping:
                return
            self._stage.say(
                Kind.TROUBLE,
                f"worker {child.name} died (exit status {status}): "
                "what it ran goes back into the book",
            )
            if restart < RESTARTS_MAX:
                await child.start()
                self._stage.say(Kind.TROUBLE, f"worker {child.name} is started again")
        if not any(worker.alive for worker in self._workers):
            self._fail(f"all workers died; the last one said:\n{child.last_words()}")

    def _fail(self, why: str) -> None:
        if not self.failed.done():
            self.failed.set_exception(DemoFailed(f"{why}\nlogs: {self._logs}"))

    async def stop(self) -> None:
        """Drain the workers, then the exchange; kill what does not end in time."""
        for watcher in self._watchers:
            watcher.cancel()
        try:
            await asyncio.gather(*(worker.stop() for worker in self._workers))
            if self._exchange is not None:
                await self._exchange.stop()
        finally:
            for child in self.children:
                child.kill()
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # it has been told
        self.failed.cancel()
