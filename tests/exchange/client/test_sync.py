"""The blocking client: threads, interruption, closing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exchange.client import (
    AsyncClient,
    Client,
    ClientClosed,
    JobChanged,
    NotFound,
    RetryPolicy,
    Side,
    Unavailable,
)
from exchange.client.loop_thread import SIGNAL_S, LoopThread
from tests.exchange.client.scripted import KEY, QUICK, serving
from tests.exchange.client.test_jobs import JOB, Jobs, chunk, job, settled
from tests.exchange.client.test_order_stream import Unary
from tests.ports import reserved_port
from tests.waiting import WITHIN_S


class Background:
    """Servers on a loop of their own thread, so that a test can block."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._thread = LoopThread()

    def serve(self, script: object) -> str:
        target: str = self._thread.run(self._serve(script))
        return target

    async def _serve(self, script: object) -> str:
        return await self._stack.enter_async_context(serving(script))

    def close(self) -> None:
        self._thread.run(self._close())
        self._thread.close()

    async def _close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    yield made
    made.close()


def threads() -> set[str]:
    return {t.name for t in threading.enumerate()}


def test_a_job_runs_to_its_answer(background: Background) -> None:
    target = background.serve(Jobs([job(), chunk(0)], [chunk(1), settled()]))
    with Client(target, KEY, retry=QUICK) as client:
        assert client.jobs.run("Hi", model="m", value="$1").text == "1.0 1.1 "
        assert repr(client) == f"Client('{target}')"


def test_an_iterator_gives_items_as_they_come_and_can_be_left(background: Background) -> None:
    target = background.serve(Jobs([job(), chunk(0), None], [job(), settled()]))
    with Client(target, KEY, retry=QUICK) as client:
        first = next(client.jobs.watch(JOB))
        assert isinstance(first, JobChanged)
        gc.collect()
        assert len(list(client.jobs.watch(JOB))) == 2


def test_errors_come_through(background: Background) -> None:
    with Client(background.serve(Unary()), KEY, retry=QUICK) as client:
        with pytest.raises(NotFound):
            client.orders.place("no such", Side.BID, 1, 1)
        with pytest.raises(ValueError, match="not an amount"):
            client.jobs.submit("Hi", model="m", value="?")
    with (
        reserved_port() as port,
        Client(f"127.0.0.1:{port}", KEY, retry=RetryPolicy(attempts=2, first_s=0.01)) as client,
        pytest.raises(Unavailable),
    ):
        client.account.get(timeout_s=WITHIN_S)


def test_many_threads_share_a_client(background: Background) -> None:
    with (
        Client(background.serve(Unary()), KEY, retry=QUICK) as client,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        placed = pool.map(lambda _: client.orders.place("paper", Side.BID, 1, 10), range(64))
        assert {r.order_id for r in placed} == {4}


def test_an_order_stream_takes_orders_from_any_thread(background: Background) -> None:
    orders = Unary()
    with Client(background.serve(orders), KEY, retry=QUICK) as client:
        with client.orders.stream() as stream, concurrent.futures.ThreadPoolExecutor(4) as pool:
            futures = list(pool.map(lambda p: stream.place("paper", Side.BID, p, 1), range(1, 201)))
            assert sorted(f.result(WITHIN_S).order_id for f in futures) == list(range(1, 201))
            with pytest.raises(NotFound):
                stream.place("no such", Side.BID, 1, 1).result(WITHIN_S)
            stream.flush()
            stream.room()
        with pytest.raises(ClientClosed):
            stream.place("paper", Side.BID, 1, 1).result(WITHIN_S)
    assert max(orders.sizes) > 1


def test_an_order_stream_keeps_the_order_of_one_thread(background: Background) -> None:
    orders = Unary()
    with (
        Client(background.serve(orders), KEY, retry=QUICK) as client,
        client.orders.stream() as stream,
    ):
        for price in range(1, 101):
            stream.place("paper", Side.BID, price, 1)
        stream.cancel(order_id=1)
        stream.replace(1, 5, 5)
        with contextlib.suppress(Exception):
            stream.flush()
    sent = [i for b in orders.batches for i in b.instructions]
    assert [i.place.price_nanos for i in sent[:100]] == list(range(1, 101))
    assert [i.WhichOneof("action") for i in sent[100:]] == ["cancel", "replace"]


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def ctrl_c_here() -> None:
    """As the kernel may choose where the main thread has a signal already."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@pytest.mark.parametrize("send", [ctrl_c, ctrl_c_here])
def test_ctrl_c_cancels_the_job_that_runs(background: Background, send: Callable[[], None]) -> None:
    jobs = Jobs([job(), None])
    with Client(background.serve(jobs), KEY, retry=QUICK) as client:
        interrupt = threading.Timer(0.3, send)
        with pytest.raises(KeyboardInterrupt):
            client.jobs.run("Hi", model="m", value=1, on_update=lambda _: interrupt.start())
        assert jobs.cancelled == [JOB]
        # The client can go on.
        assert client.jobs.cancel(JOB).job_id == JOB


def test_a_timeout_of_a_call_is_its_own() -> None:
    async def timed_out() -> None:
        raise TimeoutError("the call's")

    thread = LoopThread()
    try:
        with pytest.raises(TimeoutError, match="the call's"):
            thread.run(timed_out())
        assert thread.run(asyncio.sleep(2 * SIGNAL_S, "slow")) == "slow"
    finally:
        thread.close()


def test_closing_ends_calls_of_other_threads(background: Background) -> None:
    client = Client(background.serve(Jobs([job(), None])), KEY, retry=QUICK)
    updates = client.jobs.watch(JOB)
    next(updates)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, updates)
        time.sleep(0.1)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(WITHIN_S)
    with pytest.raises(ClientClosed):
        client.account.get()
    client.close()


def test_closing_leaves_no_thread() -> None:
    before = threads()
    with Client("127.0.0.1:1", KEY):
        assert "flopex-client" in threads() - before
    assert threads() == before


def test_an_unused_iterator_of_a_closed_client_is_harmless(background: Background) -> None:
    with Client(background.serve(Jobs([job(), None])), KEY, retry=QUICK) as client:
        updates = client.jobs.watch(JOB)
        next(updates)
    del updates
    gc.collect()


def test_a_callback_cannot_block_itself(background: Background) -> None:
    target = background.serve(Jobs([job(), settled()]))
    with Client(target, KEY, retry=QUICK) as client:

        def ask(_: Any) -> None:
            client.account.get()

        with pytest.raises(RuntimeError, match="wait for itself"):
            client.jobs.run("Hi", model="m", value=1, on_update=ask)


def test_an_iterator_dropped_on_the_clients_own_thread_is_closed(background: Background) -> None:
    jobs = Jobs([job(), None])
    with Client(background.serve(jobs), KEY, retry=QUICK) as client:
        held = [client.jobs.watch(JOB)]
        next(held[0])

        async def drop() -> None:
            held.clear()
            gc.collect()
            await asyncio.sleep(0.05)

        client._thread.run(drop())


def in_child(client: Client, answers: Any) -> None:
    try:
        client.account.get()
    except RuntimeError as error:
        answers.put(str(error))


def test_a_forked_child_is_told() -> None:
    with Client("127.0.0.1:1", KEY) as client:
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=in_child, args=(client, answers))
        child.start()
        assert "fork" in answers.get(timeout=WITHIN_S)
        child.join(WITHIN_S)


def test_two_clients_of_one_process_do_not_disturb_each_other(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    target = background.serve(Unary())
    with Client(target, KEY, retry=QUICK) as one, Client(target, KEY, retry=QUICK) as two:
        for _ in range(100):
            one.orders.cancel(order_id=1)
            two.orders.cancel(order_id=1)
    assert "BlockingIOError" not in caplog.text


async def test_both_kinds_work_beside_each_other(background: Background) -> None:
    target = background.serve(Unary())
    async with AsyncClient(target, KEY, retry=QUICK) as here:
        with Client(target, KEY, retry=QUICK) as there:
            placed = asyncio.to_thread(there.orders.place, "paper", Side.BID, 1, 1)
            results = await asyncio.gather(placed, here.orders.place("paper", Side.BID, 1, 1))
    assert [r.order_id for r in results] == [4, 4]
