"""The server as a process: killed, drained, out of disk, started twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import AccountKind, AddKey, OpenAccount, Role
from exchange.core.exchange import Exchange
from exchange.engine import Engine, EngineConfig, Group, SystemClock
from exchange.rpc import auth
from exchange.server import Server, ServerConfig
from exchange.testing import metadata, uuid7
from exchange.testing.in_process import PROCESSES_VARIABLE
from exchange.v1 import account_service_pb2 as account_pb
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import market_data_service_pb2 as data_pb
from exchange.v1 import market_pb2 as market
from exchange.v1 import order_service_pb2 as pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from exchange.v1.admin_service_pb2_grpc import AdminServiceStub
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from exchange.v1.order_service_pb2_grpc import OrderServiceStub
from tests.exchange.rpc.rig import Calls, error_info
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.integration

CHILD = Path(__file__).with_name("serve_child.py")
KILLS = 5
BROKEN = (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError)
"""What gRPC raises on the client's side when the server is killed."""


class Child:
    """A server process and what it said when it was open."""

    def __init__(self, process: asyncio.subprocess.Process, said: dict[str, Any]) -> None:
        self.process = process
        self.said = said
        self.channel: Any = grpc.aio.insecure_channel(said["address"])
        self.admin: Any = Calls(AdminServiceStub(self.channel), said["key"])

    def trader(self, key: str) -> Any:
        return Calls(OrderServiceStub(self.channel), key)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self.channel.close()

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            status = await self.process.wait()
        await self.channel.close()
        return status


@contextlib.asynccontextmanager
async def child(directory: Path, *options: str) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        str(directory),
        *options,
        cwd=CHILD.parents[2],
        env={
            "PYTHONPATH": str(CHILD.parents[2]),
            PROCESSES_VARIABLE: os.environ.get(PROCESSES_VARIABLE, "1"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            while line := await process.stdout.readline():
                if line.startswith(b"{"):
                    break
        if not line:
            _, errors = await process.communicate()
            raise AssertionError(errors.decode())
        server = Child(process, json.loads(line))
        yield server
        await server.channel.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def open_market(admin: Any) -> str:
    """A paper instrument and a funded trader; the trader's key."""
    instrument = market.Instrument(
        name="paper",
        settlement=market.SETTLEMENT_PAPER,
        clearing_mode=market.CLEARING_MODE_CONTINUOUS,
        tick_nanos=1,
        lot_mflop=1,
        price_min_nanos=1,
        price_max_nanos=10**6,
        quantity_max_mflop=10**9,
    )
    await admin.CreateInstrument(admin_pb.CreateInstrumentRequest(instrument=instrument))
    await admin.CreateAccount(admin_pb.CreateAccountRequest(name="alice", paper=True))
    deposit = admin_pb.DepositRequest(account="alice", request_id=uuid7(), amount_nanos=10**15)
    await admin.Deposit(deposit)
    made = await admin.CreateKey(admin_pb.CreateKeyRequest(account="alice", roles=["trader"]))
    return str(made.secret)


def order(price: int = 100) -> pb.NewOrder:
    return pb.NewOrder(
        client_order_id=uuid7(),
        instrument_id=1,
        side=market.SIDE_BID,
        price_nanos=price,
        quantity_mflop=1,
    )


class Crowd:
    """Places orders as fast as it can until the stream breaks."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.sent = 0
        self.acknowledged: set[int] = set()
        self._tasks = [asyncio.create_task(self._place()), asyncio.create_task(self._listen())]

    async def heard(self) -> None:
        """Wait until something was acknowledged."""
        async with asyncio.timeout(WITHIN_S):
            while not self.acknowledged:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(*self._tasks)

    async def _place(self) -> None:
        with contextlib.suppress(*BROKEN):
            for request_id in range(1, 10_000):
                batch = [pb.Instruction(place=order()) for _ in range(20)]
                self.sent += len(batch)
                await self._call.write(pb.TradeRequest(request_id=request_id, instructions=batch))

    async def _listen(self) -> None:
        with contextlib.suppress(*BROKEN):
            while (response := await self._call.read()) is not grpc.aio.EOF:
                for acks in response.accepted:
                    first = acks.first_order_id
                    self.acknowledged.update(range(first, first + acks.count))


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed in the middle of batches: each acknowledged order is there again, and nothing else."""
    chance = random.Random(7)
    acknowledged: set[int] = set()
    sent = 0
    key = ""
    for _ in range(KILLS):
        async with child(tmp_path) as server:
            if not key:
                key = await open_market(server.admin)
            found = await server.admin.GetInvariants(admin_pb.GetInvariantsRequest(full=True))
            assert found.failure == ""
            assert len(acknowledged) <= found.open_orders <= sent
            crowd = Crowd(server.trader(key).Trade())
            await crowd.heard()
            await asyncio.sleep(0.3 * chance.random())
            await server.kill()
            await crowd.end()
            sent += crowd.sent
            acknowledged |= crowd.acknowledged
    async with child(tmp_path) as server:
        stub = server.trader(key)
        open_ids: set[int] = set()
        token = ""
        while True:
            page = await stub.ListOrders(pb.ListOrdersRequest(page_size=1_000, page_token=token))
            open_ids |= {found.order_id for found in page.orders}
            token = page.next_page_token
            if not token:
                break
        assert acknowledged
        assert acknowledged <= open_ids
        assert len(open_ids) <= sent
        found = await server.admin.GetInvariants(admin_pb.GetInvariantsRequest(full=True))
        assert (found.epoch, found.failure, found.ledger_imbalance_nanos) == (KILLS + 1, "", 0)
        assert await server.terminate() == 0


async def test_sigterm_drains_and_the_next_start_finds_the_same_state(tmp_path: Path) -> None:
    async with child(tmp_path) as server:
        key = await open_market(server.admin)
        trade = server.trader(key).Trade()
        batch = [pb.Instruction(place=order()) for _ in range(10)]
        await trade.write(pb.TradeRequest(request_id=1, instructions=batch))
        await trade.read()
        book = Calls(MarketDataServiceStub(server.channel), key).WatchBook(
            data_pb.WatchBookRequest(instrument="paper")
        )
        await book.read()
        digest = (
            await server.admin.GetInvariants(admin_pb.GetInvariantsRequest(full=True))
        ).digest.hex()
        server.process.send_signal(signal.SIGTERM)
        for stream in (trade, book):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with asyncio.timeout(WITHIN_S):
                    await stream.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == "DRAINING"
        async with asyncio.timeout(WITHIN_S):
            assert await server.process.wait() == 0
    twin = Exchange()
    digests: list[str] = []

    def on_replay(group: Group) -> None:
        twin.apply(group.commands)
        digests.append(twin.digest().hex())

    engine = Engine.open(EngineConfig(tmp_path / "journal"), SystemClock(), on_replay)
    assert digest in digests
    running = asyncio.create_task(engine.run())
    await engine.stop()
    await running


async def open_accounts(admin: Any, done: list[str]) -> None:
    for number in range(20):
        opened = admin_pb.CreateAccountRequest(name=f"a{number}")
        done.append((await admin.CreateAccount(opened)).account.name)


async def test_a_failed_journal_ends_the_process_and_acknowledges_nothing(tmp_path: Path) -> None:
    async with child(tmp_path, "6") as server:
        instrument = market.Instrument(
            name="paper",
            settlement=market.SETTLEMENT_PAPER,
            clearing_mode=market.CLEARING_MODE_CONTINUOUS,
            tick_nanos=1,
            lot_mflop=1,
            price_min_nanos=1,
            price_max_nanos=10**6,
            quantity_max_mflop=10**9,
        )
        request = admin_pb.CreateInstrumentRequest(instrument=instrument)
        await server.admin.CreateInstrument(request)
        done: list[str] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await open_accounts(server.admin, done)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(WITHIN_S):
            assert await server.process.wait() == 1
    async with child(tmp_path) as server:
        accounts = (await server.admin.ListAccounts(admin_pb.ListAccountsRequest())).accounts
        assert [a.name for a in accounts if a.name.startswith("a")] == done


async def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with child(tmp_path) as server:
        key = await open_market(server.admin)
        with pytest.raises(AssertionError, match="JournalLocked"):
            async with child(tmp_path):
                pass
        assert (await server.trader(key).ListOrders(pb.ListOrdersRequest())).orders == []


async def test_the_operators_key_is_made_once_and_never_lost(tmp_path: Path) -> None:
    config = ServerConfig(tmp_path, "127.0.0.1:0")
    secrets: list[str | None] = []
    for step in range(3):
        server = Server(config)
        await server.start()
        secrets.append(server.operator_secret)
        if step == 0:
            mode = config.operator_key_path.stat().st_mode
            assert stat.S_IMODE(mode) == 0o600
            assert config.operator_key_path.read_text().strip() == secrets[0]
        assert len(server.engine.core.keys) == 1
        await server.stop(0)
    assert secrets[1:] == [None, None]
    given = auth.new_secret()
    server = Server(ServerConfig(tmp_path, "127.0.0.1:0", operator_secret=given))
    await server.start()
    assert server.operator_secret == given
    assert len(server.engine.core.keys) == 2
    await server.stop(0)
    wrong = Server(ServerConfig(tmp_path, "127.0.0.1:0", operator_secret="flx_wrong"))
    with pytest.raises(ValueError, match="43 characters"):
        await wrong.start()


async def test_a_key_that_was_written_and_not_journalled_is_used(tmp_path: Path) -> None:
    """As after a crash between the two steps."""
    secret = auth.new_secret()
    (tmp_path / "operator.key").write_text(secret + "\n")
    server = Server(ServerConfig(tmp_path, "127.0.0.1:0"))
    await server.start()
    assert server.operator_secret == secret
    async with grpc.aio.insecure_channel(server.address) as channel:
        admin: Any = AdminServiceStub(channel)
        request = admin_pb.ListAccountsRequest()
        assert (await admin.ListAccounts(request, metadata=metadata(secret))).accounts
    await server.stop(0)


async def test_an_address_in_use_is_said_so(tmp_path: Path) -> None:
    first = Server(ServerConfig(tmp_path / "one", "127.0.0.1:0"))
    await first.start()
    second = Server(ServerConfig(tmp_path / "two", first.address))
    with pytest.raises(OSError, match="cannot listen"):
        await second.start()
    await first.stop(0)


async def test_a_call_under_way_is_finished_within_the_grace(tmp_path: Path) -> None:
    server = Server(ServerConfig(tmp_path, "127.0.0.1:0"))
    await server.start()
    engine = server.engine
    await engine.submit(OpenAccount(AccountKind.REAL, "alice"))
    secret = auth.new_secret()
    account_id = engine.core.account_by_name["alice"]
    await engine.submit(AddKey(account_id, int(Role.TRADER), auth.hash_secret(secret), ""))
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = Calls(AccountServiceStub(channel), secret)
        calls = [stub.GetAccount(account_pb.GetAccountRequest()) for _ in range(20)]
        await asyncio.wait_for(calls[0], WITHIN_S)
        stopping = asyncio.create_task(server.stop(5))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(
            isinstance(r, account_pb.GetAccountResponse | grpc.aio.AioRpcError) for r in results
        )
        await stopping
