"""Bad input of buyers, traders and strangers: each its typed error, and nothing lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import SetAccountHalted
from exchange.core.limits import (
    COST_MAX_NANOS,
    DEADLINE_MAX_NS,
    JOB_QUANTITY_MAX_MFLOP,
    NS_PER_S,
    OUTPUT_TOKENS_MAX,
    PAYLOAD_BYTES_MAX,
    QUANTITY_MAX_MFLOP,
)
from exchange.rpc.calls import MESSAGE_BYTES_MAX
from exchange.rpc.convert.jobs import MESSAGES_MAX, TEMPERATURE_MAX_MILLI
from exchange.testing.ids import uuid7
from exchange.testing.in_process import metadata
from exchange.v1 import job_service_pb2 as pb
from exchange.v1 import market_pb2, order_service_pb2
from exchange.v1.order_service_pb2_grpc import OrderServiceStub
from exchange.v1.reason_pb2 import Reason
from tests.exchange.rpc.rig import TOO_DEAR, Calls, Rig, error_info, open_rig

pytestmark = pytest.mark.integration

Code = grpc.StatusCode


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found
        assert not [n for n in found.services.blobs.ids() if not is_wanted(found, n)]


def is_wanted(rig: Rig, name: str) -> bool:
    return rig.services.job_blobs._is_wanted(name)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def nothing_is_lost(rig: Rig) -> None:
    """No money is held for what was refused, and the exchange takes the next good job."""
    account = rig.core.account_by_name["buyer"]
    assert rig.core.ledger.pending(account) == 0
    assert (await rig.submit()).state == pb.JOB_STATE_QUEUED


def chat(*roles: str) -> pb.JobInput:
    messages = [pb.ChatMessage(role=role, content="hi") for role in roles]
    return pb.JobInput(messages=messages, output_tokens_max=4)


def asking(**fields: Any) -> pb.JobInput:
    given: dict[str, Any] = {"prompt": "hi", "output_tokens_max": 4}
    return pb.JobInput(**(given | fields))


JOBS: list[tuple[str, dict[str, Any], grpc.StatusCode, str]] = [
    ("unknown model", {"model": "gpt-9"}, Code.NOT_FOUND, "UNKNOWN_MODEL"),
    ("no model", {"model": ""}, Code.NOT_FOUND, "UNKNOWN_MODEL"),
    ("unknown instrument", {"instrument": "a/b/c"}, Code.NOT_FOUND, "UNKNOWN_INSTRUMENT"),
    ("paper instrument", {"instrument": "paper"}, Code.INVALID_ARGUMENT, "ORDER_TYPE_UNSUPPORTED"),
    ("unknown tier", {"tier": "someday"}, Code.NOT_FOUND, "UNKNOWN_INSTRUMENT"),
    ("no tier's name", {"tier": "No/Tier"}, Code.INVALID_ARGUMENT, "FIELD_INVALID"),
    (
        "negative quantity",
        {"quantity_mflop": -1},
        Code.INVALID_ARGUMENT,
        "QUANTITY_NOT_POSITIVE",
    ),
    (
        "quantity over its maximum",
        {"quantity_mflop": JOB_QUANTITY_MAX_MFLOP + 1},
        Code.INVALID_ARGUMENT,
        "QUANTITY_TOO_LARGE",
    ),
    (
        "quantity over the class's",
        {"quantity_mflop": JOB_QUANTITY_MAX_MFLOP},
        Code.FAILED_PRECONDITION,
        "NO_CAPABLE_CLASS",
    ),
    ("price off the band", {"value_nanos": 0, "limit_nanos": 10**10}, Code.INVALID_ARGUMENT, ""),
    ("nothing offered", {"value_nanos": 0}, Code.INVALID_ARGUMENT, "VALUE_MISSING"),
    ("negative value", {"value_nanos": -1}, Code.INVALID_ARGUMENT, "AMOUNT_NOT_POSITIVE"),
    ("value and limit", {"limit_nanos": 5}, Code.INVALID_ARGUMENT, "FIELD_INVALID"),
    ("value over its maximum", {"value_nanos": 2**62}, Code.INVALID_ARGUMENT, "AMOUNT_TOO_LARGE"),
    (
        "too small a value",
        {"value_nanos": 1, "quantity_mflop": 10**9},
        Code.INVALID_ARGUMENT,
        "VALUE_TOO_SMALL",
    ),
    ("over the balance", TOO_DEAR, Code.RESOURCE_EXHAUSTED, "INSUFFICIENT_FUNDS"),
    ("expired deadline", {"deadline_ns": -1}, Code.INVALID_ARGUMENT, "DEADLINE_PASSED"),
    (
        "deadline too far",
        {"deadline_ns": DEADLINE_MAX_NS + 1},
        Code.INVALID_ARGUMENT,
        "DEADLINE_TOO_FAR",
    ),
    (
        "deadline too near",
        {"deadline_ns": 1},
        Code.FAILED_PRECONDITION,
        "DEADLINE_INFEASIBLE",
    ),
    (
        "oversized prompt",
        {"input": asking(prompt="x" * PAYLOAD_BYTES_MAX)},
        Code.INVALID_ARGUMENT,
        "PAYLOAD_TOO_LARGE",
    ),
    (
        "prompt over every context",
        {"input": asking(prompt="x" * 5_000)},
        Code.INVALID_ARGUMENT,
        "CONTEXT_TOO_LONG",
    ),
    ("no input", {"input": pb.JobInput()}, Code.INVALID_ARGUMENT, "FIELD_INVALID"),
    (
        "prompt and messages",
        {"input": asking(messages=[pb.ChatMessage(role="user", content="x")])},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    ("unknown role", {"input": chat("user", "god")}, Code.INVALID_ARGUMENT, "FIELD_INVALID"),
    (
        "too many messages",
        {"input": chat(*["user"] * (MESSAGES_MAX + 1))},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    (
        "no output wanted",
        {"input": asking(output_tokens_max=0)},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    (
        "output over its maximum",
        {"input": asking(output_tokens_max=OUTPUT_TOKENS_MAX + 1)},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    (
        "too hot",
        {"input": asking(temperature_milli=TEMPERATURE_MAX_MILLI + 1)},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    (
        "a right answer worth less than nothing",
        {"input": asking(answer_value_nanos=-1)},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    (
        "a right answer worth more than there is",
        {"input": asking(answer_value_nanos=COST_MAX_NANOS + 1)},
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    ("client id too short", {"client_job_id": b"1"}, Code.INVALID_ARGUMENT, "CLIENT_ID_INVALID"),
    (
        "client id of another kind",
        {"client_job_id": bytes(16)},
        Code.INVALID_ARGUMENT,
        "CLIENT_ID_INVALID",
    ),
    (
        "client id too old",
        {"client_job_id": uuid7(10**18)},
        Code.FAILED_PRECONDITION,
        "CLIENT_ID_TOO_OLD",
    ),
    (
        "client id of the future",
        {"client_job_id": uuid7(4 * 10**18)},
        Code.INVALID_ARGUMENT,
        "CLIENT_ID_IN_FUTURE",
    ),
]


@pytest.mark.parametrize(
    ("changes", "code", "reason"), [pytest.param(*rest, id=name) for name, *rest in JOBS]
)
async def test_a_bad_job_is_refused_with_its_reason(
    rig: Rig, changes: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    await rig.exchange.paper_instrument()
    error = await refused(rig.jobs.SubmitJob(rig.request(**changes)))
    info = error_info(error)
    assert error.code() is code, info
    assert info.domain == "exchange.v1"
    assert info.reason == (reason or "PRICE_OUT_OF_BAND")
    await nothing_is_lost(rig)


async def test_duplicate_client_id_with_the_same_and_with_another_content(rig: Rig) -> None:
    request = rig.request("first")
    first = (await rig.jobs.SubmitJob(request)).job
    assert (await rig.jobs.SubmitJob(request)).job.job_id == first.job_id
    request.input.prompt = "second"
    error = await refused(rig.jobs.SubmitJob(request))
    assert error.code() is Code.ALREADY_EXISTS
    assert error_info(error).reason == "DUPLICATE_CLIENT_ID"
    assert rig.core.accounts[rig.core.account_by_name["buyer"]].open_jobs == 1


async def test_a_halted_account_submits_nothing_but_may_cancel(rig: Rig) -> None:
    job = await rig.submit()
    account = rig.core.account_by_name["buyer"]
    await rig.exchange.submit(SetAccountHalted(account, 1))
    error = await refused(rig.jobs.SubmitJob(rig.request()))
    assert error.code() is Code.PERMISSION_DENIED
    assert error_info(error).reason == "ACCOUNT_HALTED"
    await rig.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id))


async def test_malformed_utf8_and_bytes_that_are_no_message(rig: Rig) -> None:
    raw: Any = rig.channel.unary_unary(
        "/exchange.v1.JobService/SubmitJob",
        request_serializer=None,
        response_deserializer=pb.SubmitJobResponse.FromString,
    )
    good = rig.request("caf\u00e9").SerializeToString()
    bad_text = good.replace("caf\u00e9".encode(), b"caf\xff\xfe")
    for data in (bad_text, b"\xff\xff\xff", good[:-1]):
        error = await refused(raw(data, metadata=metadata(rig.buyer)))
        assert error.code() is Code.INVALID_ARGUMENT
        assert error_info(error).reason == "MESSAGE_MALFORMED"
    await nothing_is_lost(rig)


async def test_a_message_above_the_limit(rig: Rig) -> None:
    error = await refused(rig.jobs.SubmitJob(rig.request("x" * (MESSAGE_BYTES_MAX + 1))))
    assert error.code() is Code.RESOURCE_EXHAUSTED  # gRPC's own answer, before the call begins
    await nothing_is_lost(rig)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "KEY_MISSING"),
        ("wrong", "KEY_MISSING"),
        ("flx_" + "A" * 43, "KEY_UNKNOWN"),
        ("flx_" + "A" * 44, "KEY_MISSING"),
    ],
)
async def test_a_missing_or_wrong_key(rig: Rig, key: str, reason: str) -> None:
    jobs = rig.jobs_of(key)
    for call in (
        jobs.SubmitJob(rig.request()),
        jobs.GetJob(pb.GetJobRequest(job_id=1)),
        jobs.WatchJob(pb.WatchJobRequest(job_id=1)).read(),
    ):
        error = await refused(call)
        assert error.code() is Code.UNAUTHENTICATED
        assert error_info(error).reason == reason
    await nothing_is_lost(rig)


async def test_a_workers_key_buys_nothing(rig: Rig) -> None:
    error = await refused(rig.jobs_of(rig.seller).SubmitJob(rig.request()))
    assert error.code() is Code.PERMISSION_DENIED
    assert error_info(error).reason == "ROLE_MISSING"


async def test_unknown_and_foreign_jobs(rig: Rig) -> None:
    job = await rig.submit()
    other = rig.jobs_of(await rig.exchange.trader("other", paper=False))
    for jobs, job_id, code, reason in (
        (rig.jobs, 99, Code.NOT_FOUND, "UNKNOWN_JOB"),
        (rig.jobs, 2**64 - 1, Code.NOT_FOUND, "UNKNOWN_JOB"),
        (other, job.job_id, Code.PERMISSION_DENIED, "NOT_OWNER"),
    ):
        for call in (
            jobs.GetJob(pb.GetJobRequest(job_id=job_id, include_output=True)),
            jobs.CancelJob(pb.CancelJobRequest(job_id=job_id)),
            jobs.WatchJob(pb.WatchJobRequest(job_id=job_id)).read(),
        ):
            error = await refused(call)
            assert (error.code(), error_info(error).reason) == (code, reason)
    assert rig.state(job) == "QUEUED"


async def test_a_deadline_that_passes_while_waiting_refunds_all(rig: Rig) -> None:
    job = await rig.submit(deadline_ns=NS_PER_S // 2)
    ended = await rig.ended(job)
    assert (ended.state, ended.paid_nanos) == (pb.JOB_STATE_EXPIRED, 0)
    assert Reason.Name(ended.reason) == "REASON_DEADLINE_INFEASIBLE"
    await nothing_is_lost(rig)


ORDERS: list[tuple[str, dict[str, Any], str]] = [
    ("unknown instrument", {"instrument_id": 99}, "UNKNOWN_INSTRUMENT"),
    ("off tick", {"price_nanos": 15}, "PRICE_OFF_TICK"),
    ("out of band", {"price_nanos": 10**8}, "PRICE_OUT_OF_BAND"),
    ("quantity zero", {"quantity_mflop": 0}, "QUANTITY_NOT_POSITIVE"),
    ("quantity negative", {"quantity_mflop": -5}, "QUANTITY_NOT_POSITIVE"),
    ("quantity over its maximum", {"quantity_mflop": QUANTITY_MAX_MFLOP + 1}, "QUANTITY_TOO_LARGE"),
    ("over the balance", {"price_nanos": 10**7, "quantity_mflop": 10**9}, "INSUFFICIENT_FUNDS"),
]


@pytest.mark.parametrize(
    ("changes", "reason"), [pytest.param(*rest, id=name) for name, *rest in ORDERS]
)
async def test_a_bad_order_is_rejected_with_its_reason(
    rig: Rig, changes: dict[str, Any], reason: str
) -> None:
    instrument_id = await rig.exchange.paper_instrument(tick_nanos=10)
    key = await rig.exchange.trader("trader", funds=10**9)
    fields: dict[str, Any] = {
        "client_order_id": rig.exchange.id(),
        "instrument_id": instrument_id,
        "side": market_pb2.SIDE_BID,
        "price_nanos": 100,
        "quantity_mflop": 1_000,
    }
    order = order_service_pb2.NewOrder(**(fields | changes))
    orders = Calls(OrderServiceStub(rig.channel), key)
    answer = await orders.PlaceOrder(order_service_pb2.PlaceOrderRequest(order=order))
    assert [Reason.Name(r.reason) for r in answer.reports] == [f"REASON_{reason}"]
    assert not rig.core.orders
    assert rig.core.ledger.pending(rig.core.account_by_name["trader"]) == 0
