"""Deadlines, retries, keys and closing, over real gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

from exchange.client import (
    AsyncClient,
    Client,
    ClientClosed,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    RetryPolicy,
    ServerFailed,
    Tls,
    Unavailable,
    open_channel,
)
from exchange.client.connection import Reconnector
from exchange.v1 import account_service_pb2 as account_pb
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import job_service_pb2 as job_pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from tests.exchange.client.scripted import (
    KEY,
    QUICK,
    Context,
    connected,
    fail,
    serving,
    until,
)
from tests.ports import reserved_port
from tests.waiting import WITHIN_S

Step = Callable[[Context], Awaitable[None]]


async def well(context: Context) -> None:
    """Nothing goes wrong."""


async def unavailable(context: Context) -> None:
    await fail(context)


class Script:
    """Each call takes the next step; the last one stays."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps) or [well]
        self.requests: list[bytes] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.times: list[float] = []
        self.cancelled = 0

    async def _step(self, request: bytes, context: Context) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.times.append(time.monotonic())
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        try:
            await step(context)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def GetAccount(
        self, request: account_pb.GetAccountRequest, context: Context
    ) -> account_pb.GetAccountResponse:
        await self._step(request.SerializeToString(), context)
        return account_pb.GetAccountResponse(account=account_pb.Account(name="alice"))

    async def SubmitJob(
        self, request: job_pb.SubmitJobRequest, context: Context
    ) -> job_pb.SubmitJobResponse:
        await self._step(request.SerializeToString(), context)
        job = job_pb.Job(job_id=7, client_job_id=request.client_job_id)
        return job_pb.SubmitJobResponse(job=job, repeated_request=len(self.requests) > 1)

    async def CreateKey(
        self, request: admin_pb.CreateKeyRequest, context: Context
    ) -> admin_pb.CreateKeyResponse:
        await self._step(request.SerializeToString(), context)
        return admin_pb.CreateKeyResponse(secret="flx_secret", key_id="abc")


async def hang(context: Context) -> None:
    await asyncio.sleep(60)


async def test_every_call_carries_the_key() -> None:
    script = Script()
    async with connected(script) as client:
        assert (await client.account.get()).name == "alice"
    assert script.metadata[0]["authorization"] == f"Bearer {KEY}"


async def test_a_channel_of_ones_own_works_for_stubs_and_clients() -> None:
    script = Script()
    async with serving(script) as target, open_channel(target, KEY) as channel:
        await channel.channel_ready()
        assert channel.get_state() == grpc.ChannelConnectivity.READY
        call = AccountServiceStub(channel).GetAccount(
            account_pb.GetAccountRequest(), metadata=(("more", "yes"),)
        )
        await call
        async with AsyncClient(channel=channel) as client:
            await client.account.get()
            assert client.channel is channel
        assert channel.get_state() == grpc.ChannelConnectivity.READY  # closing left it open
    assert script.metadata[0]["more"] == "yes"
    assert {m["authorization"] for m in script.metadata} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}\r\n", f"\t{KEY}"])
async def test_a_key_may_come_from_a_file(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    monkeypatch.setenv("FLOPEX_KEY", key)
    async with serving(script) as target:
        async with AsyncClient(target, key, retry=QUICK) as client:
            await client.account.get()
        async with AsyncClient.from_env(target=target, retry=QUICK) as client:
            await client.account.get()
        async with open_channel(target, key) as channel:
            await AccountServiceStub(channel).GetAccount(account_pb.GetAccountRequest())

        def block() -> None:
            with Client(target, key, retry=QUICK) as blocking:
                blocking.account.get()

        await asyncio.to_thread(block)
    assert [m["authorization"] for m in script.metadata] == [f"Bearer {KEY}"] * 4


@pytest.mark.parametrize("wrong", [f"{KEY}\n{KEY}", f"{KEY}\x00", f"\ufeff{KEY}", f"{KEY}é"])
async def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(wrong: str) -> None:
    for use in (Client, AsyncClient, open_channel):
        with pytest.raises(ValueError, match="API key") as caught:
            use("127.0.0.1:1", wrong)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("nothing", ["", "\n"])
async def test_no_key_is_none(nothing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    async with serving(script) as target, AsyncClient(target, nothing, retry=QUICK) as client:
        await client.account.get()
    assert "authorization" not in script.metadata[0]
    monkeypatch.setenv("FLOPEX_KEY", nothing)
    with pytest.raises(ValueError, match="FLOPEX_KEY"):
        AsyncClient.from_env()


async def test_a_submission_is_repeated_with_the_same_bytes() -> None:
    script = Script(unavailable, unavailable, well)
    async with connected(script) as client:
        job = await client.jobs.submit("Hello", model="m", value="$1")
    assert job.repeated
    assert len(script.requests) == 3
    assert len(set(script.requests)) == 1
    assert len(job.client_job_id) == 16


async def test_the_wait_that_the_exchange_asks_for_is_kept() -> None:
    async def busy(context: Context) -> None:
        await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 300_000_000)

    script = Script(busy, well)
    async with connected(script) as client:
        await client.account.get()
    assert script.times[1] - script.times[0] >= 0.3


async def test_tries_are_counted() -> None:
    script = Script(unavailable)
    async with connected(script, retry=RetryPolicy(attempts=3, first_s=0.01)) as client:
        with pytest.raises(Unavailable, match="DRAINING") as caught:
            await client.account.get()
    assert caught.value.reason == "DRAINING"
    assert len(script.requests) == 3


async def test_tries_end_with_the_timeout() -> None:
    script = Script(unavailable)
    policy = RetryPolicy(attempts=1_000, first_s=0.05, longest_s=0.05)
    async with connected(script, retry=policy) as client:
        # On a busy machine the last try may be under way when time runs out.
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await client.account.get(timeout_s=1.0)
    # A thousand tries would take 25 s at least.
    assert len(script.requests) < 100


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, "UNKNOWN_ACCOUNT", NotFound),
        (grpc.StatusCode.INTERNAL, "INTERNAL", ServerFailed),
    ],
)
async def test_what_cannot_help_is_not_repeated(
    code: grpc.StatusCode, reason: str, kind: type[Exception]
) -> None:
    async def refuse(context: Context) -> None:
        await fail(context, code, reason)

    script = Script(refuse)
    async with connected(script) as client:
        with pytest.raises(kind):
            await client.account.get()
    assert len(script.requests) == 1


async def test_what_would_happen_twice_is_repeated_only_where_it_was_refused() -> None:
    async def busy(context: Context) -> None:
        await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")

    script = Script(busy, unavailable)
    async with connected(script) as client:
        with pytest.raises(Unavailable):
            await client.admin.create_key("alice", ["trader"])
    assert len(script.requests) == 2


async def test_a_deadline_ends_the_call_on_both_sides() -> None:
    script = Script(hang)
    async with connected(script, timeout_s=1.0) as client:
        while not script.requests:  # a busy machine may let the time pass before it asks
            with pytest.raises(DeadlineExceeded):
                await client.account.get()
        await until(lambda: script.cancelled == 1)
    assert len(script.requests) == 1


async def test_cancelling_the_task_ends_the_call_on_both_sides() -> None:
    script = Script(hang)
    async with connected(script) as client:
        task = asyncio.create_task(client.account.get())
        await until(lambda: bool(script.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: script.cancelled == 1)


async def test_nobody_listens() -> None:
    policy = RetryPolicy(attempts=2, first_s=0.01)
    with reserved_port() as port:
        client = AsyncClient(f"127.0.0.1:{port}", KEY, retry=policy)
        with pytest.raises(Unavailable) as caught:
            await client.account.get(timeout_s=WITHIN_S)
        await client.close()
    (note,) = caught.value.__notes__
    assert note == f"tried 2 times: is an exchange running at 127.0.0.1:{port}?"


async def test_an_exchange_that_comes_up_late_is_found() -> None:
    policy = RetryPolicy(attempts=10_000, longest_s=0.1)
    with reserved_port() as port:
        client = AsyncClient(f"127.0.0.1:{port}", KEY, retry=policy, timeout_s=WITHIN_S)
        asking = asyncio.create_task(client.account.get())
        await asyncio.sleep(0.3)
        async with serving(Script(), port=port):
            assert (await asking).name == "alice"
            assert (await client.account.get()).name == "alice"
        await client.close()


async def test_closing_ends_what_is_under_way() -> None:
    script = Script(hang)
    async with connected(script) as client:
        asking = asyncio.create_task(client.account.get())
        await until(lambda: bool(script.requests))
        await client.close()
        with pytest.raises(ClientClosed):
            await asking
        with pytest.raises(ClientClosed):
            await client.account.get()
        await client.close()


async def test_closing_ends_a_wait_between_two_tries() -> None:
    script = Script(unavailable)
    async with connected(script, retry=RetryPolicy(first_s=0.2, longest_s=0.2)) as client:
        asking = asyncio.create_task(client.account.get())
        await until(lambda: bool(script.requests))
        await client.close()
        with pytest.raises(ClientClosed):
            await asking
    assert len(script.requests) == 1


def test_a_client_belongs_to_one_loop() -> None:
    client = AsyncClient("127.0.0.1:1", KEY)

    async def use() -> object:
        return client.channel

    async def end() -> None:
        await use()
        await client.close()

    runner = asyncio.Runner()
    runner.run(use())
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(use())
    runner.run(end())
    runner.close()


async def test_tls_is_spoken_where_asked_for() -> None:
    async with serving(Script()) as target:
        policy = RetryPolicy(attempts=1)
        for tls in (True, Tls(root_certificates=None)):
            async with AsyncClient(target, KEY, tls=tls, retry=policy) as client:
                with pytest.raises(Unavailable):
                    await client.account.get(timeout_s=WITHIN_S)


def test_secrets_do_not_show() -> None:
    assert KEY not in repr(AsyncClient("host:1", KEY))
    assert "PEM" not in repr(Tls(private_key=b"PEM"))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOPEX_TARGET", raising=False)
    monkeypatch.delenv("FLOPEX_KEY", raising=False)
    with pytest.raises(ValueError, match="FLOPEX_KEY"):
        AsyncClient.from_env()
    monkeypatch.setenv("FLOPEX_KEY", KEY)
    assert AsyncClient.from_env().target == "127.0.0.1:7411"
    monkeypatch.setenv("FLOPEX_TARGET", "far:1")
    assert AsyncClient.from_env(timeout_s=1).target == "far:1"


# ---- waits ----


def test_waits_grow_to_their_bound() -> None:
    policy = RetryPolicy(first_s=0.1, factor=2, longest_s=1)
    error = Unavailable(grpc.StatusCode.UNAVAILABLE, "", "")
    for failures, longest in ((1, 0.1), (2, 0.2), (4, 0.8), (5, 1), (10_000, 1)):
        assert longest / 2 <= policy.wait_s(failures, error) <= longest
    asked = Overloaded(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "", retry_after_s=7)
    assert policy.wait_s(1, asked) == 7


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first_s": 0}, {"factor": 0.5}, {"longest_s": 0}]
)
def test_a_policy_must_make_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


async def test_a_stream_gives_up_after_its_time_and_begins_anew_once_it_stood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exchange.client.connection.STOOD_S", 0.1)
    reconnector = Reconnector(RetryPolicy(first_s=0.01, longest_s=0.01, reconnect_s=0.05))
    error = Unavailable(grpc.StatusCode.UNAVAILABLE, "", "")

    async def often() -> None:
        for _ in range(100):
            await reconnector.failed(error)

    with pytest.raises(Unavailable):
        await often()
    await asyncio.sleep(0.15)
    await reconnector.failed(error)
    with pytest.raises(NotFound):
        await reconnector.failed(NotFound(grpc.StatusCode.NOT_FOUND, "", ""))
