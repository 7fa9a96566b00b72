"""Jobs with legs and an account's message limits, by the client, against a real exchange."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.client import (
    AsyncClient,
    InvalidRequest,
    JobLeg,
    JobState,
    LimitReached,
    MessageLimits,
    NotFound,
    NotNow,
    RetryPolicy,
    Side,
)
from exchange.core.commands import Role
from exchange.metering.cards import INSTANT, ModelCard
from exchange.testing import InProcessExchange, ManualClock
from exchange.testing.fake_worker import FakeWorker

LARGE = ModelCard(name="large", family="instant", flops_per_token=3_000_000)
SMALL_CPU, LARGE_CPU = "instant/cpu/interactive", "large/cpu/interactive"
LEGS = (JobLeg(SMALL_CPU, 2_000, 40), JobLeg(LARGE_CPU, 2_000, 120))
ONCE = RetryPolicy(attempts=1)


TIME_STANDS_STILL = pytest.mark.parametrize(
    "exchange", [lambda: ManualClock(time.time_ns())], indirect=True, ids=["still"]
)
"""However long a busy machine takes, no message limit fills up again."""


@pytest.fixture
async def exchange(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[InProcessExchange]:
    # Made now, not when tests are collected: ids of the client's have the time of this moment.
    make_clock = getattr(request, "param", None)
    async with InProcessExchange(tmp_path, make_clock and make_clock()) as running:
        await running.batch_instrument(INSTANT)
        await running.batch_instrument(LARGE)
        await running.paper_instrument("paper")
        yield running


@pytest.fixture
async def buyer(exchange: InProcessExchange) -> AsyncIterator[AsyncClient]:
    key = await exchange.trader("buyer", paper=False)
    async with AsyncClient(exchange.address, key, retry=ONCE) as client:
        yield client


async def test_it_runs_where_it_gains_most_and_is_billed_once(
    exchange: InProcessExchange, buyer: AsyncClient
) -> None:
    key = await exchange.key("seller", Role.WORKER)
    async with (
        exchange.channel() as channel,
        FakeWorker(channel, key, name="small") as small,
        FakeWorker(channel, key, name="large", card=LARGE) as large,
    ):
        for worker, instrument in ((small, SMALL_CPU), (large, LARGE_CPU)):
            await worker.register()
            await worker.quote(instrument, 1_000)
        before = (await buyer.account.get()).balance_nanos
        job = await buyer.jobs.submit("one two", legs=LEGS, output_tokens_max=8)
        assert [(leg.instrument, leg.quantity_mflop) for leg in job.legs] == [
            (SMALL_CPU, 40),
            (LARGE_CPU, 120),
        ]
        assert job.escrow_nanos == 1  # 2,000 nanos x 120 MFLOP, rounded up
        offer = await large.offer()
        assert (offer.model, offer.instrument, offer.quantity_mflop) == ("large", LARGE_CPU, 120)
        assert exchange.core.groups[1].bids() == exchange.core.groups[2].bids() == []
        assert (await large.run(offer, "a ", "b")).accepted
        answer = await buyer.jobs.follow(job.job_id)
        after = (await buyer.account.get()).balance_nanos
        assert answer.text == "a b"
        assert (answer.job.model, answer.job.instrument) == ("large", LARGE_CPU)
        assert [leg.reason for leg in answer.job.legs] == ["", ""]
        assert before - after == answer.paid_nanos == 1
        entries = [entry async for entry in buyer.account.ledger(limit=10)]
        assert sum(entry.reference_id == answer.job.lease_id for entry in entries) == 1
        receipt = await buyer.account.receipt(job_id=job.job_id)
        assert receipt.model_card == LARGE.encode()
        with pytest.raises(TimeoutError):
            await small.offer(wait_s=0.1)


async def test_a_leg_that_cannot_serve_it_says_why_and_the_other_waits(
    exchange: InProcessExchange, buyer: AsyncClient
) -> None:
    legs = [JobLeg(SMALL_CPU, "2000 nanos/CU", 10**9 + 1), JobLeg(LARGE_CPU)]
    job = await buyer.jobs.submit("Hi", legs=legs, value="$0.001", output_tokens_max=8)
    assert [leg.reason for leg in job.legs] == ["NO_CAPABLE_CLASS", ""]
    assert [leg.waiting_for for leg in job.legs] == ["", "no quotes"]
    assert job.legs[1].quantity_mflop == 3 * (LARGE.prompt_tokens_max(2, 1) + 8 - 1)
    assert job.waiting_for == "no quotes"
    assert (job.model, job.quantity_mflop, job.limit_nanos) == ("", 0, 0)
    same = await buyer.jobs.submit(
        "Hi", legs=legs, value="$0.001", output_tokens_max=8, client_job_id=job.client_job_id
    )
    assert (same.job_id, same.repeated) == (job.job_id, True)
    ended = await buyer.jobs.cancel(job.job_id)
    assert (ended.state, ended.legs[1].waiting_for) == (JobState.CANCELLED, "")


async def test_what_is_no_job_with_legs_is_refused(buyer: AsyncClient) -> None:
    with pytest.raises(InvalidRequest, match="LEGS_INVALID"):
        await buyer.jobs.submit("Hi", legs=[LEGS[0]] * 17)
    with pytest.raises(InvalidRequest, match="LEGS_INVALID"):
        await buyer.jobs.submit("Hi", legs=[LEGS[0], LEGS[0]])
    with pytest.raises(InvalidRequest, match="tier is each leg's own"):
        await buyer.jobs.submit("Hi", legs=LEGS, tier="batch")
    with pytest.raises(InvalidRequest, match="ORDER_TYPE_UNSUPPORTED"):
        await buyer.jobs.submit("Hi", legs=[JobLeg("paper", 5, 5)])
    with pytest.raises(NotFound, match="UNKNOWN_INSTRUMENT"):
        await buyer.jobs.submit("Hi", legs=[JobLeg("none/cpu/batch", 5, 5)])
    with pytest.raises(InvalidRequest, match="VALUE_MISSING"):
        await buyer.jobs.submit("Hi", legs=[JobLeg(SMALL_CPU)])
    with pytest.raises(NotNow, match="MONEY_CAP"):
        await buyer.jobs.submit("Hi", legs=[JobLeg(SMALL_CPU, 10**9, 10**6)], max_cost=5)


@TIME_STANDS_STILL
async def test_message_limits_are_set_shown_and_say_when_to_try_again(
    exchange: InProcessExchange, buyer: AsyncClient
) -> None:
    limits = MessageLimits(messages_per_s=1, message_burst=2)
    async with AsyncClient(exchange.address, exchange.operator_key) as operator:
        after = await operator.admin.set_account_limits("buyer", limits)
        assert after.limits.messages == limits
        with pytest.raises(InvalidRequest, match="FIELD_INVALID"):
            await operator.admin.set_account_limits("buyer", MessageLimits(messages_per_s=1))
    assert (await buyer.account.get()).limits.messages == limits
    for _ in range(2):
        job = await buyer.jobs.submit("Hi", model="instant", value=5_000)
    with pytest.raises(LimitReached) as caught:
        await buyer.jobs.submit("Hi", model="instant", value=5_000)
    assert caught.value.reason == "MESSAGE_RATE"
    assert caught.value.retry_after_s is not None
    assert 0 < caught.value.retry_after_s <= 1
    await buyer.jobs.cancel(job.job_id)


@TIME_STANDS_STILL
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_refused_order_says_when_to_try_again(
    exchange: InProcessExchange, streamed: bool
) -> None:
    """In rows, as a stream has it, as in messages."""
    key = await exchange.trader("ann")
    async with (
        AsyncClient(exchange.address, exchange.operator_key) as operator,
        AsyncClient(exchange.address, key) as ann,
    ):
        await operator.admin.set_account_limits("ann", MessageLimits(1, 1))
        orders = ann.orders
        assert not (await orders.place("paper", Side.BID, 5, 1)).rejected
        began_ns = exchange.clock.now_ns()
        if streamed:
            async with await orders.stream() as stream:
                result = await stream.place("paper", Side.BID, 5, 1)
        else:
            result = await orders.place("paper", Side.BID, 5, 1)
        assert (result.rejected, result.reason) == (True, "MESSAGE_RATE")
        assert 0 < result.retry_time_ns - began_ns <= 10**9
        assert await orders.cancel_all() == 1
