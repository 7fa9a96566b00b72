"""Why an order would not fill, a job waits, a worker is passed over: asked, and then tried out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.rest.desk import BATCH, Desk
from tests.exchange.http.site import PAPER, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUANTITY = 1_000
RUN_NS = 10**9


async def fillable(desk: Desk, side: str, price: int, quantity: int = 5, name: str = PAPER) -> Any:
    query = f"instrument={name}&side=SIDE_{side}&price_nanos={price}&quantity_mflop={quantity}"
    return await desk.ask("GET", f"/v1/fillable?{query}")


async def place(
    desk: Desk, side: str, price: int, quantity: int, who: str = "paper", **more: Any
) -> None:
    order = {"side": f"SIDE_{side}", "price_nanos": price, "quantity_mflop": quantity}
    order |= {"instrument_id": desk.site.paper_id, **more}
    made = await desk.ask("POST", "/v1/orders", {"order": order}, who=who)
    assert made["reports"][0]["reason"] == "REASON_UNSPECIFIED"


@pytest_asyncio.fixture(loop_scope="module")
async def book(desk: Desk) -> AsyncIterator[None]:
    """Asks of 5 at 50, 5 at 60 and a hidden one at 40; a bid of 5 at 30."""
    await place(desk, "ASK", 50, 5)
    await place(desk, "ASK", 60, 5)
    await place(desk, "ASK", 40, 5, conditions={"hidden": True})
    await place(desk, "BID", 30, 5)
    yield
    await desk.ask("POST", "/v1/orders/cancel", who="paper")


# ---- orders on continuous books ----


@pytest.mark.usefixtures("book")
async def test_an_order_that_fills_and_what_it_costs(desk: Desk) -> None:
    found = await fillable(desk, "BID", 60, 8)
    assert (found["fillable"], found["reason"]) == (True, "REASON_UNSPECIFIED")
    assert (found["filled_mflop"], found["worst_price_nanos"]) == ("8", "60")
    # 5 x 50 + 3 x 60 nano-dollars per CU and MFLOP, rounded up to one nano-dollar.
    assert found["cost_nanos"] == "1"
    assert [level["price_nanos"] for level in found["levels"]] == ["50", "60"]
    any_price = await fillable(desk, "BID", 0, 10)
    assert (any_price["fillable"], any_price["price_needed_nanos"]) == (True, "60")
    assert (await fillable(desk, "ASK", 30, 5))["fillable"]


@pytest.mark.usefixtures("book")
async def test_a_limit_that_is_too_low_and_the_one_that_is_enough(desk: Desk) -> None:
    found = await fillable(desk, "BID", 55, 8)
    assert (found["fillable"], found["filled_mflop"]) == (False, "5")
    assert (found["reason"], found["price_needed_nanos"]) == ("REASON_NO_LIQUIDITY", "60")
    assert "a limit of 60 fills all of it" in found["remedies"][0]
    assert "a quantity of 5 MFLOP" in found["remedies"][1]
    assert (await fillable(desk, "BID", int(found["price_needed_nanos"]), 8))["fillable"]
    assert not (await fillable(desk, "BID", 59, 8))["fillable"]
    assert (await fillable(desk, "BID", 30, 8))["ahead"] == 1


@pytest.mark.usefixtures("book")
async def test_hidden_orders_stay_hidden(desk: Desk) -> None:
    found = await fillable(desk, "BID", 45, 5)
    assert (found["fillable"], found["filled_mflop"]) == (False, "0")
    too_much = await fillable(desk, "BID", 0, 15)
    assert (too_much["filled_mflop"], too_much["price_needed_nanos"]) == ("10", "0")


@pytest.mark.usefixtures("book")
async def test_an_order_that_would_be_refused_says_so(desk: Desk) -> None:
    for price, quantity, reason in (
        (10**7, 5, "PRICE_OUT_OF_BAND"),
        (-1, 5, "PRICE_OUT_OF_BAND"),
        (50, -5, "QUANTITY_NOT_POSITIVE"),
        (50, 10**10, "QUANTITY_TOO_LARGE"),
    ):
        found = await fillable(desk, "BID", price, quantity)
        assert (found["fillable"], found["reason"]) == (False, f"REASON_{reason}")
    error = await desk.refused("GET", "/v1/fillable?instrument=none", status=404)
    assert error["code"] == "UNKNOWN_INSTRUMENT"


@pytest.mark.usefixtures("book")
async def test_states_and_bands_are_told(desk: Desk) -> None:
    async def set_state(state: str, **more: Any) -> None:
        body = {"instrument": PAPER, "state": f"TRADING_STATE_{state}", **more}
        await desk.ask("POST", "/v1/admin/instruments/state", body, who="operator")

    await set_state("HALTED")
    found = await fillable(desk, "BID", 60)
    assert (found["fillable"], found["reason"]) == (False, "REASON_INSTRUMENT_HALTED")
    await set_state("OPEN")
    await set_state("AUCTION", call_ns=3_600 * 10**9)
    await place(desk, "BID", 60, 2, "other")
    found = await fillable(desk, "BID", 60)
    assert "a call auction collects orders; now it would have the price" in found["explanation"]
    assert len(found["remedies"]) == 2
    await set_state("OPEN")
    protections = {"dynamic_band_bps": 1, "reopening_call_ns": 10**9}
    body: dict[str, Any] = {"instrument": PAPER, "protections": protections}
    await desk.ask("POST", "/v1/admin/protections", body, who="operator")
    found = await fillable(desk, "BID", 60, 8)
    assert (found["reason"], found["price_needed_nanos"]) == ("REASON_BEYOND_BAND", "0")
    body["protections"] = {}
    await desk.ask("POST", "/v1/admin/protections", body, who="operator")


# ---- jobs and slots of batch instruments ----


async def submit(desk: Desk, **terms: Any) -> str:
    body = {
        "model": "instant",
        "input": {"prompt": "one two", "output_tokens_max": 16},
        "quantity_mflop": QUANTITY,
        "deadline_ns": 60 * 10**9,
        **terms,
    }
    return str((await desk.ask("POST", "/v1/jobs", body))["job"]["job_id"])


async def why(desk: Desk, job_id: str, **more: Any) -> Any:
    return await desk.ask("GET", f"/v1/jobs/{job_id}/why", **more)


async def quote(desk: Desk, worker: FakeWorker, *prices: int) -> None:
    """Quote, and wait until the exchange knows."""
    await worker.quote(BATCH, *prices)
    assert worker.registered is not None
    quotes = desk.site.exchange.core.workers[worker.registered.worker_id].quotes
    await eventually(lambda: bool(quotes))


@contextlib.asynccontextmanager
async def selling(desk: Desk, name: str, *prices: int) -> AsyncIterator[FakeWorker]:
    """A worker that asks these prices for its slots."""
    async with (
        desk.site.exchange.channel() as channel,
        FakeWorker(channel, desk.keys["seller"], name=name, slots=(len(prices),)) as worker,
    ):
        await worker.register()
        await quote(desk, worker, *prices)
        yield worker
        await worker.leave()


async def test_without_a_worker_nobody_quotes(desk: Desk) -> None:
    found = await fillable(desk, "BID", 0, QUANTITY, BATCH)
    assert (found["fillable"], found["reason"]) == (False, "REASON_NO_QUOTES")
    job_id = await submit(desk, limit_nanos=1_000)
    told = await why(desk, job_id)
    assert told["explanation"] == f"no worker quotes {BATCH}"
    assert told["options"][0]["reason"] == "REASON_NO_QUOTES"
    slot = await fillable(desk, "ASK", 1_001, QUANTITY, BATCH)
    assert (slot["fillable"], slot["price_needed_nanos"]) == (False, "1000")
    assert (await fillable(desk, "ASK", 1_000, QUANTITY, BATCH))["fillable"]
    await desk.ask("DELETE", f"/v1/jobs/{job_id}")


async def test_the_limit_that_is_needed_gets_the_slot_and_one_less_does_not(desk: Desk) -> None:
    async with selling(desk, "ada", 1_000) as worker:
        low = await fillable(desk, "BID", 999, QUANTITY, BATCH)
        assert (low["reason"], low["price_needed_nanos"]) == ("REASON_PRICE_BELOW_ASK", "1000")
        high = await fillable(desk, "BID", 1_200, QUANTITY, BATCH)
        assert (high["fillable"], high["worst_price_nanos"]) == (True, "1000")
        assert (high["slots_free"], high["slots"], high["cost_nanos"]) == (1, 1, "1")
        waiting = await submit(desk, limit_nanos=999)
        told = await why(desk, waiting)
        assert told["options"][0]["limit_needed_nanos"] == "1000"
        assert told["remedies"] == ["a limit of 1000 pays that"]
        running = await submit(desk, limit_nanos=1_000)
        offer = await worker.offer()
        assert offer.price_nanos == 1_000
        busy = await fillable(desk, "BID", 5_000, QUANTITY, BATCH)
        assert (busy["reason"], busy["slots_free"], busy["slots"]) == ("REASON_NO_FREE_SLOT", 0, 1)
        assert busy["ahead"] == 0
        assert int(busy["slot_free_by_time_ns"]) > int(busy["event_time_ns"])
        told = await why(desk, waiting)
        assert told["explanation"] == f"all 1 slots of {BATCH} are busy"
        told = await why(desk, running)
        assert told["explanation"].startswith("worker ada was offered it")
        await worker.run(offer, "three")
        await desk.ask("DELETE", f"/v1/jobs/{waiting}")


async def test_a_managed_bid_runs_with_the_value_or_the_deadline_that_is_needed(
    desk: Desk,
) -> None:
    value = 10
    async with selling(desk, "bob", 1_000) as worker:
        waiting = await submit(desk, value_nanos=value)
        told = await why(desk, waiting)
        option = told["options"][0]
        assert option["reason"] == "REASON_PRICE_BELOW_ASK"
        assert int(option["bid_nanos"]) < 1_000 < int(option["bid_max_nanos"])
        event_ns = int(told["event_time_ns"])
        assert event_ns < int(option["pays_from_time_ns"]) <= int(option["latest_start_time_ns"])
        assert "its bid rises" in told["remedies"][0]
        needed_ns = int(option["deadline_needed_ns"])
        assert RUN_NS / 100 < needed_ns < 60 * 10**9
        needed = int(option["value_needed_nanos"])
        for terms in (
            {"value_nanos": value, "deadline_ns": needed_ns},
            {"value_nanos": needed, "deadline_ns": 59 * 10**9},
        ):
            job_id = await submit(desk, **terms)
            offer = await worker.offer()
            assert str(offer.lease_id) == (await why(desk, job_id))["job"]["lease_id"]
            await worker.run(offer, "three")
        short = {"value_nanos": needed * 9 // 10, "deadline_ns": 60 * 10**9}
        late = {"value_nanos": value, "deadline_ns": needed_ns * 6 // 5}
        for terms in (short, late):
            job_id = await submit(desk, **terms)
            await asyncio.sleep(0.05)
            assert (await why(desk, job_id))["job"]["state"] == "JOB_STATE_QUEUED"
            await desk.ask("DELETE", f"/v1/jobs/{job_id}")
        await desk.ask("DELETE", f"/v1/jobs/{waiting}")


async def test_what_a_job_paid_and_against_which_alternatives(desk: Desk) -> None:
    async with selling(desk, "eve", 1_000, 2_000) as worker:
        for _ in range(2):
            job_id = await submit(desk, limit_nanos=3_000)
            await worker.run(await worker.offer(), "three")
        told = await why(desk, job_id)
        (attempt,) = told["attempts"]
        assert (attempt["bid_nanos"], attempt["ask_nanos"]) == ("3000", "1000")
        assert (attempt["price_nanos"], attempt["settled"]) == ("1000", True)
        assert attempt["billed_nanos"] == told["job"]["paid_nanos"]
        (alternative,) = told["alternatives"]
        assert (alternative["instrument"], alternative["chosen"]) == (BATCH, True)
        assert (alternative["price_nanos"], alternative["ask_nanos"]) == ("1000", "1000")
        assert alternative["cost_nanos"] == told["job"]["paid_nanos"]
        assert int(alternative["price_time_ns"]) < int(attempt["offer_time_ns"])
        assert told["explanation"].startswith("it ran on worker eve and stopped by finished")
        assert "what other workers asked" in told["unknown"][0]


async def test_a_cancelled_job_says_so_and_others_may_not_ask(desk: Desk) -> None:
    job_id = await submit(desk, limit_nanos=1)
    await desk.ask("DELETE", f"/v1/jobs/{job_id}")
    told = await why(desk, job_id)
    assert told["explanation"] == (
        "cancelled after attempt 1: cancelled by owner; the fault was the buyer's"
    )
    assert told["options"] == told["attempts"] == told["alternatives"] == []
    assert (await why(desk, job_id, who="operator"))["job"]["job_id"] == job_id
    path = f"/v1/jobs/{job_id}/why"
    assert (await desk.refused("GET", path, who="paper", status=403))["code"] == "NOT_OWNER"
    assert (await desk.refused("GET", "/v1/jobs/0/why", status=404))["code"] == "UNKNOWN_JOB"


# ---- workers ----


async def worker_why(desk: Desk, worker: FakeWorker, **more: Any) -> Any:
    assert worker.registered is not None
    path = f"/v1/workers/{worker.registered.worker_id}/why"
    return await desk.ask("GET", path, **({"who": "seller"} | more))


async def test_a_worker_is_told_what_keeps_it_from_leases(desk: Desk) -> None:
    async with selling(desk, "dear", 5_000) as dear:
        told = await worker_why(desk, dear)
        assert (told["reason"], told["explanation"]) == (
            "REASON_NO_LIQUIDITY",
            f"no job waits for {BATCH}",
        )
        job_id = await submit(desk, limit_nanos=900)
        told = await worker_why(desk, dear)
        assert told["reason"] == "REASON_PRICE_BELOW_ASK"
        assert told["remedies"][0] == "an ask of 900 sells a slot in the next batch"
        async with selling(desk, "cheap", 1_000, 1_000):
            (standing,) = (await worker_why(desk, dear))["quotes"]
            assert (standing["ask_nanos"], standing["best_ask_nanos"]) == ("5000", "1000")
            assert (standing["cheaper_slots"], standing["jobs_waiting"]) == (2, 1)
            assert standing["leases_own"] == 0
            assert standing["leases_cheaper"] == standing["leases"] > 0
        path = f"/v1/workers/{dear.registered.worker_id}"  # type: ignore[union-attr]
        await desk.ask("POST", path, {"action": "WORKER_ACTION_PAUSE"}, who="seller")
        told = await worker_why(desk, dear)
        assert (told["reason"], told["remedies"]) == ("REASON_WORKER_PAUSED", ["resume it"])
        await desk.ask("POST", path, {"action": "WORKER_ACTION_RESUME"}, who="seller")
        told = await worker_why(desk, dear)
        assert (told["reason"], told["explanation"]) == ("REASON_NO_QUOTES", "it quotes nothing")
        await quote(desk, dear, 900)
        offer = await dear.offer()
        told = await worker_why(desk, dear, who="operator")
        assert (told["reason"], told["quotes"][0]["slots_free"]) == ("REASON_NO_FREE_SLOT", 0)
        assert str(offer.lease_id) in told["worker"]["lease_ids"]
        await desk.ask("DELETE", f"/v1/jobs/{job_id}")
        error = await desk.refused("GET", f"{path}/why", who="buyer", status=403)
        assert error["code"] == "NOT_OWNER"
    told = await worker_why(desk, dear)
    assert told["reason"] == "REASON_WORKER_LOST"
    error = await desk.refused("GET", "/v1/workers/99/why", who="seller", status=404)
    assert error["code"] == "UNKNOWN_WORKER"
