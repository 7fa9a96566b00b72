"""Every part of the client against a real exchange."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.client import (
    Answer,
    AsyncClient,
    ClearingMode,
    Client,
    ClientIdRefused,
    EntryKind,
    ExecutionType,
    Instrument,
    InsufficientFunds,
    InvalidRequest,
    JobCancelled,
    JobState,
    JobTerms,
    NotFound,
    NotNow,
    OrderState,
    Output,
    OutputVoided,
    PermissionDenied,
    Report,
    Settlement,
    Side,
    StopCause,
    TimeInForce,
    TradingState,
    Unauthenticated,
    Update,
    WorkerAction,
    WorkerState,
    uuid7,
)
from exchange.core.commands import Role
from exchange.metering.cards import INSTANT
from exchange.server import Server
from exchange.testing import InProcessExchange
from exchange.testing.fake_worker import FakeWorker
from tests.exchange.client.scripted import KEY, QUICK, until
from tests.ports import reserved_port
from tests.waiting import WITHIN_S

QUOTED = f"{INSTANT.name}/cpu/interactive"
TERMS: JobTerms = {"model": INSTANT.name, "value": "$0.002", "output_tokens_max": 8}


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[InProcessExchange]:
    async with InProcessExchange(tmp_path) as running:
        await running.batch_instrument(INSTANT)
        await running.paper_instrument("paper", tick_nanos=5)
        yield running


@contextlib.asynccontextmanager
async def client_of(exchange: InProcessExchange, key: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(exchange.address, key, retry=QUICK) as client:
        yield client


@contextlib.asynccontextmanager
async def worker_of(exchange: InProcessExchange, name: str = "fake") -> AsyncIterator[FakeWorker]:
    key = await exchange.key("seller", Role.WORKER)
    async with exchange.channel() as channel, FakeWorker(channel, key, name=name) as worker:
        await worker.register()
        await worker.quote(QUOTED, 1_000)
        yield worker


async def test_a_job_from_prompt_to_receipt(exchange: InProcessExchange) -> None:
    key = await exchange.trader("alice", paper=False)
    async with client_of(exchange, key) as client, worker_of(exchange) as worker:
        serving = asyncio.create_task(worker.serve("Hello ", "world"))
        before = await client.account.get()
        answer = await client.jobs.run("Say hello.", **TERMS)
        assert (answer.text, answer.complete) == ("Hello world", True)
        assert answer.paid_nanos == answer.job.paid_nanos > 0
        assert answer.job.worker == "fake"

        job_id = answer.job.job_id
        assert await client.jobs.output(job_id) == "Hello world"
        assert (await client.jobs.get(job_id)).state == JobState.SETTLED
        assert (await client.jobs.follow(job_id)).text == "Hello world"
        receipt = await client.account.receipt(job_id=job_id)
        assert (receipt.accepted, receipt.flops, receipt.stop_cause) == (
            True,
            answer.flops,
            StopCause.FINISHED,
        )
        assert await client.account.receipt(lease_id=receipt.lease_id) == receipt
        after = await client.account.get()
        assert after.balance_nanos == before.balance_nanos - answer.paid_nanos
        assert after.available_nanos == after.balance_nanos
        kinds = [e.kind async for e in client.account.ledger()]
        assert kinds == [EntryKind.LEASE, EntryKind.DEPOSIT]
        assert [j.job_id async for j in client.jobs.list()] == [job_id]
        assert [j async for j in client.jobs.list(open_only=True)] == []
        with pytest.raises(NotNow, match="JOB_CLOSED"):
            await client.jobs.cancel(job_id)
        with pytest.raises(ValueError, match="either"):
            await client.account.receipt()
        serving.cancel()


async def test_a_submission_may_be_repeated(exchange: InProcessExchange) -> None:
    async with client_of(exchange, await exchange.trader("alice", paper=False)) as client:
        client_job_id = uuid7()
        first = await client.jobs.submit("Hi", client_job_id=client_job_id, **TERMS)
        again = await client.jobs.submit("Hi", client_job_id=client_job_id, **TERMS)
        assert (first.repeated, again.repeated) == (False, True)
        assert first.job_id == again.job_id
        assert first.waiting_for
        with pytest.raises(ClientIdRefused, match="DUPLICATE_CLIENT_ID"):
            await client.jobs.submit("Ho", client_job_id=client_job_id, **TERMS)
        assert (await client.jobs.cancel(first.job_id)).state == JobState.CANCELLED
        with pytest.raises(JobCancelled, match="CANCELLED_BY_OWNER"):
            await client.jobs.follow(first.job_id)


async def test_refusals_have_their_types(exchange: InProcessExchange) -> None:
    key = await exchange.trader("alice", paper=False, funds=1)
    async with client_of(exchange, key) as client:
        with pytest.raises(InsufficientFunds):
            await client.jobs.submit("Hi", **TERMS)
        with pytest.raises(NotFound, match="UNKNOWN_MODEL"):
            await client.jobs.submit("Hi", model="no-such", value=1)
        with pytest.raises(InvalidRequest, match="VALUE_MISSING"):
            await client.jobs.submit("Hi", model=INSTANT.name)
        with pytest.raises(NotFound, match="UNKNOWN_JOB"):
            await client.jobs.get(99)
        with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
            await client.admin.deposit("alice", "$1")
    async with client_of(exchange, KEY) as client:
        with pytest.raises(Unauthenticated, match="KEY_UNKNOWN"):
            await client.account.get()
    async with client_of(exchange, "") as client:
        with pytest.raises(Unauthenticated, match="KEY_MISSING"):
            await client.account.get()


async def test_a_lost_workers_output_is_void(exchange: InProcessExchange) -> None:
    key = await exchange.trader("alice", paper=False)
    seen: list[Update] = []
    async with client_of(exchange, key) as client:
        async with worker_of(exchange) as lost:
            running = asyncio.create_task(client.jobs.run("Hi", on_update=seen.append, **TERMS))
            offer = await lost.offer()
            await lost.begin(offer)
            await lost.chunk(offer, 0, "half ")
            await until(lambda: any(isinstance(u, Output) for u in seen))
            await lost.leave()
        async with worker_of(exchange, "another") as found:
            await found.run(await found.offer(), "whole")
            answer = await running
    assert answer.text == "whole"
    assert answer.job.attempt == 2
    assert OutputVoided(1, 1) in seen


async def test_an_interrupted_run_stops_the_worker(exchange: InProcessExchange) -> None:
    key = await exchange.trader("alice", paper=False)
    async with client_of(exchange, key) as client, worker_of(exchange) as worker:
        running = asyncio.create_task(client.jobs.run("Hi", **TERMS))
        offer = await worker.offer()
        await worker.begin(offer)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await worker.receive("cancel")).cancel.lease_id == offer.lease_id


async def test_a_job_outlives_a_restart_of_the_exchange(tmp_path: Path) -> None:
    with reserved_port() as port:
        await _job_over_a_restart(tmp_path, f"127.0.0.1:{port}")


def _at(directory: Path, address: str) -> InProcessExchange:
    """An exchange at an address of its own."""
    made = InProcessExchange(directory)
    made.server = Server(replace(made.config, address=address), made.clock)
    return made


async def _job_over_a_restart(directory: Path, address: str) -> None:
    async with _at(directory, address) as exchange:
        await exchange.batch_instrument(INSTANT)
        key = await exchange.trader("alice", paper=False)
        client = AsyncClient(address, key, retry=QUICK)
        job = await client.jobs.submit("Hi", **TERMS)
        following = asyncio.create_task(client.jobs.follow(job.job_id))
        await asyncio.sleep(0.1)
    async with _at(directory, address) as again, worker_of(again) as worker:
        await worker.run(await worker.offer(), "late")
        assert (await following).text == "late"
        await client.close()


async def test_a_watch_of_trades_outlives_a_restart_of_the_exchange(tmp_path: Path) -> None:
    with reserved_port() as port:
        await _trades_over_a_restart(tmp_path, f"127.0.0.1:{port}")


async def _trades_over_a_restart(directory: Path, address: str) -> None:
    async def trade(client: AsyncClient, quantity: int) -> None:
        # Between two of one account's orders there is no trade.
        await client.orders.place("paper", Side.BID, 100, quantity)
        await other.orders.place("paper", Side.ASK, 100, quantity)

    async with contextlib.AsyncExitStack() as stack:
        async with _at(directory, address) as exchange:
            await exchange.paper_instrument("paper", tick_nanos=5)
            alice, other = [
                await stack.enter_async_context(client_of(exchange, await exchange.trader(name)))
                for name in ("alice", "bob")
            ]
            for quantity in range(1, 6):
                await trade(alice, quantity)
            watch = alice.market.watch_trades("paper", recent=2)
            await stack.enter_async_context(contextlib.aclosing(watch))
            assert [(await anext(watch)).quantity_mflop for _ in range(2)] == [4, 5]
            next_one = asyncio.ensure_future(anext(watch))
        async with _at(directory, address):
            await trade(alice, 6)
            assert (await asyncio.wait_for(next_one, WITHIN_S)).quantity_mflop == 6


async def test_orders_one_by_one(exchange: InProcessExchange) -> None:
    async with (
        client_of(exchange, await exchange.trader("alice")) as alice,
        client_of(exchange, await exchange.trader("bob")) as bob,
    ):
        bid = await alice.orders.place("paper", Side.BID, 100, 10)
        assert (bid.state, bid.rejected, bid.reports[0].execution_type) == (
            OrderState.NEW,
            False,
            ExecutionType.NEW,
        )
        again = await alice.orders.place(
            "paper", Side.BID, 100, 10, client_order_id=bid.client_order_id
        )
        assert (again.repeated, again.order_id) == (True, bid.order_id)
        off_tick = await alice.orders.place("paper", Side.BID, 101, 10)
        assert (off_tick.rejected, off_tick.reason) == (True, "PRICE_OFF_TICK")
        assert off_tick.state == OrderState.REJECTED

        sold = await bob.orders.place("paper", Side.ASK, 95, 4, time_in_force=TimeInForce.IOC)
        assert (sold.state, sold.filled_mflop, sold.fills[0].price_nanos) == (
            OrderState.FILLED,
            4,
            100,
        )
        replaced = await alice.orders.replace(bid.order_id, 105, 8)
        assert (replaced.rejected, replaced.reports[0].execution_type) == (
            False,
            ExecutionType.REPLACED,
        )
        order = await alice.orders.get(client_order_id=bid.client_order_id)
        assert (order.price_nanos, order.quantity_mflop, order.leaves_mflop) == (105, 8, 4)
        assert [o.order_id async for o in alice.orders.list(instrument="paper")] == [bid.order_id]
        cancelled = await alice.orders.cancel(order_id=bid.order_id)
        assert (cancelled.state, cancelled.reason) == (OrderState.CANCELED, "CANCELLED_BY_OWNER")
        gone = await alice.orders.cancel(order_id=bid.order_id)
        assert (gone.rejected, gone.reason) == (True, "UNKNOWN_ORDER")
        with pytest.raises(NotFound, match="UNKNOWN_ORDER"):
            await alice.orders.get(order_id=bid.order_id)
        trades = alice.market.watch_trades("paper", recent=10)
        assert (await anext(trades)).quantity_mflop == 4
        await trades.aclose()


async def test_an_order_stream_and_the_books_that_it_makes(exchange: InProcessExchange) -> None:
    async with (
        client_of(exchange, await exchange.trader("alice")) as alice,
        client_of(exchange, await exchange.trader("bob")) as bob,
        await alice.orders.stream() as stream,
    ):
        books = bob.market.watch_book("paper", depth=20)
        assert (await anext(books)).bids == ()
        prices = [5 * p for p in range(1, 301)]
        placed = [stream.place("paper", Side.BID, p, 10) for p in prices]
        results = await asyncio.gather(*placed)
        assert not any(r.rejected for r in results)
        assert len({r.order_id for r in results}) == 300

        sold = await bob.orders.place("paper", Side.ASK, 5, 25)
        assert [f.price_nanos for f in sold.fills] == [1500, 1495, 1490]
        events = stream.reports()
        told = [await anext(events) for _ in range(3)]
        assert [r.quantity_mflop for r in told if isinstance(r, Report)] == [10, 10, 5]
        book = await anext(books)
        while book.best_bid is None or book.best_bid.price_nanos != 1490:
            book = await anext(books)
        assert len(book.bids) == 20
        assert book.best_bid.quantity == 5
        now = await bob.market.book("paper", depth=20)
        assert now.bids == book.bids
        cancelled = await asyncio.gather(*(stream.cancel(order_id=r.order_id) for r in results[:9]))
        assert {r.state for r in cancelled} == {OrderState.CANCELED}
        await books.aclose()


async def test_the_operator(exchange: InProcessExchange) -> None:
    async with client_of(exchange, exchange.operator_key) as operator:
        admin = operator.admin
        account = await admin.create_account("carol", paper=True)
        assert (account.name, account.paper, account.balance_nanos) == ("carol", True, 0)
        with pytest.raises(InvalidRequest, match="NAME_TAKEN"):
            await admin.create_account("carol")
        request_id = uuid7()
        for _ in range(2):
            account = await admin.deposit("carol", "$5", request_id=request_id)
        assert account.balance_nanos == 5 * 10**9
        assert (await admin.withdraw("carol", "$1.50")).balance_nanos == 3_500_000_000
        with pytest.raises(InsufficientFunds):
            await admin.withdraw("carol", "$100")

        made = await admin.create_key("carol", ["trader"], label="laptop")
        assert made.secret.startswith("flx_")
        assert made.secret not in repr(made)
        async with client_of(exchange, made.secret) as carol:
            (listed,) = await carol.account.keys()
            assert (listed.key_id, listed.label, listed.roles) == (
                made.key_id,
                "laptop",
                ("trader",),
            )
            await admin.set_account_halted("carol", True)
            assert (await carol.account.get()).halted
            await admin.set_account_halted("carol", False)
            await admin.revoke_key(made.key_id)
            with pytest.raises(Unauthenticated):
                await carol.account.get()

        wanted = Instrument(
            name="futures",
            settlement=Settlement.PAPER,
            clearing_mode=ClearingMode.CONTINUOUS,
            tick_nanos=10,
            lot_mflop=1,
            price_min_nanos=10,
            price_max_nanos=10_000,
            quantity_max_mflop=1_000,
        )
        made_instrument = await admin.create_instrument(wanted)
        assert made_instrument.instrument_id
        assert made_instrument.state == TradingState.OPEN
        halted = await admin.set_instrument_state("futures", TradingState.HALTED)
        assert halted == await operator.market.instrument("futures")
        assert halted.state == TradingState.HALTED
        card = INSTANT.encode().replace(b'"name":"instant"', b'"name":"instant-2"')
        assert (await admin.create_model(card)).name == "instant-2"

        assert "carol" in {a.name for a in await admin.accounts()}
        found = await admin.invariants(full=True)
        assert (found.ledger_imbalance_nanos, found.overspend_nanos, found.failure) == (0, 0, "")
        assert len(found.digest) == 32
        entries = [e async for e in admin.export_ledger()]
        assert [e.kind for e in entries] == [EntryKind.DEPOSIT, EntryKind.WITHDRAWAL]


async def test_workers_for_their_owner_and_for_the_operator(exchange: InProcessExchange) -> None:
    async with worker_of(exchange) as worker:
        key = await exchange.key("seller", Role.WORKER)
        async with client_of(exchange, key) as owner:
            (found,) = await owner.workers.list()
            assert (found.name, found.state, found.connected) == ("fake", WorkerState.READY, True)
            assert found.quotes[0].prices_nanos == (1_000,)
            assert (await owner.workers.pause("fake")).state == WorkerState.PAUSED
            await worker.receive("change")
            assert (await owner.workers.resume(found.worker_id)).state == WorkerState.READY
            with pytest.raises(NotFound, match="UNKNOWN_WORKER"):
                await owner.workers.pause("no-such")
            assert (await owner.workers.drain("fake")).state in (
                WorkerState.DRAINING,
                WorkerState.LEFT,
            )
        async with client_of(exchange, exchange.operator_key) as operator:
            paused = await operator.admin.set_worker(found.worker_id, WorkerAction.RESUME)
            assert paused.worker_id == found.worker_id


async def test_the_blocking_client(exchange: InProcessExchange) -> None:
    key = await exchange.trader("alice", paper=False)
    paper_key = await exchange.trader("bob")

    def use() -> tuple[Answer, int, int]:
        with Client(exchange.address, key) as client:
            answer = client.jobs.run("Say hello.", **TERMS)
            jobs = len(list(client.jobs.list()))
        with Client(exchange.address, paper_key) as client, client.orders.stream() as stream:
            placed = [stream.place("paper", Side.BID, 5 * p, 1) for p in range(1, 51)]
            resting = sum(not f.result(WITHIN_S).rejected for f in placed)
            assert next(client.market.watch_book("paper")).best_bid is not None
        return answer, jobs, resting

    async with worker_of(exchange) as worker:
        serving = asyncio.create_task(worker.serve("Hello ", "world"))
        answer, jobs, resting = await asyncio.to_thread(use)
        serving.cancel()
    assert (answer.text, jobs, resting) == ("Hello world", 1, 50)
