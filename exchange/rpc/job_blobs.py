"""Prompts and outputs in the blob store, receipts in their own: when they are written, how long.

A payload is stored before its job is sequenced, an output and a receipt before they are settled:
what the journal names is there. Prompts and outputs are forgotten some time after the job's end;
receipts are kept for years. Storing waits for the disk, so it is done in threads.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

import structlog

from exchange.blobs import (
    RECORDS_MAX,
    STORE_BYTES_MAX,
    BlobConflict,
    BlobErased,
    BlobError,
    BlobNotFound,
    BlobRefused,
)
from exchange.core.commands import SubmitJob
from exchange.core.events import JobEnded, ReceiptSettled
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from exchange.engine import Group, Outcome
from exchange.receipts import Receipt, ReceiptNotFound, ReceiptsError
from exchange.rpc.errors import RETRY_AFTER_NS, Code, RpcError, busy, refusal
from exchange.rpc.locks import KeyedLocks
from exchange.rpc.outputs import Output, StoredOutput
from exchange.rpc.receipt_writer import WAITING_BYTES_MAX, ReceiptWriter
from exchange.rpc.streams import Queue

if TYPE_CHECKING:
    from exchange.core.jobs import Job
    from exchange.rpc.services import Services

PAYLOAD_RETENTION_NS: Final = 3_600 * NS_PER_S
"""A prompt is forgotten this long after its job's end."""
OUTPUT_RETENTION_NS: Final = 23 * 3_600 * NS_PER_S
"""An output is forgotten this long after its job's end; the core remembers jobs a little longer."""
RECEIPT_RETENTION_NS: Final = 10 * 365 * 24 * 3_600 * NS_PER_S
"""A receipt is kept at least this long: it proves a bill."""
SIGNATURE_BYTES: Final = 64
"""An Ed25519 signature; it ends the stored receipt."""
SWEEP_PERIOD_S: Final = 30.0
PUTS_MAX: Final = 8
"""Blobs written at the same time; more wait."""
SUBMITTING_MAX: Final = 1_024
"""Jobs whose payload is being stored; one more is refused with OVERLOADED."""
SUBMITTING_BYTES_MAX: Final = 64 << 20
"""Payload bytes of those jobs."""

_ENDS_JOBS: Final[frozenset[type]] = frozenset({JobEnded})
_PAYLOAD_NAME: Final = re.compile(r"^job-(\d+)-([0-9a-f]{32})/payload-")
_OUTPUT_NAME: Final = re.compile(r"^lease-(\d+)/output$")

_log = structlog.get_logger(__name__)


def payload_name(terms: SubmitJob) -> str:
    """Name of a job's payload.

    It holds the digest, so that a second submission with the same client id and other content
    never touches the first one's payload.
    """
    digest = terms.payload_digest.hex()[:32]
    return f"job-{terms.account_id}-{terms.client_job_id.hex()}/payload-{digest}"


def output_name(lease_id: int) -> str:
    """Name of a settled lease's output."""
    return f"lease-{lease_id}/output"


class JobBlobs:
    """What is stored of jobs beside the journal."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._receipts = ReceiptWriter(services.receipts)
        self._submitting: KeyedLocks[str] = KeyedLocks()
        self._submissions = 0
        self._submitting_bytes = 0
        self._puts = asyncio.Semaphore(PUTS_MAX)
        self._due: list[tuple[int, str]] = []  # heap of (time since the epoch, name)
        self._tasks: set[asyncio.Task[Any]] = set()
        services.queues |= {
            "job_payloads": Queue(lambda: self._submissions, SUBMITTING_MAX),
            "job_payload_bytes": Queue(lambda: self._submitting_bytes, SUBMITTING_BYTES_MAX),
            "receipt_bytes": Queue(lambda: self._receipts.waiting_bytes, WAITING_BYTES_MAX),
            "stored_blobs": Queue(lambda: services.blobs.records, RECORDS_MAX),
            "stored_blob_bytes": Queue(lambda: services.blobs.stored_bytes, STORE_BYTES_MAX),
        }

    def start(self) -> None:
        """Take up the retention of jobs that had ended before, and look for payloads of none."""
        for job in self._services.core.jobs.values():
            if not job.is_open:
                self._schedule(job)
        self._spawn(self._keep_tidy())

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._receipts.stop()

    def on_group(self, group: Group) -> None:
        """A reader of the event feed: notes the jobs that ended."""
        for _, event in group.events_of(_ENDS_JOBS):
            assert isinstance(event, JobEnded)
            self._schedule(self._services.core.jobs[event.job_id])

    # ---- payloads ----

    async def submit(self, command: SubmitJob, payload: bytes) -> Outcome:
        """Store the payload, then sequence the job; a refused job's payload is forgotten.

        It goes on where the caller gives up, so that no payload is left behind.

        Raises:
            RpcError: the store or the engine takes nothing, or too much is under way.
        """
        total = self._submitting_bytes + len(payload)
        if self._submissions >= SUBMITTING_MAX or total > SUBMITTING_BYTES_MAX:
            raise busy(f"{self._submissions} jobs wait for their payloads to be stored")
        self._submissions += 1
        self._submitting_bytes = total
        submitting = self._spawn(self._submit(command, payload))
        submitting.add_done_callback(_look_at)
        return await asyncio.shield(submitting)

    async def _submit(self, command: SubmitJob, payload: bytes) -> Outcome:
        name = payload_name(command)
        try:
            # The same submission may be under way twice: one must not erase what the other needs.
            async with self._submitting.hold(name):
                await self._put(name, payload)
                try:
                    return await self._services.submit(command)
                finally:
                    # Once the engine has stopped nobody knows; the next start looks.
                    if self._services.engine.running and not self._is_wanted(name):
                        await self._forget(name)
        finally:
            self._submissions -= 1
            self._submitting_bytes -= len(payload)

    def _is_wanted(self, name: str) -> bool:
        """Whether a job needs the payload of this name, or has or may get the output."""
        if found := _OUTPUT_NAME.match(name):
            lease = self._services.core.leases.get(int(found[1]))
            return lease is not None and (
                lease.is_open or isinstance(lease.first_result, ReceiptSettled)
            )
        found = _PAYLOAD_NAME.match(name)
        account = self._services.core.accounts.get(int(found[1])) if found else None
        if found is None or account is None:
            return False
        known = account.client_ids.get(bytes.fromhex(found[2]))
        job = self._services.core.jobs.get(known.result_id) if known is not None else None
        if job is None or payload_name(job.terms) != name:
            return False
        # A repeat of a job that ended long ago has stored its prompt once more.
        return job.is_open or self._services.clock.now_ns() < job.ended_ns + PAYLOAD_RETENTION_NS

    async def payload(self, job: Job) -> bytes | None:
        """A job's serialized JobInput; None where it cannot be read."""
        return await self._get(payload_name(job.terms))

    # ---- outputs and receipts ----

    async def keep_settlement(
        self, lease_id: int, output: Output | None, signed: bytes, signature: bytes
    ) -> None:
        """Store a lease's receipt and output, before the receipt is sequenced.

        Args:
            lease_id: The lease.
            output: What it put out; None where the receipt does not vouch for it.
            signed: The receipt's signed bytes.
            signature: Of another length than a signature has, it is cut or filled: it is none.

        Raises:
            RpcError: a store takes nothing.
        """
        content = signed + signature[:SIGNATURE_BYTES].ljust(SIGNATURE_BYTES, b"\0")
        receipt = Receipt(lease_id, self._services.clock.now_ns(), content)
        puts = [self._receipts.keep(receipt)]
        if output is not None:
            puts.append(self._put(output_name(lease_id), output.stored().encode()))
        results = await asyncio.gather(*puts, return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def receipt(self, lease_id: int) -> tuple[bytes, bytes] | None:
        """A lease's receipt: the signed bytes and the signature; None where it cannot be read."""
        try:
            content = await self._receipts.get(lease_id)
            return content[:-SIGNATURE_BYTES], content[-SIGNATURE_BYTES:]
        except ReceiptNotFound:
            return None
        except ReceiptsError as error:
            _log.error("a receipt cannot be read", lease_id=lease_id, error=str(error))
            return None

    async def output(self, job: Job) -> StoredOutput | None:
        """The output of an ended job; None where it has none, or not any more."""
        data = await self._get(output_name(job.lease_id)) if job.cause else None
        return None if data is None else StoredOutput.decode(data)

    async def void_output(self, lease_id: int) -> None:
        """The receipt was refused: what the lease put out is nobody's."""
        await self._forget(output_name(lease_id))

    # ---- the store ----

    async def _put(self, name: str, data: bytes) -> None:
        blobs = self._services.blobs
        try:
            async with self._puts:
                try:
                    await asyncio.to_thread(blobs.put, name, data)
                except (BlobConflict, BlobErased):
                    # Left by something that was never sequenced, before a crash.
                    await asyncio.to_thread(blobs.forget, name)
                    await asyncio.to_thread(blobs.put, name, data)
        except BlobRefused as error:
            raise refusal(Reason.EXCHANGE_FULL, "the exchange's blob store is full") from error
        except BlobError as error:
            _log.error("a blob cannot be written", name=name, error=str(error))
            raise RpcError(
                Code.UNAVAILABLE,
                "STORAGE_FAILED",
                "the exchange cannot store anything now",
                retry_after_ns=10 * RETRY_AFTER_NS,
            ) from error

    async def _get(self, name: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self._services.blobs.get, name)
        except (BlobNotFound, BlobErased):
            return None
        except BlobError as error:
            _log.error("a blob cannot be read", name=name, error=str(error))
            return None

    async def _forget(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._services.blobs.forget, name)
        except BlobError as error:
            _log.error("a blob cannot be erased", name=name, error=str(error))

    # ---- retention ----

    def _schedule(self, job: Job) -> None:
        payload_due = job.ended_ns + PAYLOAD_RETENTION_NS
        heapq.heappush(self._due, (payload_due, payload_name(job.terms)))
        if job.cause:
            output_due = job.ended_ns + OUTPUT_RETENTION_NS
            heapq.heappush(self._due, (output_due, output_name(job.lease_id)))

    async def sweep(self) -> int:
        """Forget what is due; how many blobs that were."""
        now_ns = self._services.clock.now_ns()
        count = 0
        while self._due and self._due[0][0] <= now_ns:
            await self._forget(heapq.heappop(self._due)[1])
            count += 1
        return count

    async def sweep_receipts(self) -> int:
        """Remove the files whose receipts are all older than the retention; how many."""
        try:
            return await self._receipts.expire(self._services.clock.now_ns() - RECEIPT_RETENTION_NS)
        except ReceiptsError as error:
            _log.error("old receipts cannot be removed", error=str(error))
            return 0

    async def sweep_orphans(self) -> int:
        """Forget what no job has, left by a crash or a restore; how many blobs that were."""
        blobs, ours = self._services.blobs, (_PAYLOAD_NAME, _OUTPUT_NAME)
        names = await asyncio.to_thread(
            lambda: [name for name in blobs.ids() if any(kind.match(name) for kind in ours)]
        )
        count = 0
        for name in names:
            async with self._submitting.hold(name):
                if not self._is_wanted(name):
                    await self._forget(name)
                    count += 1
        return count

    async def _keep_tidy(self) -> None:
        try:
            if found := await self.sweep_orphans():
                _log.info("payloads and outputs that no job has are erased", count=found)
        except BlobError as error:
            _log.error("the blob store cannot be listed", error=str(error))
        while True:
            await self.sweep()
            await self.sweep_receipts()
            await asyncio.sleep(SWEEP_PERIOD_S)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _look_at(submitting: asyncio.Task[Outcome]) -> None:
    """Where the caller has gone, a refusal concerns nobody; a defect must not go unseen."""
    error = None if submitting.cancelled() else submitting.exception()
    if error is not None and not isinstance(error, RpcError):
        _log.error("a job's submission failed", exc_info=error)
