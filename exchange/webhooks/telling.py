"""The loop that tells: it looks at the read model and at what accounts want, again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from exchange.readmodel.database import Database, connect
from exchange.readmodel.errors import ReadModelError, ReadModelUnavailable
from exchange.readmodel.progress import read_progress
from exchange.webhooks.alerts import Alerts
from exchange.webhooks.deliveries import Deliveries
from exchange.webhooks.sender import Sender
from exchange.webhooks.store import Store

LOOK_EVERY_S: Final = 0.2
"""How soon something that happened is told, at best: after that, and the read model's lag."""
AGAIN_S: Final = 1.0
"""How long after the read model could not be read it is tried again."""

_log = structlog.get_logger(__name__)


async def tell(path: Path, url: str, stopped: Callable[[], bool], *, allow_private: bool) -> None:
    """Tell all webhooks until stopped.

    Args:
        path: Of the store.
        url: Of the read model.
        stopped: Whether to end.
        allow_private: See `Sender`.

    Raises:
        StoreUnavailable: The store cannot be read or written.
    """
    with contextlib.closing(Store(path)) as store:
        async with Sender(allow_private=allow_private) as sender:
            failed = False
            while not stopped():
                try:
                    with contextlib.closing(_open(url)) as database:
                        failed = False
                        await _tell(store, database, sender, stopped)
                except ReadModelError as error:
                    if not failed:
                        _log.warning("webhooks wait for the read model", reason=str(error))
                    failed = True
                    await asyncio.sleep(AGAIN_S)


async def _tell(
    store: Store, database: Database, sender: Sender, stopped: Callable[[], bool]
) -> None:
    deliveries, alerts = Deliveries(store, database, sender), Alerts(store, database)
    try:
        while not stopped():
            alerts.look()
            deliveries.look()
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await deliveries.stop()


def _open(url: str) -> Database:
    """The read model, once it can be asked.

    Raises:
        ReadModelError: Not yet.
    """
    database = connect(url, read_only=True)
    try:
        progress = read_progress(database)
        if progress is None or not progress.usable:
            raise ReadModelUnavailable("the read model is not made yet")
    except BaseException:
        database.close()
        raise
    return database
