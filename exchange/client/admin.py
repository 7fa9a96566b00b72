"""The operator's commands."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterable

from exchange.client.account_types import (
    Account,
    Invariants,
    LedgerEntry,
    MessageLimits,
    Model,
    NewKey,
    account_from,
    entry_from,
    invariants_from,
)
from exchange.client.connection import Connection
from exchange.client.enums import TradingState, WorkerAction
from exchange.client.ids import uuid7
from exchange.client.market_types import (
    Instrument,
    Protections,
    instrument_from,
    instrument_to,
    protections_to,
)
from exchange.client.worker_types import Worker, worker_from
from exchange.units import parse_money
from exchange.v1 import account_service_pb2 as account_pb
from exchange.v1 import admin_service_pb2 as pb
from exchange.v1.admin_service_pb2_grpc import AdminServiceStub


class AsyncAdmin:
    """What only the operator may do. Reached as `client.admin`.

    Every method raises PermissionDenied (ROLE_MISSING) for a key without the role operator; those
    that only read are open to the role reader, too.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_account(
        self, name: str, *, paper: bool = False, timeout_s: float | None = None
    ) -> Account:
        """Open an account. It is not repeated by itself: a second one would be refused.

        Raises:
            InvalidRequest: the name is taken (NAME_TAKEN) or malformed.
        """
        request = pb.CreateAccountRequest(name=name, paper=paper)
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(
            stub.CreateAccount, request, timeout_s=timeout_s, repeatable=False
        )
        return account_from(answer.account)

    async def create_key(
        self,
        account: str,
        roles: Iterable[str],
        *,
        label: str = "",
        timeout_s: float | None = None,
    ) -> NewKey:
        """Make an API key. Its secret is shown once. It is not repeated by itself.

        Args:
            account: Account's name.
            roles: trader, worker, operator, reader.
            label: Label for people.
            timeout_s: Seconds.
        """
        request = pb.CreateKeyRequest(account=account, roles=list(roles), label=label)
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(
            stub.CreateKey, request, timeout_s=timeout_s, repeatable=False
        )
        return NewKey(answer.secret, answer.key_id)

    async def revoke_key(self, key: str, *, timeout_s: float | None = None) -> None:
        """End an API key.

        Args:
            key: At least 8 first characters of its hash, or its secret.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such key (UNKNOWN_KEY), also where it was revoked before.
        """
        request = pb.RevokeKeyRequest(key=key)
        stub = self._connection.stub(AdminServiceStub)
        await self._connection.call(stub.RevokeKey, request, timeout_s=timeout_s, repeatable=False)

    async def deposit(
        self,
        account: str,
        amount: int | str,
        *,
        request_id: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Account:
        """Put credit in; safe to repeat with the same request_id.

        Args:
            account: Account's name.
            amount: "$5" or nano-dollars.
            request_id: A UUIDv7 of 16 bytes; a fresh one by default.
            timeout_s: Seconds.

        Returns:
            The account after it.
        """
        request = pb.DepositRequest(
            account=account, request_id=request_id or uuid7(), amount_nanos=parse_money(amount)
        )
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.Deposit, request, timeout_s=timeout_s)
        return account_from(answer.account)

    async def withdraw(
        self,
        account: str,
        amount: int | str,
        *,
        request_id: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Account:
        """Pay credit out; safe to repeat with the same request_id.

        Args:
            account: Account's name.
            amount: "$5" or nano-dollars.
            request_id: A UUIDv7 of 16 bytes; a fresh one by default.
            timeout_s: Seconds.

        Returns:
            The account after it.

        Raises:
            InsufficientFunds: the available balance does not cover it.
        """
        request = pb.WithdrawRequest(
            account=account, request_id=request_id or uuid7(), amount_nanos=parse_money(amount)
        )
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.Withdraw, request, timeout_s=timeout_s)
        return account_from(answer.account)

    async def create_model(self, card: bytes, *, timeout_s: float | None = None) -> Model:
        """Enter a model card. It is not repeated by itself: a second one would be refused.

        Args:
            card: Canonical JSON, see docs/reference/model-cards.md.
            timeout_s: Seconds.
        """
        request = pb.CreateModelRequest(card=card)
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(
            stub.CreateModel, request, timeout_s=timeout_s, repeatable=False
        )
        return Model(answer.model_id, answer.name)

    async def create_instrument(
        self, instrument: Instrument, *, timeout_s: float | None = None
    ) -> Instrument:
        """Enter an instrument. It is not repeated by itself: a second one would be refused.

        Args:
            instrument: Its id and state are ignored. Its name is model/class/tier, or free for a
                paper instrument.
            timeout_s: Seconds.

        Returns:
            The instrument with its id.
        """
        request = pb.CreateInstrumentRequest(instrument=instrument_to(instrument))
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(
            stub.CreateInstrument, request, timeout_s=timeout_s, repeatable=False
        )
        return instrument_from(answer.instrument)

    async def set_instrument_state(
        self,
        instrument: str,
        state: TradingState,
        *,
        call_ns: int = 0,
        timeout_s: float | None = None,
    ) -> Instrument:
        """Halt, resume or close an instrument, or open a call auction on it, by name.

        Args:
            instrument: Its name.
            state: OPEN ends an auction with its trades; after a halt it begins the re-opening call
                that `Protections` sets, if any.
            call_ns: How long an auction takes orders, nanoseconds; 0: until told to open.
            timeout_s: Seconds.
        """
        request = pb.SetInstrumentStateRequest(
            instrument=instrument,
            state=state,  # type: ignore[arg-type]
            call_ns=call_ns,
        )
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.SetInstrumentState, request, timeout_s=timeout_s)
        return instrument_from(answer.instrument)

    async def set_protections(
        self, instrument: str, protections: Protections, *, timeout_s: float | None = None
    ) -> Instrument:
        """Set what keeps a continuous book orderly: all of it, zeros switch off."""
        request = pb.SetProtectionsRequest(
            instrument=instrument, protections=protections_to(protections)
        )
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.SetProtections, request, timeout_s=timeout_s)
        return instrument_from(answer.instrument)

    async def set_account_halted(
        self, account: str, halted: bool, *, timeout_s: float | None = None
    ) -> Account:
        """Halt or resume an account, by name."""
        request = pb.SetAccountHaltedRequest(account=account, halted=halted)
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.SetAccountHalted, request, timeout_s=timeout_s)
        return account_from(answer.account)

    async def set_account_limits(
        self, account: str, messages: MessageLimits, *, timeout_s: float | None = None
    ) -> Account:
        """Set how much an account may send from now on, by name; zeros switch a limit off.

        Raises:
            InvalidRequest: a limit is out of range, or only one half of it is given.
        """
        request = pb.SetAccountLimitsRequest(
            account=account, messages=account_pb.MessageLimits(**dataclasses.asdict(messages))
        )
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.SetAccountLimits, request, timeout_s=timeout_s)
        return account_from(answer.account)

    async def set_worker(
        self, worker_id: int, action: WorkerAction, *, timeout_s: float | None = None
    ) -> Worker:
        """Pause, drain or resume any worker."""
        request = pb.SetAnyWorkerRequest(
            worker_id=worker_id,
            action=action,  # type: ignore[arg-type]
        )
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.SetAnyWorker, request, timeout_s=timeout_s)
        return worker_from(answer.worker)

    async def accounts(self, *, timeout_s: float | None = None) -> tuple[Account, ...]:
        """All accounts, by id."""
        stub = self._connection.stub(AdminServiceStub)
        request = pb.ListAccountsRequest()
        answer = await self._connection.call(stub.ListAccounts, request, timeout_s=timeout_s)
        return tuple(account_from(a) for a in answer.accounts)

    async def invariants(self, *, full: bool = False, timeout_s: float | None = None) -> Invariants:
        """What must always hold, and how it stands now.

        Args:
            full: Run every structure's check and compute the state digest: slow with much state.
            timeout_s: Seconds.
        """
        request = pb.GetInvariantsRequest(full=full)
        stub = self._connection.stub(AdminServiceStub)
        answer = await self._connection.call(stub.GetInvariants, request, timeout_s=timeout_s)
        return invariants_from(answer)

    async def export_ledger(self) -> AsyncGenerator[LedgerEntry, None]:
        """Every ledger entry, oldest first: anyone can re-compute every balance from it.

        An export that breaks off must be begun again.
        """
        call = self._connection.stub(AdminServiceStub).ExportLedger(pb.ExportLedgerRequest())
        async with contextlib.aclosing(self._connection.messages(call)) as messages:
            async for message in messages:
                for entry in message.entries:
                    yield entry_from(entry)
