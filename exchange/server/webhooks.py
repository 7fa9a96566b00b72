"""Webhooks beside the exchange: their store here, who tells them in a process or a thread."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event

from exchange.engine import Engine
from exchange.server.helpers import Helper, HelperProcess, HelperThread
from exchange.webhooks.errors import WebhookError
from exchange.webhooks.servicer import WebhookServicer
from exchange.webhooks.store import Store


class Webhooks:
    """What accounts want to be told, and who tells them: nobody, while there is nothing to tell.

    Args:
        path: Of the store.
        url: Of the read model.
        engine: Whose events are told.
        allow_private: Whether any target may be called.
        process: Whether a process of its own tells, and not a thread of this one.

    Raises:
        StoreUnavailable: The store cannot be opened.
    """

    def __init__(
        self, path: Path, url: str, engine: Engine, *, allow_private: bool, process: bool
    ) -> None:
        self._store = Store(path)
        self._store.come_back(engine.core.sequence)
        self._helper = _helper(path.absolute(), url, allow_private, process)
        self._started = False
        self.servicer = WebhookServicer(
            engine.core, self._store, allow_private=allow_private, ensure_told=self._ensure_told
        )

    async def start(self) -> None:
        """Tell, where there is something that somebody wants to be told."""
        if self._store.webhooks() or self._store.armed():
            await self._ensure_told()

    async def stop(self) -> None:
        """End it; may be called again."""
        await self._helper.stop()
        self._store.close()

    async def _ensure_told(self) -> None:
        if not self._started:
            self._started = True
            await self._helper.start()


def _helper(path: Path, url: str, allow_private: bool, process: bool) -> Helper:
    what = "who tells webhooks"
    if process:
        targets = "private" if allow_private else "public"
        return HelperProcess(what, ("exchange.webhooks", str(path), targets), (url,))

    def run(stop: Event) -> None:
        # Here alone: a process that tells nobody needs no HTTP client.
        from exchange.webhooks.telling import tell

        asyncio.run(tell(path, url, stop.is_set, allow_private=allow_private))

    return HelperThread(what, run, (WebhookError,))
