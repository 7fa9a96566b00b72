"""Receipts on their way to the store: those that come while one batch is written form the next.

One thread writes, so a lease's receipt costs its settlement one sync, shared with its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from exchange.receipts import (
    BATCH_BYTES_MAX,
    BATCH_RECEIPTS_MAX,
    Receipt,
    ReceiptsError,
    ReceiptStore,
)
from exchange.receipts.records import record_bytes
from exchange.rpc.errors import RETRY_AFTER_NS, Code, RpcError, busy

WAITING_BYTES_MAX: Final = 64 << 20
"""Receipts that wait to be written, each with its record's head; more are refused."""

_log = structlog.get_logger(__name__)


class ReceiptWriter:
    """Appends receipts in batches.

    Args:
        store: Where they go; whoever opened it closes it.
    """

    def __init__(self, store: ReceiptStore) -> None:
        self.batches = 0
        self._store = store
        self._thread = ThreadPoolExecutor(1, "receipts")
        self._waiting: deque[tuple[Receipt, asyncio.Future[None]]] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Bytes of receipts that wait for the disk."""
        return self._waiting_bytes

    async def keep(self, receipt: Receipt) -> None:
        """Return once the receipt is durable.

        Raises:
            RpcError: too many wait, or the store takes nothing.
        """
        size = record_bytes(len(receipt.content))
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise busy(f"{len(self._waiting)} receipts wait to be stored")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((receipt, stored))
        self._waiting_bytes += size
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        try:
            await stored
        except ReceiptsError as error:
            _log.error("a receipt cannot be stored", lease_id=receipt.lease_id, error=str(error))
            raise RpcError(
                Code.UNAVAILABLE,
                "STORAGE_FAILED",
                "the exchange cannot store anything now",
                retry_after_ns=10 * RETRY_AFTER_NS,
            ) from error

    async def get(self, lease_id: int) -> bytes:
        """A lease's receipt; errors as `ReceiptStore.get`."""
        return await asyncio.to_thread(self._store.get, lease_id)

    async def expire(self, before_ns: int) -> int:
        """Remove what is older, as `ReceiptStore.expire`, between two batches."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._store.expire, before_ns)

    async def stop(self) -> None:
        """Write what waits."""
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            receipts = [receipt for receipt, _ in batch]
            error: ReceiptsError | None = None
            try:
                await loop.run_in_executor(self._thread, self._store.append, receipts)
            except ReceiptsError as caught:
                error = caught
            self.batches += 1
            for _, stored in batch:
                if stored.done():
                    continue  # Its caller has gone.
                if error is None:
                    stored.set_result(None)
                else:
                    stored.set_exception(error)
        self._task = None

    def _take(self) -> list[tuple[Receipt, asyncio.Future[None]]]:
        """The oldest that fit into one batch."""
        batch: list[tuple[Receipt, asyncio.Future[None]]] = []
        batch_bytes = 0
        while self._waiting and len(batch) < BATCH_RECEIPTS_MAX:
            size = record_bytes(len(self._waiting[0][0].content))
            if batch and batch_bytes + size > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
            batch_bytes += size
        self._waiting_bytes -= batch_bytes
        return batch
