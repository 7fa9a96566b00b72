from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.job_service_pb2 import StopCause
from exchange.v1.reason_pb2 import Reason
from tests.ports import reserved_port
from tests.waiting import WITHIN_S
from tests.worker.leased import QUIET_WITH_CHUNKS, SLOW, STUCK, begin, left
from tests.worker.scripted import (
    ScriptedExchange,
    digest_of,
    make_config,
    running_worker,
    text_of,
)
from worker import leases
from worker.agent import EXIT_DRAINED, EXIT_STOPPED
from worker.session import WorkerRefused


async def test_an_unanswered_receipt_is_sent_again(
    exchange: ScriptedExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RECEIPT_RETRY_S", 0.1)
    async with running_worker(make_config(exchange.target, tmp_path)):
        session, _ = await begin(exchange)
        _, first = await session.output()
        assert await session.next("receipt") == first
        await session.accepted()
        # Those that were on their way come; then no more do.
        async with asyncio.timeout(WITHIN_S):
            while await session.comes("receipt", within_s=0.5):
                pass


async def test_a_lost_connection_is_resumed_where_the_exchange_wants(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=SLOW)):
        session, offer = await begin(exchange, tokens=30)
        first = [await session.next("chunk") for _ in range(3)]
        session.close(grpc.StatusCode.UNAVAILABLE)
        session = await exchange.session()
        register = await session.welcome(pb.ResumedLease(lease_id=1, next_index=2))
        assert list(register.held) == [pb.HeldLease(lease_id=1, fence=offer.fence)]
        chunks, receipt = await session.output()
        assert chunks[0] == first[2]
        whole = text_of([*first[:2], *chunks])
        assert whole == "token " * 30
        assert receipt.output_digest == digest_of(whole)


async def test_after_a_restart_of_the_exchange_all_chunks_come_again(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=SLOW)):
        session, _ = await begin(exchange, tokens=40)
        first = [await session.next("chunk") for _ in range(3)]
        await exchange.stop()
        await asyncio.sleep(0.5)
        await exchange.start()
        session = await exchange.session()
        await session.welcome(pb.ResumedLease(lease_id=1))
        # The exchange may have lost these as well; it refuses what it knows.
        await session.next("accept")
        await session.next("started")
        chunks, receipt = await session.output()
        assert chunks[:3] == first
        assert text_of(chunks) == "token " * 40
        assert receipt.cause == StopCause.STOP_CAUSE_LENGTH


async def test_a_receipt_survives_a_lost_connection(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)):
        session, _ = await begin(exchange)
        chunks, receipt = await session.output()
        session.close(grpc.StatusCode.UNAVAILABLE)
        session = await exchange.session()
        await session.welcome(pb.ResumedLease(lease_id=1, next_index=len(chunks)))
        assert await session.next("receipt") == receipt
        await session.accepted()
        session.close()
        session = await exchange.session()
        assert not (await session.welcome()).held


async def test_a_receipt_whose_answer_was_lost_is_asked_for_again(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)):
        session, _ = await begin(exchange)
        _, receipt = await session.output()
        session.close(grpc.StatusCode.UNAVAILABLE)
        session = await exchange.session()
        await session.welcome()  # settled: the lease is not among those that stand
        assert await session.next("receipt") == receipt
        await session.accepted()
        await session.offer(2)
        await session.next("accept")


async def test_a_lease_that_does_not_stand_any_more_is_dropped(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=STUCK)):
        session, _ = await begin(exchange)
        session.close()
        session = await exchange.session()
        assert len((await session.welcome()).held) == 1
        await session.quiet()
        await session.offer(2)
        await session.next("accept")


async def test_a_cancel_that_came_while_away_is_obeyed(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=STUCK)):
        session, _ = await begin(exchange)
        session.close()
        session = await exchange.session()
        await session.welcome(pb.ResumedLease(lease_id=1, cancelled=True))
        await session.next("accept")
        await session.next("started")
        _, receipt = await session.output()
        assert receipt.cause == StopCause.STOP_CAUSE_CANCELLED


async def test_a_goodbye_of_the_exchange_is_followed_by_another_session(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=STUCK)):
        session, _ = await begin(exchange)
        await session.send(goodbye=pb.Goodbye(detail="draining"))
        again = await exchange.session()
        register = await again.welcome(pb.ResumedLease(lease_id=1, next_index=0))
        assert [held.lease_id for held in register.held] == [1]


async def test_a_drain_finishes_what_is_held_even_over_a_lost_connection(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=SLOW)) as worker:
        session, _ = await begin(exchange, tokens=20)
        worker.agent.drain()
        await session.next("drain", ignore=QUIET_WITH_CHUNKS)
        await session.offer(2)
        assert (await session.next("decline", ignore=QUIET_WITH_CHUNKS)).lease_id == 2
        session.close(grpc.StatusCode.UNAVAILABLE)
        session = await exchange.session()
        await session.welcome(pb.ResumedLease(lease_id=1, next_index=1))
        await session.next("drain", ignore=QUIET_WITH_CHUNKS)
        await session.next("receipt", ignore=QUIET_WITH_CHUNKS)
        await session.accepted()
        await left(session, worker, EXIT_DRAINED)


async def test_an_order_to_drain_from_the_exchange_is_obeyed(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)) as worker:
        session = await exchange.session()
        await session.welcome()
        await session.send(change=pb.WorkerChange(state=pb.WORKER_STATE_DRAINING))
        await left(session, worker, EXIT_DRAINED)


async def test_a_second_order_stops_at_once_and_says_so(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path, instant=STUCK)) as worker:
        session, _ = await begin(exchange)
        worker.agent.drain()
        await session.next("drain")
        worker.agent.drain()
        assert (await session.next("goodbye")).detail == "stopped"
        assert await worker.exit_status() == EXIT_STOPPED


async def test_a_drain_without_a_connection_ends(tmp_path: Path) -> None:
    with reserved_port() as port:
        async with running_worker(make_config(f"127.0.0.1:{port}", tmp_path)) as worker:
            await asyncio.sleep(0.1)
            worker.agent.drain()
            assert await worker.exit_status() == EXIT_DRAINED


async def test_a_drain_that_takes_too_long_is_given_up(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    config = make_config(exchange.target, tmp_path, instant=STUCK, drain_timeout_s=0.2)
    async with running_worker(config) as worker:
        session, _ = await begin(exchange)
        worker.agent.drain()
        await session.next("drain")
        # Its lease goes back at once, and is not waited for until the worker counts as lost.
        await left(session, worker, EXIT_STOPPED)


async def test_a_drain_that_another_process_began_is_not_called_a_success(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    """A supervisor that starts anew what failed must start this again."""
    async with running_worker(make_config(exchange.target, tmp_path)) as worker:
        session = await exchange.session()
        await session.welcome(state=pb.WORKER_STATE_DRAINING)
        await left(session, worker, EXIT_STOPPED)


async def test_a_drain_that_was_asked_for_while_it_was_away_is_one(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)) as worker:
        session = await exchange.session()
        await session.welcome()
        session.close(grpc.StatusCode.UNAVAILABLE)
        session = await exchange.session()
        await session.welcome(state=pb.WORKER_STATE_DRAINING)
        await left(session, worker, EXIT_DRAINED)


@pytest.mark.parametrize("state", [pb.WORKER_STATE_LEFT, pb.WORKER_STATE_LOST])
async def test_a_worker_that_is_taken_for_gone_registers_again(
    exchange: ScriptedExchange, tmp_path: Path, state: pb.WorkerState.ValueType
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)):
        session = await exchange.session()
        await session.welcome()
        await session.send(change=pb.WorkerChange(state=state))
        session = await exchange.session()
        await session.welcome(state=state)  # a goodbye was sequenced behind the registration
        await (await exchange.session()).welcome()


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
    ],
)
async def test_a_worker_that_is_not_wanted_gives_up(
    exchange: ScriptedExchange, tmp_path: Path, code: grpc.StatusCode
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)) as worker:
        session = await exchange.session()
        session.close(code)
        with pytest.raises(WorkerRefused, match="as the test says"):
            await worker.exit_status()


async def test_a_refusal_of_the_registration_is_final(
    exchange: ScriptedExchange, tmp_path: Path
) -> None:
    async with running_worker(make_config(exchange.target, tmp_path)) as worker:
        session = await exchange.session()
        await session.send(refusal=pb.Refusal(reason=Reason.REASON_KEY_MISMATCH))
        with pytest.raises(WorkerRefused, match="KEY_MISMATCH"):
            await worker.exit_status()


async def test_a_worker_waits_for_an_exchange_that_is_not_there_yet(tmp_path: Path) -> None:
    with reserved_port() as port:
        async with running_worker(make_config(f"127.0.0.1:{port}", tmp_path)):
            await asyncio.sleep(0.3)
            late = ScriptedExchange(port)
            await late.start()
            try:
                await (await late.session()).welcome()
            finally:
                await late.stop()
