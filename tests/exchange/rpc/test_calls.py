"""What surrounds every call: keys, malformed messages, deadlines, unexpected failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from exchange.core.reasons import Reason
from exchange.core.records import RecordError
from exchange.engine import EngineBusy, EngineStopped
from exchange.gateway import admission, grpc_server
from exchange.gateway.grpc_server import CONNECTIONS_MAX, FILES_RESERVED, connections_max
from exchange.rpc import api, auth, open_calls
from exchange.rpc.calls import MESSAGE_BYTES_MAX
from exchange.rpc.convert import paging
from exchange.rpc.convert.enums import PAIRS
from exchange.rpc.errors import MESSAGE_CHARS_MAX, METADATA_CHARS_MAX, STATUS, Code
from exchange.rpc.methods import SERVICE_NAMES
from exchange.testing import metadata
from exchange.v1 import account_service_pb2 as account_pb
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import market_data_service_pb2 as market_pb
from exchange.v1 import order_service_pb2 as order_pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.exchange.rpc.desk import BID, INSTRUMENT, Desk, open_desk
from tests.exchange.rpc.rig import error_info, in_one_process
from tests.waiting import WITHIN_S

LIST_ORDERS = "/exchange.v1.OrderService/ListOrders"
WATCH_TRADES = "/exchange.v1.MarketDataService/WatchTrades"
TRADE = "/exchange.v1.OrderService/Trade"
NOT_UTF8 = b"\x0a\x02\xff\xfe"  # field 1, two bytes that are no text
NO_MESSAGE = b"\x0a\xff"  # field 1 is longer than the message


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_enums_are_the_same_on_both_sides() -> None:
    for ours, theirs in PAIRS:
        named = {name.split("_", ours_words(ours))[-1]: value for name, value in theirs.items()}
        unspecified = named.pop("UNSPECIFIED")
        mine = {member.name: member.value for member in ours if member.value}
        assert unspecified == 0
        assert mine == named, ours


def ours_words(kind: type) -> int:
    """How many words of the API's names are the enum's own name."""
    return sum(letter.isupper() for letter in kind.__name__)


def test_every_reason_has_a_status() -> None:
    assert set(STATUS) == set(Reason) - {Reason.NONE}
    assert STATUS[Reason.INSUFFICIENT_FUNDS] is Code.RESOURCE_EXHAUSTED
    assert all(len(reason.name) <= 63 for reason in Reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "KEY_MISSING"),
        ("", "KEY_MISSING"),
        ("Bearer", "KEY_MISSING"),
        ("Bearer flx_short", "KEY_MISSING"),
        ("Basic dXNlcjpwYXNz", "KEY_MISSING"),
        (f"Bearer flx_{'a' * 43}", "KEY_UNKNOWN"),
    ],
)
async def test_a_call_needs_a_key(desk: Desk, value: str | None, reason: str) -> None:
    stub: Any = AccountServiceStub(desk.channel)
    sent = (("authorization", value),) if value is not None else ()
    error = await failure(stub.GetAccount(account_pb.GetAccountRequest(), metadata=sent))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_info(error).reason == reason
    assert error_info(error).domain == "exchange.v1"


async def test_streams_need_a_key_too(desk: Desk) -> None:
    call = desk.channel.stream_stream(TRADE)()
    error = await failure(call.read())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_secrets() -> None:
    secrets = {auth.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(auth.SECRET_PATTERN.match(secret) for secret in secrets)
    assert len(auth.hash_secret(secrets.pop())) == 32


@pytest.mark.parametrize("data", [NOT_UTF8, NO_MESSAGE])
async def test_malformed_bytes_are_a_typed_error(desk: Desk, data: bytes) -> None:
    send = desk.channel.unary_unary(LIST_ORDERS)
    error = await failure(send(data, metadata=metadata(desk.keys[0])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == "MESSAGE_MALFORMED"


async def test_malformed_bytes_end_a_stream(desk: Desk) -> None:
    call = desk.channel.stream_stream(TRADE)(metadata=metadata(desk.keys[0]))
    await call.write(b"\x12\xff")
    error = await failure(call.read())
    assert error_info(error).reason == "MESSAGE_MALFORMED"


async def test_a_message_above_the_limit(desk: Desk) -> None:
    send = desk.channel.unary_unary(LIST_ORDERS)
    error = await failure(send(bytes(MESSAGE_BYTES_MAX + 1), metadata=metadata(desk.keys[0])))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # The connection and everything else go on.
    assert (await desk.accounts.GetAccount(account_pb.GetAccountRequest())).account


async def test_a_call_without_a_deadline_gets_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "DEADLINE_DEFAULT_S", 0.05)
    monkeypatch.setattr(desk.services.engine, "_enqueue", lambda *_: None)
    error = await failure(desk.place(desk.alice, BID, 100, 1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_info(error).reason == "DEADLINE_DEFAULT"


async def test_a_failed_deadline_loses_nothing(desk: Desk) -> None:
    order = desk.order(BID, 100, 1)
    request = order_pb.PlaceOrderRequest(order=order)
    # A machine that is busy elsewhere may notice the deadline only when the answer is there.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await desk.alice.PlaceOrder(request, timeout=1e-5)
    report = (await desk.alice.PlaceOrder(request)).reports[0]
    assert report.execution_type in (
        order_pb.EXECUTION_TYPE_NEW,
        order_pb.EXECUTION_TYPE_REPEATED,
    )
    assert len(desk.core.orders) == 1


async def test_the_unexpected_is_logged_and_tells_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(desk.services.engine, "_enqueue", broken)
    with structlog.testing.capture_logs() as logs:
        error = await failure(desk.place(desk.alice, BID, 100, 1))
    assert error.code() is grpc.StatusCode.INTERNAL
    info = error_info(error)
    assert info.reason == "INTERNAL"
    assert "swordfish" not in str(error.details()) + json.dumps(dict(info.metadata))
    (entry,) = logs
    assert entry["request_id"] == info.metadata["request_id"]
    assert "swordfish" in str(entry["exc_info"])


@pytest.mark.parametrize(
    ("raised", "code", "reason"),
    [
        (EngineBusy("full"), "RESOURCE_EXHAUSTED", "OVERLOADED"),
        (EngineStopped("gone"), "UNAVAILABLE", "DRAINING"),
        (RecordError("too long"), "INVALID_ARGUMENT", "FIELD_INVALID"),
    ],
)
async def test_expected_failures_of_the_engine(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str, reason: str
) -> None:
    def refuse(*_: object) -> None:
        raise raised

    monkeypatch.setattr(desk.services.engine, "_enqueue", refuse)
    error = await failure(desk.place(desk.alice, BID, 100, 1))
    assert error.code() is getattr(grpc.StatusCode, code)
    assert error_info(error).reason == reason


async def test_an_unknown_method(desk: Desk) -> None:
    send = desk.channel.unary_unary("/exchange.v1.OrderService/Nothing")
    error = await failure(send(b"", metadata=metadata(desk.keys[0])))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_and_reflection_need_no_key(desk: Desk) -> None:
    health: Any = health_pb2_grpc.HealthStub(desk.channel)
    for name in ("", *SERVICE_NAMES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflect: Any = reflection_pb2_grpc.ServerReflectionStub(desk.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    call = reflect.ServerReflectionInfo(iter([asked]))
    answer = await call.read()
    call.cancel()
    assert set(SERVICE_NAMES) <= {s.name for s in answer.list_services_response.service}


async def test_calls_and_errors_are_counted(desk: Desk) -> None:
    await desk.data.GetBook(market_pb.GetBookRequest(instrument=INSTRUMENT))
    await failure(desk.data.GetBook(market_pb.GetBookRequest(instrument="nothing")))
    counters = desk.services.counters
    method = "exchange.v1.MarketDataService/GetBook"
    assert counters[f"calls {method}"] == 2
    assert counters[f"errors {method} UNKNOWN_INSTRUMENT"] == 1


async def test_a_draining_exchange_takes_no_new_work(desk: Desk) -> None:
    (new,) = await desk.place(desk.alice, BID, 100, 1)
    desk.services.drain.begin()
    error = await failure(desk.place(desk.alice, BID, 100, 1))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(error).reason == "DRAINING"
    reference = order_pb.OrderReference(order_id=new.order_id)
    report = await desk.alice.CancelOrder(order_pb.CancelOrderRequest(order=reference))
    assert report.report.state == order_pb.ORDER_STATE_CANCELED


@pytest.mark.parametrize("name", ["x" * 100_000, "\U0001f600" * 50_000])
async def test_what_the_caller_sent_does_not_blow_the_error_up(desk: Desk, name: str) -> None:
    error = await failure(desk.data.GetBook(market_pb.GetBookRequest(instrument=name)))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    info = error_info(error)
    assert info.reason == "UNKNOWN_INSTRUMENT"
    assert all(len(value) <= METADATA_CHARS_MAX for value in info.metadata.values())
    assert len(error.details() or "") <= MESSAGE_CHARS_MAX


async def test_a_page_token_of_nobody(desk: Desk) -> None:
    token = paging.encode_token(2**64 - 1)
    request = account_pb.ListLedgerEntriesRequest(page_token=token)
    error = await failure(desk.accounts.ListLedgerEntries(request))
    assert error_info(error).metadata["field"] == "page_token"


async def test_names_end_where_they_end(desk: Desk) -> None:
    request = admin_pb.CreateAccountRequest(name="carol\n")
    error = await failure(desk.admin.CreateAccount(request))
    assert error_info(error).metadata["field"] == "name"


async def test_a_key_is_checked_before_the_message_has_come(desk: Desk) -> None:
    call = desk.channel.stream_stream(LIST_ORDERS)()
    error = await failure(call.read())
    assert error_info(error).reason == "KEY_MISSING"


async def test_a_message_that_never_comes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REQUEST_WITHIN_S", 0.05)
    monkeypatch.setattr(api, "DEADLINE_DEFAULT_S", 0.05)
    for method, reason in ((WATCH_TRADES, "MESSAGE_MISSING"), (LIST_ORDERS, "DEADLINE_DEFAULT")):
        call = desk.channel.stream_stream(method)(metadata=metadata(desk.keys[0]))
        error = await failure(call.read())
        assert error_info(error).reason == reason
    monkeypatch.undo()
    silent = desk.channel.stream_unary(LIST_ORDERS)
    error = await failure(silent(iter(()), metadata=metadata(desk.keys[0])))
    assert error_info(error).reason == "MESSAGE_MALFORMED"


async def open_streams(desk: Desk, count: int) -> None:
    """Wait until so many streams are open."""
    async with asyncio.timeout(WITHIN_S):
        while desk.services.streams != count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_an_account_has_a_maximum_of_streams(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_calls, "CALLS_PER_ACCOUNT_MAX", 2)
    streams = [desk.alice.Trade(), desk.alice.Trade()]
    await open_streams(desk, 2)
    error = await failure(desk.alice.ListOrders(order_pb.ListOrdersRequest()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(error).reason == "OVERLOADED"
    await desk.bob.ListOrders(order_pb.ListOrdersRequest())
    for stream in streams:
        stream.cancel()
    await open_streams(desk, 0)
    await desk.alice.ListOrders(order_pb.ListOrdersRequest())


@in_one_process
async def test_calls_without_a_key_leave_room_for_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "OPEN_CALLS_MAX", 3)
    health: Any = health_pb2_grpc.HealthStub(desk.channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
    for watch in watches:
        await watch.read()
    error = await failure(health.Check(health_pb2.HealthCheckRequest()))
    assert error_info(error).reason == "OVERLOADED"
    await desk.alice.ListOrders(order_pb.ListOrdersRequest())
    for watch in watches:
        watch.cancel()


async def test_watches_of_health_end_when_the_exchange_drains(desk: Desk) -> None:
    health: Any = health_pb2_grpc.HealthStub(desk.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    await watch.read()
    await desk.exchange.server.begin_drain()
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    error = await failure(watch.read())
    assert error_info(error).reason == "DRAINING"


def test_connections_leave_files_for_the_journal() -> None:
    assert connections_max(1_024) == 1_024 - FILES_RESERVED
    assert connections_max(10**6) == connections_max(resource.RLIM_INFINITY) == CONNECTIONS_MAX


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(4_096):
            pass


@in_one_process
async def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "CONNECTIONS_MAX", 4)
    async with open_desk(tmp_path) as desk:
        await desk.alice.ListOrders(order_pb.ListOrdersRequest())
        host, port = desk.exchange.address.rsplit(":", 1)
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(12)]
        readings = [asyncio.create_task(_read_to_the_end(reader)) for reader, _ in opened]
        async with asyncio.timeout(WITHIN_S):
            while sum(reading.done() for reading in readings) < 12 - 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for (_, writer), reading in zip(opened, readings, strict=True):
            reading.cancel()
            writer.close()
        await desk.alice.ListOrders(order_pb.ListOrdersRequest())


async def test_streams_of_a_revoked_key_end(desk: Desk) -> None:
    key = await desk.exchange.trader("alice", funds=0)
    other = desk.data.WatchTrades(market_pb.WatchTradesRequest())
    mine = [
        desk.channel.stream_stream(TRADE)(metadata=metadata(key)),
        MarketDataServiceStub(desk.channel).WatchTrades(
            market_pb.WatchTradesRequest(), metadata=metadata(key)
        ),
    ]
    await open_streams(desk, 3)
    await desk.admin.RevokeKey(admin_pb.RevokeKeyRequest(key=key))
    for stream in mine:
        error = await failure(stream.read())
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error_info(error).reason == "KEY_UNKNOWN"
    assert not other.done()
    other.cancel()


def test_the_documents_list_every_reason() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/errors.md").read_text()
    for reason, status in STATUS.items():
        assert f"| `{reason.name}` | {reason.value} | `{status.name}` | " in text
