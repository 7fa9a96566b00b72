"""Workers, for their owners."""

from __future__ import annotations

from exchange.client.connection import Connection
from exchange.client.enums import WorkerAction
from exchange.client.why_types import WorkerExplanation, worker_explanation_from
from exchange.client.worker_types import Worker, worker_from
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.worker_service_pb2_grpc import WorkerServiceStub


class AsyncWorkers:
    """The caller's workers. Reached as `client.workers`.

    A worker's own session is no part of this client: the package `worker` speaks it, over a channel
    of `open_channel`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, *, timeout_s: float | None = None) -> tuple[Worker, ...]:
        """The caller's workers, by id; all of them for an operator."""
        stub = self._connection.stub(WorkerServiceStub)
        request = pb.ListWorkersRequest()
        answer = await self._connection.call(stub.ListWorkers, request, timeout_s=timeout_s)
        return tuple(worker_from(w) for w in answer.workers)

    async def pause(self, worker: int | str, *, timeout_s: float | None = None) -> Worker:
        """Let a worker take no new leases until it is resumed.

        Args:
            worker: Its id, or its name in the caller's account.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such worker (UNKNOWN_WORKER).
        """
        return await self._set(worker, WorkerAction.PAUSE, timeout_s)

    async def resume(self, worker: int | str, *, timeout_s: float | None = None) -> Worker:
        """Let a worker take leases again; the arguments are those of `pause`."""
        return await self._set(worker, WorkerAction.RESUME, timeout_s)

    async def drain(self, worker: int | str, *, timeout_s: float | None = None) -> Worker:
        """Let a worker finish what it holds and leave; the arguments are those of `pause`."""
        return await self._set(worker, WorkerAction.DRAIN, timeout_s)

    async def explain(
        self, worker: int | str, *, timeout_s: float | None = None
    ) -> WorkerExplanation:
        """Why a worker gets few or no leases; the arguments are those of `pause`."""
        request = pb.ExplainWorkerRequest()
        if isinstance(worker, str):
            request.name = worker
        else:
            request.worker_id = worker
        stub = self._connection.stub(WorkerServiceStub)
        answer = await self._connection.call(stub.ExplainWorker, request, timeout_s=timeout_s)
        return worker_explanation_from(answer)

    async def _set(
        self, worker: int | str, action: WorkerAction, timeout_s: float | None
    ) -> Worker:
        request = pb.SetWorkerRequest(action=action)  # type: ignore[arg-type]
        if isinstance(worker, str):
            request.name = worker
        else:
            request.worker_id = worker
        stub = self._connection.stub(WorkerServiceStub)
        answer = await self._connection.call(stub.SetWorker, request, timeout_s=timeout_s)
        return worker_from(answer.worker)
