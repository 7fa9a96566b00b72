"""A real exchange on a loopback port, with a journal in a folder of the test's."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from exchange.core.commands import (
    AccountKind,
    AddInstrument,
    AddKey,
    AddModel,
    ClearingMode,
    Command,
    Deposit,
    OpenAccount,
    Role,
    Settlement,
)
from exchange.core.exchange import Exchange
from exchange.engine import Clock, Engine, Outcome
from exchange.journal.writers import WRITE_MODE, WriteMode
from exchange.metering.cards import ModelCard
from exchange.rpc import auth
from exchange.rpc.sessions import SessionConfig
from exchange.server import GATEWAY_COMMAND, Server, ServerConfig
from exchange.server.read_model import OFF
from exchange.testing.clock import ManualClock, PatientClock
from exchange.testing.ids import uuid7

SEGMENT_BYTES: Final = 1 << 20
FUNDS_NANOS: Final = 10**15
FRESH_WITHIN_S: Final = 60.0
"""However busy the machine is, who has just traded finds his trade, seconds."""
PROCESSES_VARIABLE: Final = "FLOPEX_TEST_PROCESSES"
"""2: the same tests, with the gateway in a process of its own."""


def metadata(key: str) -> tuple[tuple[str, str]]:
    """What a call sends to be known."""
    return (("authorization", f"Bearer {key}"),)


class InProcessExchange:
    """Starts with the block, stops with it; everything goes over real gRPC.

    Example:
        async with InProcessExchange(tmp_path) as exchange:
            key = await exchange.trader("alice")
            async with exchange.channel() as channel:
                orders = OrderServiceStub(channel)
                await orders.ListOrders(ListOrdersRequest(), metadata=metadata(key))

    Args:
        directory: Data directory; a second exchange in it goes on where the first ended.
        clock: By default the machine's, less the time in which this process stood still.
        sessions: How long workers may be silent or away.
        segment_bytes: Size of a journal segment, bytes.
        write_mode: How the journal's groups become durable.
        http: Whether it serves HTTP, too.
        gateway: Whether gRPC and HTTP are in a process of their own; the engine is in this one.
            By default only if the environment's FLOPEX_TEST_PROCESSES is 2.
        read_model: Whether it keeps one: without, there is no history, and nobody is told anything.
        read_model_process: Whether a process of its own feeds the read model, as behind
            `flopex serve`, and not a thread of this one.
        webhooks_private: Whether webhooks may lead to this machine.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock | None = None,
        sessions: SessionConfig | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        write_mode: WriteMode = WRITE_MODE,
        http: bool = False,
        gateway: bool | None = None,
        read_model: bool = True,
        read_model_process: bool = False,
        webhooks_private: bool = False,
    ) -> None:
        self.clock: Clock = clock or PatientClock()
        if gateway is None:
            gateway = os.environ.get(PROCESSES_VARIABLE) == "2"
        self.config = ServerConfig(
            directory,
            "127.0.0.1:0",
            http_address="127.0.0.1:0" if http else "",
            operator_secret=auth.new_secret(),
            segment_bytes=segment_bytes,
            write_mode=write_mode,
            sessions=sessions or SessionConfig(),
            fresh_within_s=FRESH_WITHIN_S,
            read_model="" if read_model else OFF,
            read_model_process=read_model_process,
            gateway_command=GATEWAY_COMMAND if gateway else (),
            webhooks_private=webhooks_private,
        )
        self.server = Server(self.config, self.clock)
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.server.start()
        if isinstance(self.clock, ManualClock):
            self.clock.on_change = self.engine.wake
        if isinstance(self.clock, PatientClock):
            self._ticking = asyncio.create_task(self.clock.tick())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.server.stop(0)
        if self._ticking is not None:
            self._ticking.cancel()
        if error is None:
            failed = self.engine.stats.subscriber_errors
            assert not failed, f"{failed} readers of the event feed failed: see the log"

    @property
    def address(self) -> str:
        """host:port."""
        return self.server.address

    @property
    def http_address(self) -> str:
        """host:port of HTTP; empty without it."""
        return self.server.http_address

    @property
    def operator_key(self) -> str:
        """A key with the roles operator and reader."""
        return self.config.operator_secret

    @property
    def engine(self) -> Engine:
        """The running engine."""
        return self.server.engine

    @property
    def core(self) -> Exchange:
        """The state machine, to look at."""
        return self.engine.core

    def id(self) -> bytes:
        """A fresh client id at the exchange's time."""
        return uuid7(self.clock.now_ns())

    def channel(self) -> grpc.aio.Channel:
        """A channel to the exchange; give each call `metadata(key)`."""
        return grpc.aio.insecure_channel(self.address)

    async def submit(self, command: Command) -> Outcome:
        """Sequence a command that must be accepted."""
        outcome = await self.engine.submit(command)
        assert outcome.refused is None, f"{command} was refused: {outcome.refused!r}"
        return outcome

    async def trader(self, name: str, *, paper: bool = True, funds: int = FUNDS_NANOS) -> str:
        """An account with money and a key with the role trader; the key.

        Args:
            name: The account's name; where it exists, it gets another key and more money.
            paper: Whether it is a paper account: explicit orders need one, jobs a real one.
            funds: Nano-dollars.
        """
        key = await self.key(name, Role.TRADER, paper=paper)
        if funds:
            account_id = self.core.account_by_name[name]
            await self.submit(Deposit(account_id, self.id(), funds))
        return key

    async def key(self, name: str, roles: Role, *, paper: bool = False) -> str:
        """A new key for an account, which is opened where it does not exist."""
        if name not in self.core.account_by_name:
            kind = AccountKind.PAPER if paper else AccountKind.REAL
            await self.submit(OpenAccount(kind, name))
        secret = auth.new_secret()
        account_id = self.core.account_by_name[name]
        await self.submit(AddKey(account_id, int(roles), auth.hash_secret(secret), "test"))
        return secret

    async def paper_instrument(self, name: str = "paper", tick_nanos: int = 1) -> int:
        """A continuous paper instrument; its id."""
        command = AddInstrument(
            settlement=Settlement.PAPER,
            mode=ClearingMode.CONTINUOUS,
            model_id=0,
            tick_nanos=tick_nanos,
            lot_mflop=1,
            price_min_nanos=tick_nanos,
            price_max_nanos=10**6 * tick_nanos,
            quantity_max_mflop=10**9,
            prefill_millitokens_per_s=0,
            decode_millitokens_per_s=0,
            context_tokens_max=0,
            latest_start_ns=0,
            name=name,
        )
        await self.submit(command)
        return self.core.instrument_by_name[name]

    async def batch_instrument(
        self, card: ModelCard, hardware: str = "cpu", decode_millitokens_per_s: int = 1_000_000
    ) -> int:
        """An interactive batch instrument of a model, which is entered if need be; its id."""
        if card.name not in self.core.model_by_name:
            await self.submit(AddModel(card.encode()))
        name = f"{card.name}/{hardware}/interactive"
        command = AddInstrument(
            settlement=Settlement.LEASE,
            mode=ClearingMode.BATCH,
            model_id=self.core.model_by_name[card.name],
            tick_nanos=1,
            lot_mflop=1,
            price_min_nanos=1,
            price_max_nanos=10**9,
            quantity_max_mflop=10**9,
            prefill_millitokens_per_s=1_000_000,
            decode_millitokens_per_s=decode_millitokens_per_s,
            context_tokens_max=4_096,
            latest_start_ns=1_000_000_000,
            name=name,
        )
        await self.submit(command)
        return self.core.instrument_by_name[name]
