"""A watch of a job that survives broken connections."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from exchange.client.connection import Connection, Reconnector, ended_early
from exchange.client.errors import CallFailed
from exchange.client.job_types import Job, JobChanged, Output, OutputVoided, Update, job_from
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub

WATCH_SILENCE_S: Final = 35.0
"""A watch that says nothing for so long is broken: the exchange sends a heartbeat each 10 s."""


class Cursor:
    """How far a watch has come: what to ask for next, and what is news.

    Args:
        job_id: Job.
        attempt: Attempt that `next_index` belongs to; 0 for the present one.
        next_index: Index of the next piece wanted.
    """

    def __init__(self, job_id: int, attempt: int = 0, next_index: int = 0) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.next_index = next_index
        self.job: Job | None = None
        self._opening = True

    @property
    def ended(self) -> bool:
        """Whether the last update has been told."""
        return self.job is not None and not self.job.is_open

    def request(self) -> pb.WatchJobRequest:
        """What to send to go on from here, on a new stream."""
        self._opening = True
        return pb.WatchJobRequest(
            job_id=self.job_id, from_index=self.next_index, attempt=self.attempt
        )

    def take(self, message: pb.WatchJobResponse) -> Iterator[Update]:
        """The news in a message, if any.

        Raises:
            Unavailable: a piece is missing: the watch must be opened again.
        """
        opening, self._opening = self._opening, False
        kind = message.WhichOneof("update")
        if kind == "chunk":
            yield from self._take_chunk(message.chunk)
        elif kind == "job":
            job = job_from(message.job)
            # A stream never ends with its first message: of a job that has ended before, the end
            # comes again after the output.
            if job.is_open or not opening:
                yield from self._take_job(job)

    def _take_chunk(self, chunk: pb.OutputChunk) -> Iterator[Update]:
        yield from self._enter(chunk.attempt)
        if chunk.attempt < self.attempt or chunk.index < self.next_index:
            return
        if chunk.index > self.next_index:
            raise ended_early(f"job {self.job_id} skipped to piece {chunk.index} and")
        self.next_index += 1
        yield Output(chunk.attempt, chunk.index, chunk.text, chunk.tokens)

    def _take_job(self, job: Job) -> Iterator[Update]:
        yield from self._enter(job.attempt)
        if not job.is_open and not job.output_counts:
            yield from self._void()
        if job != self.job:
            self.job = job
            yield JobChanged(job)

    def _enter(self, attempt: int) -> Iterator[Update]:
        """Note which attempt the exchange speaks of."""
        if attempt > self.attempt:
            if self.attempt:
                yield from self._void()
            self.attempt = attempt

    def _void(self) -> Iterator[Update]:
        if self.next_index:
            pieces, self.next_index = self.next_index, 0
            yield OutputVoided(self.attempt, pieces)


async def watch_job(
    connection: Connection, cursor: Cursor, silence_s: float = WATCH_SILENCE_S
) -> AsyncGenerator[Update, None]:
    """The job's updates from the cursor on, up to its end, over as many streams as it takes."""
    reconnector = Reconnector(connection.retry)
    while True:
        call = connection.stub(JobServiceStub).WatchJob(cursor.request())
        error: CallFailed = ended_early(f"job {cursor.job_id}")
        try:
            async with contextlib.aclosing(connection.messages(call, silence_s)) as messages:
                async for message in messages:
                    for update in cursor.take(message):
                        yield update
                    if cursor.ended:
                        return
                    reconnector.alive()
        except CallFailed as failed:
            error = failed
        await reconnector.failed(error)
