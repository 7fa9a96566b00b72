"""Steps of one session: bounded where they wait for their commit, void where it was replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exchange.core.commands import Command, SetQuote
from exchange.engine import Outcome
from exchange.rpc import sessions
from exchange.rpc.services import Services
from exchange.rpc.worker_steps import WorkerSteps
from exchange.v1 import worker_service_pb2 as pb
from tests.exchange.rpc.rig import INSTRUMENT, open_rig


async def test_a_stream_is_not_read_on_while_too_many_steps_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PIPELINE_MAX", 2)
    async with open_rig(tmp_path) as rig, rig.worker() as worker:
        engine, steps = rig.exchange.engine, rig.services.queues["worker_steps"]
        submit = engine.submit
        waiting: list[tuple[Command, asyncio.Future[Outcome]]] = []

        def hold(command: Command) -> asyncio.Future[Outcome]:
            if not isinstance(command, SetQuote):
                return submit(command)
            waiting.append((command, asyncio.get_running_loop().create_future()))
            return waiting[-1][1]

        await worker.register()
        monkeypatch.setattr(engine, "submit", hold)
        for price in (5, 6, 7):
            await worker.quote(INSTRUMENT, price)
        await rig.until(lambda: len(waiting) == 2)
        await asyncio.sleep(0.1)
        assert (len(waiting), steps.depth(), steps.limit) == (2, 2, 2)
        for _ in range(3):
            await rig.until(lambda: len(waiting) > 0)
            command, future = waiting.pop(0)
            future.set_result(await submit(command))
        await rig.until(lambda: not steps.depth())
        assert rig.core.workers[1].quotes


@pytest.mark.parametrize("word", ["goodbye", "drain"])
async def test_what_a_replaced_session_still_says_is_not_the_workers_word(
    tmp_path: Path, word: str
) -> None:
    """It may lie unread until the worker is back; it would put the worker out for good."""
    async with open_rig(tmp_path) as rig, rig.worker() as first:
        await rig.ready(first)
        async with rig.worker(private_key=first.private_key) as second:
            hub = rig.services.sessions
            stale = hub._sessions[1]
            await second.register()
            assert hub.is_replaced(stale)
            said = pb.SessionRequest(**{word: {"goodbye": pb.Goodbye, "drain": pb.Drain}[word]()})
            await WorkerSteps(rig.services).handle(stale, said)
            job = await rig.submit()
            assert rig.core.workers[1].state.name == "READY"
            await second.offer()
            await rig.until(lambda: rig.state(job) == "LEASED")


async def test_a_goodbye_while_its_worker_registers_anew_is_not_sequenced_behind_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(tmp_path) as rig, rig.worker() as first:
        await rig.ready(first)
        stale, execute = rig.services.sessions._sessions[1], Services.execute

        async def goodbye_meanwhile(services: Services, command: Command) -> Outcome:
            executing = asyncio.create_task(execute(services, command))
            await asyncio.sleep(0)
            await WorkerSteps(services).handle(stale, pb.SessionRequest(goodbye=pb.Goodbye()))
            return await executing

        monkeypatch.setattr(Services, "execute", goodbye_meanwhile)
        async with rig.worker(private_key=first.private_key) as second:
            await second.register()
            await rig.submit()
            await second.quote(INSTRUMENT, 5)
            await second.offer()
        assert stale.being_replaced
