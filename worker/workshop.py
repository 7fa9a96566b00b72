"""The workshop: the engines of a worker, and the leases that they run."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from exchange.metering.costs import FLOPS_PER_MFLOP
from exchange.metering.traces import flops
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.job_service_pb2 import StopCause
from exchange.v1.reason_pb2 import Reason
from worker.engines.base import (
    NOTHING_DONE,
    Engine,
    EngineError,
    EngineJob,
    EngineResult,
    Piece,
    parse_job,
)
from worker.identity import Identity
from worker.leases import HeldLease
from worker.receipts import make_receipt
from worker.spool import Spool

STOP_MARGIN_S: Final = 0.02
"""An engine is stopped this long before the lease's end, seconds: what its last words need to reach
the buyer by then. The receipt has until `settle_by`, two seconds later. The market offers a job as
long as its run time fits exactly, so each further millisecond here cuts answers short."""
UNANSWERED_MAX: Final = 1_024
"""Most finished leases whose receipts wait for an answer; then no new lease is taken."""
NS_PER_S: Final = 1_000_000_000

log: Final = logging.getLogger("flopex.worker")
Wanted = TypeVar("Wanted")


class Workshop:
    """Runs leases on engines, one engine for each slot.

    Args:
        engines: The slots' engines, all of one model.
        identity: Signs the receipts.
        spool: Keeps receipts until they are answered; what lies in it already is sent, too.
        wake: Called when a lease has something new to say.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        identity: Identity,
        spool: Spool,
        wake: Callable[[], None],
    ) -> None:
        self._engines = tuple(engines)
        self._card = engines[0].card
        self._identity = identity
        self._spool = spool
        self._wake = wake
        self._reloading = 0
        self._free: asyncio.Queue[Engine] = asyncio.Queue()
        for engine in engines:
            self._free.put_nowait(engine)
        self._leases = {
            receipt.lease_id: HeldLease.finished(receipt, chunks)
            for receipt, chunks in spool.kept()
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self.broken = ""
        """Why an engine cannot load its model any more, if so: no lease is taken then."""

    @property
    def model(self) -> str:
        """Name of the model that the engines run."""
        return self._card.name

    @property
    def slots(self) -> int:
        """Leases that can run at once."""
        return len(self._engines)

    @property
    def loaded_slots(self) -> int:
        """Slots whose engines need not load their model anew before they can run a lease."""
        return self.slots - self._reloading

    @property
    def held(self) -> list[HeldLease]:
        """The leases that run, or wait for the answer to their receipt."""
        return list(self._leases.values())

    def take(self, offer: pb.LeaseOffer) -> Reason.ValueType:
        """Take an offered lease; REASON_UNSPECIFIED where it was taken, else why not."""
        known = self._leases.get(offer.lease_id)
        if known is not None and known.offer.fence == offer.fence:
            known.rewind(0)
            return Reason.REASON_UNSPECIFIED
        if offer.model != self._card.name or self.broken:
            return Reason.REASON_MODEL_NOT_LOADED
        running = sum(lease.running for lease in self._leases.values())
        if offer.pool or running >= self.slots or len(self._leases) >= UNANSWERED_MAX:
            return Reason.REASON_WORKER_BUSY
        if known is not None:
            self.revoke(known.lease_id)
        lease = self._leases[offer.lease_id] = HeldLease(offer)
        self._spawn(self._work(lease))
        return Reason.REASON_UNSPECIFIED

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, lease_id: int, fence: pb.Fence) -> None:
        """Stop a lease; its receipt settles what was done."""
        lease = self._leases.get(lease_id)
        if lease is not None and lease.offer.fence == fence:
            lease.stop.stop(StopCause.STOP_CAUSE_CANCELLED)

    def revoke(self, lease_id: int) -> bool:
        """Stop a lease silently; whether it was held."""
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return False
        lease.void = True
        self._spool.forget(lease_id, lease.offer.fence)
        lease.stop.stop(StopCause.STOP_CAUSE_CANCELLED)
        self._wake()
        return True

    def settle(self, lease_id: int) -> bool:
        """A receipt was answered: forget the lease; whether one waited for that answer."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.receipt is None:
            return False
        del self._leases[lease_id]
        self._spool.forget(lease_id, lease.offer.fence)
        self._wake()
        return True

    def resume(self, leases: Iterable[HeldLease], resumed: Iterable[pb.ResumedLease]) -> None:
        """After a reconnection: carry on with `leases`, the ones named at it, where they stand."""
        standing = {answer.lease_id: answer for answer in resumed}
        for lease in leases:
            answer = standing.get(lease.lease_id)
            if answer is None and lease.receipt is not None:
                # It has ended, perhaps by this very receipt: a repeat gets the first answer.
                lease.rewind_to_receipt()
                continue
            if answer is None:
                if self.revoke(lease.lease_id):
                    log.warning("lease %d is void: stopped", lease.lease_id)
                continue
            lease.rewind(answer.next_index)
            if answer.cancelled:
                lease.stop.stop(StopCause.STOP_CAUSE_CANCELLED)

    async def ready(self) -> None:
        """Return once every engine is loaded.

        Raises:
            EngineError: one cannot be.
        """
        for engine in self._engines:
            await engine.ready()

    async def close(self) -> None:
        """Stop everything now."""
        while self._tasks:  # a task that ends may leave another, which loads its engine again
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(engine.close() for engine in self._engines))

    async def _work(self, lease: HeldLease) -> None:
        """Run a lease to its receipt, within its time."""
        loop = asyncio.get_running_loop()
        seconds = max(lease.offer.stop_within_ns / NS_PER_S - STOP_MARGIN_S, 0.0)
        timer = loop.call_later(seconds, lease.stop.stop, StopCause.STOP_CAUSE_TIME)
        began, job, detail = loop.time(), EngineJob(), ""
        try:
            job = parse_job(lease.offer.payload, lease.offer.price_nanos)
            result = await self._run_on_a_free_engine(lease, job)
        except EngineError as error:
            result, detail = EngineResult(StopCause.STOP_CAUSE_FAILED, NOTHING_DONE), str(error)
        except Exception as error:
            # A defect of ours must not leave the exchange waiting for a receipt.
            log.exception("lease %d: the engine raised", lease.lease_id)
            result, detail = EngineResult(StopCause.STOP_CAUSE_FAILED, NOTHING_DONE), repr(error)
        finally:
            timer.cancel()
        if lease.void:
            log.info("lease %d ended without a receipt", lease.lease_id)
            return
        await self._finish(lease, self._sign(lease, job, result, detail))
        log.info(
            "lease %d done: %s, %d tokens, %d MFLOP, %.2f s%s%s",
            lease.lease_id,
            StopCause.Name(result.cause).removeprefix("STOP_CAUSE_"),
            result.trace.tokens_given,
            flops(self._card, result.trace) // FLOPS_PER_MFLOP,
            loop.time() - began,
            _surcharge(result),
            f" ({detail})" if detail else "",
        )

    def _sign(
        self, lease: HeldLease, job: EngineJob, result: EngineResult, detail: str
    ) -> pb.Receipt:
        return make_receipt(
            lease.offer,
            self._card,
            result,
            seed=job.seed,
            input_digest=hashlib.sha256(lease.offer.payload).digest(),
            output_digest=lease.output_digest,
            identity=self._identity,
            detail=detail,
        )

    async def _finish(self, lease: HeldLease, receipt: pb.Receipt) -> None:
        """Keep the receipt on disk, so that it is sent even if this process dies; then send it."""
        try:
            await asyncio.to_thread(self._spool.keep, receipt, lease.chunks)
        except OSError as error:
            log.error("lease %d: its receipt could not be kept: %s", lease.lease_id, error)
        if lease.void:
            self._spool.forget(lease.lease_id, lease.offer.fence)
            return
        lease.finish(receipt)
        self._wake()

    async def _run_on_a_free_engine(self, lease: HeldLease, job: EngineJob) -> EngineResult:
        engine = await _unless_stopped(lease, self._free.get())
        if engine is None:
            return EngineResult(lease.stop.cause, NOTHING_DONE)
        try:
            # An engine whose process died since its last run has to load its model again.
            await _unless_stopped(lease, self._ready(engine))
            if lease.stop:
                return EngineResult(lease.stop.cause, NOTHING_DONE)
            return await self._run(lease, job, engine)
        finally:
            self._give_back(engine)

    def _give_back(self, engine: Engine) -> None:
        """The slot is free again; until its engine has loaded its model, it is not quoted."""
        if engine.loaded:
            self._free.put_nowait(engine)
            return
        self._reloading += 1
        self._spawn(self._reload(engine))

    async def _reload(self, engine: Engine) -> None:
        try:
            with contextlib.suppress(EngineError):
                await self._ready(engine)
        finally:
            self._reloading -= 1
            self._free.put_nowait(engine)
            self._wake()

    async def _ready(self, engine: Engine) -> None:
        try:
            await engine.ready()
        except EngineError as error:
            self.broken = str(error)
            self._wake()
            raise

    async def _run(self, lease: HeldLease, job: EngineJob, engine: Engine) -> EngineResult:
        lease.start()
        self._wake()
        budget_flops = lease.offer.quantity_mflop * FLOPS_PER_MFLOP
        result: EngineResult | None = None
        async with contextlib.aclosing(engine.run(job, budget_flops, lease.stop)) as items:
            async for item in items:
                if isinstance(item, Piece):
                    lease.add(item)
                    self._wake()
                else:
                    result = item
        if result is None:
            raise EngineError("the engine ended without a result")
        if flops(self._card, result.trace) > budget_flops:
            raise EngineError("the engine did more than its budget")
        return result


def _surcharge(result: EngineResult) -> str:
    """What was computed beside the need, for the log."""
    if not result.surcharge_flops:
        return ""
    return f", {result.surcharge_flops // FLOPS_PER_MFLOP} MFLOP of refused drafts, not billed"


async def _unless_stopped(lease: HeldLease, wanted: Coroutine[Any, Any, Wanted]) -> Wanted | None:
    """What was waited for; None if the lease was stopped first."""
    waiting = asyncio.create_task(wanted)
    stopped = asyncio.create_task(lease.stop.wait())
    try:
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        # A thing that was handed over must not get lost because a stop came as well.
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()
        stopped.cancel()
