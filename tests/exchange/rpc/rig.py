"""An exchange with an instrument, a buyer and a seller, for tests of jobs and workers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from exchange.core.commands import Role
from exchange.core.exchange import Exchange
from exchange.metering.cards import INSTANT
from exchange.rpc.errors import DETAILS_KEY
from exchange.rpc.services import Services
from exchange.rpc.sessions import SessionConfig
from exchange.testing.fake_worker import FakeWorker
from exchange.testing.in_process import PROCESSES_VARIABLE, InProcessExchange, metadata
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from exchange.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.waiting import WITHIN_S

INSTRUMENT = "instant/cpu/interactive"
MS = 1_000_000
FUNDS_NANOS = 10**11
TOO_DEAR: dict[str, Any] = {"value_nanos": 10**17, "quantity_mflop": 10**9}
"""A job that costs ten times the buyer's money."""
QUICK = SessionConfig(
    heartbeat_ns=100 * MS, reconnect_within_ns=300 * MS, recovery_grace_ns=2_000 * MS
)
"""Heartbeats fast enough for a test, and slow enough for a busy machine."""


in_one_process = pytest.mark.skipif(
    os.environ.get(PROCESSES_VARIABLE) == "2", reason="changes a bound of this process's gateway"
)


class Calls:
    """A stub whose calls carry a key."""

    def __init__(self, stub: object, key: str) -> None:
        self._stub = stub
        self._metadata = metadata(key) if key else ()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(getattr(self._stub, name), metadata=self._metadata)


class Rig:
    """The exchange and stubs of its clients."""

    def __init__(self, exchange: InProcessExchange, buyer: str, seller: str) -> None:
        self.exchange = exchange
        self.buyer = buyer
        self.seller = seller
        self.channel = exchange.channel()
        self.jobs = self.jobs_of(buyer)
        self.workers = Calls(WorkerServiceStub(self.channel), seller)

    @property
    def core(self) -> Exchange:
        return self.exchange.core

    @property
    def services(self) -> Services:
        return self.exchange.server.services

    def jobs_of(self, key: str) -> Any:
        """The job service, with this key."""
        return Calls(JobServiceStub(self.channel), key)

    def worker(self, name: str = "fake", **options: Any) -> FakeWorker:
        return FakeWorker(self.channel, self.seller, name=name, **options)

    async def ready(self, worker: FakeWorker, price: int = 1_000) -> None:
        """Register, and ask the same price for every slot."""
        await worker.register()
        await worker.quote(INSTRUMENT, *[price] * worker.slots[0])

    def request(self, prompt: str = "one two three", **changes: Any) -> pb.SubmitJobRequest:
        fields: dict[str, Any] = {
            "client_job_id": self.exchange.id(),
            "model": "instant",
            "input": pb.JobInput(prompt=prompt, output_tokens_max=16),
            "value_nanos": 10**6,
        }
        return pb.SubmitJobRequest(**(fields | changes))

    async def submit(self, prompt: str = "one two three", **changes: Any) -> pb.Job:
        answer = await self.jobs.SubmitJob(self.request(prompt, **changes))
        return cast("pb.Job", answer.job)

    async def get(self, job: pb.Job, *, include_output: bool = False) -> pb.GetJobResponse:
        request = pb.GetJobRequest(job_id=job.job_id, include_output=include_output)
        return cast("pb.GetJobResponse", await self.jobs.GetJob(request))

    def watch(self, job: pb.Job, from_index: int = 0, attempt: int = 0) -> Watch:
        request = pb.WatchJobRequest(job_id=job.job_id, from_index=from_index, attempt=attempt)
        return Watch(self.jobs.WatchJob(request))

    async def ended(self, job: pb.Job, wait_s: float = WITHIN_S) -> pb.Job:
        """The job once it has ended."""
        async with asyncio.timeout(wait_s):
            return (await self.watch(job).all())[-1].job

    async def until(self, true: Callable[[], object], wait_s: float = WITHIN_S) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(wait_s):
            while not true():  # noqa: ASYNC110 - nothing tells of every kind of change
                await asyncio.sleep(0.005)

    def state(self, job: pb.Job) -> str:
        return self.core.jobs[job.job_id].state.name

    def balance(self, name: str) -> int:
        return self.core.ledger.balance(self.core.account_by_name[name])


class Watch:
    """A running WatchJob call."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def next(self, kind: str = "", wait_s: float = WITHIN_S) -> pb.WatchJobResponse:
        """The next update (of this kind)."""
        async with asyncio.timeout(wait_s):
            while True:
                update = await self.call.read()
                assert update is not grpc.aio.EOF, "the watch has ended"
                if kind in ("", update.WhichOneof("update")):
                    return cast("pb.WatchJobResponse", update)

    async def all(self) -> list[pb.WatchJobResponse]:
        """What is left, to the end."""
        updates = []
        while (update := await self.call.read()) is not grpc.aio.EOF:
            updates.append(cast("pb.WatchJobResponse", update))
        return updates


@contextlib.asynccontextmanager
async def open_rig(directory: Path, sessions: SessionConfig | None = None) -> AsyncIterator[Rig]:
    """A running exchange; in a directory that has one, it goes on with it and new keys."""
    async with InProcessExchange(directory, sessions=sessions) as exchange:
        if INSTRUMENT not in exchange.core.instrument_by_name:
            await exchange.batch_instrument(INSTANT)
        buyer = await exchange.trader("buyer", paper=False, funds=FUNDS_NANOS)
        seller = await exchange.key("seller", Role.WORKER)
        rig = Rig(exchange, buyer, seller)
        try:
            yield rig
        finally:
            await rig.channel.close()
        exchange.core.check()
        assert exchange.core.imbalance_nanos() == 0
        assert exchange.core.overspend_nanos() == 0


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo that a refused call came with."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            status = status_pb2.Status.FromString(cast("bytes", value))
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info
    raise AssertionError(f"no ErrorInfo came with {error!r}")
