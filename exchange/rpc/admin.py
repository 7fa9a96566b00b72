"""AdminService: the operator's commands. Each needs the operator role and is journalled."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from exchange.core.commands import (
    AccountKind,
    AddKey,
    AddModel,
    Deposit,
    OpenAccount,
    RevokeKey,
    Role,
    SetAccountHalted,
    SetInstrumentState,
    SetWorker,
    TradingState,
    Withdraw,
    WorkerAction,
)
from exchange.core.events import AccountOpened, ModelAdded
from exchange.core.reasons import Reason
from exchange.metering.cards import CardError, decode_card
from exchange.readmodel import queries
from exchange.readmodel.queries import EntryRow
from exchange.rpc import auth
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.convert import accounts, enums, market, workers
from exchange.rpc.errors import invalid, refusal
from exchange.rpc.services import Services
from exchange.v1 import account_service_pb2 as account_pb
from exchange.v1 import admin_service_pb2 as pb

ACCOUNT_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")
KEY_PREFIX_MIN: Final = 8
"""Fewest characters of a hash that may name a key."""
EXPORT_PAGE: Final = 1_000
"""Ledger entries of one message of an export."""
ID_BYTES: Final = 16


class AdminServicer:
    """What only the operator may do."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _operator(self, context: Context) -> None:
        auth.caller(context).require(Role.OPERATOR)

    def _account(self, name: str) -> account_pb.Account:
        core = self._services.core
        return accounts.account(core, accounts.find_account(core, name))

    async def CreateAccount(
        self, request: pb.CreateAccountRequest, context: Context
    ) -> pb.CreateAccountResponse:
        """See the service's definition."""
        self._operator(context)
        if not ACCOUNT_NAME.fullmatch(request.name):
            raise invalid("name", f"must match {ACCOUNT_NAME.pattern}")
        kind = AccountKind.PAPER if request.paper else AccountKind.REAL
        outcome = await self._services.execute(OpenAccount(kind, request.name))
        assert isinstance(outcome.first, AccountOpened)
        return pb.CreateAccountResponse(account=self._account(request.name))

    async def CreateKey(
        self, request: pb.CreateKeyRequest, context: Context
    ) -> pb.CreateKeyResponse:
        """See the service's definition."""
        self._operator(context)
        roles = accounts.roles(request.roles)
        account = accounts.find_account(self._services.core, request.account)
        secret = auth.new_secret()
        key_hash = auth.hash_secret(secret)
        command = AddKey(account.account_id, int(roles), key_hash, request.label)
        await self._services.execute(command)
        return pb.CreateKeyResponse(secret=secret, key_id=auth.key_id(key_hash))

    async def RevokeKey(
        self, request: pb.RevokeKeyRequest, context: Context
    ) -> pb.RevokeKeyResponse:
        """See the service's definition."""
        self._operator(context)
        await self._services.execute(RevokeKey(self._find_key(request.key)))
        return pb.RevokeKeyResponse()

    def _find_key(self, named: str) -> bytes:
        if auth.SECRET_PATTERN.fullmatch(named):
            return auth.hash_secret(named)
        if len(named) < KEY_PREFIX_MIN:
            raise invalid("key", f"must be the secret or at least {KEY_PREFIX_MIN} characters")
        found = [h for h in self._services.core.keys if h.hex().startswith(named.lower())]
        if not found:
            raise refusal(Reason.UNKNOWN_KEY, "no key's hash begins with this")
        if len(found) > 1:
            raise invalid("key", "names more than one key; give more characters")
        return found[0]

    async def Deposit(self, request: pb.DepositRequest, context: Context) -> pb.DepositResponse:
        """See the service's definition."""
        self._operator(context)
        account_id = self._money_goes(request)
        await self._services.execute(Deposit(account_id, request.request_id, request.amount_nanos))
        return pb.DepositResponse(account=self._account(request.account))

    async def Withdraw(self, request: pb.WithdrawRequest, context: Context) -> pb.WithdrawResponse:
        """See the service's definition."""
        self._operator(context)
        account_id = self._money_goes(request)
        await self._services.execute(Withdraw(account_id, request.request_id, request.amount_nanos))
        return pb.WithdrawResponse(account=self._account(request.account))

    def _money_goes(self, request: pb.DepositRequest | pb.WithdrawRequest) -> int:
        if len(request.request_id) != ID_BYTES:
            raise refusal(Reason.CLIENT_ID_INVALID, "request_id must be a UUIDv7 of 16 bytes")
        return accounts.find_account(self._services.core, request.account).account_id

    async def CreateModel(
        self, request: pb.CreateModelRequest, context: Context
    ) -> pb.CreateModelResponse:
        """See the service's definition."""
        self._operator(context)
        try:
            card = decode_card(request.card)
        except CardError as error:
            raise invalid("card", f"is no model card: {error}") from error
        outcome = await self._services.execute(AddModel(card.encode()))
        added = outcome.first
        assert isinstance(added, ModelAdded)
        return pb.CreateModelResponse(model_id=added.model_id, name=added.name)

    async def CreateInstrument(
        self, request: pb.CreateInstrumentRequest, context: Context
    ) -> pb.CreateInstrumentResponse:
        """See the service's definition."""
        self._operator(context)
        core = self._services.core
        await self._services.execute(market.add_instrument(core, request.instrument))
        found = market.find_instrument(core, request.instrument.name)
        return pb.CreateInstrumentResponse(instrument=market.instrument(found))

    async def SetInstrumentState(
        self, request: pb.SetInstrumentStateRequest, context: Context
    ) -> pb.SetInstrumentStateResponse:
        """See the service's definition."""
        self._operator(context)
        state = enums.from_proto(TradingState, request.state, "state")
        found = market.find_instrument(self._services.core, request.instrument)
        command = SetInstrumentState(found.instrument_id, state, request.call_ns)
        await self._services.execute(command)
        return pb.SetInstrumentStateResponse(instrument=market.instrument(found))

    async def SetProtections(
        self, request: pb.SetProtectionsRequest, context: Context
    ) -> pb.SetProtectionsResponse:
        """See the service's definition."""
        self._operator(context)
        found = market.find_instrument(self._services.core, request.instrument)
        command = market.set_protections(found.instrument_id, request.protections)
        await self._services.execute(command)
        return pb.SetProtectionsResponse(instrument=market.instrument(found))

    async def SetAccountHalted(
        self, request: pb.SetAccountHaltedRequest, context: Context
    ) -> pb.SetAccountHaltedResponse:
        """See the service's definition."""
        self._operator(context)
        found = accounts.find_account(self._services.core, request.account)
        await self._services.execute(SetAccountHalted(found.account_id, int(request.halted)))
        return pb.SetAccountHaltedResponse(account=self._account(request.account))

    async def SetAccountLimits(
        self, request: pb.SetAccountLimitsRequest, context: Context
    ) -> pb.SetAccountLimitsResponse:
        """See the service's definition."""
        self._operator(context)
        found = accounts.find_account(self._services.core, request.account)
        await self._services.execute(accounts.set_limits(found.account_id, request.messages))
        return pb.SetAccountLimitsResponse(account=self._account(request.account))

    async def SetAnyWorker(
        self, request: pb.SetAnyWorkerRequest, context: Context
    ) -> pb.SetAnyWorkerResponse:
        """See the service's definition."""
        self._operator(context)
        action = enums.from_proto(WorkerAction, request.action, "action")
        await self._services.execute(SetWorker(0, request.worker_id, action))
        core = self._services.core
        connected = self._services.sessions.is_connected(request.worker_id)
        found = workers.worker(core, core.workers[request.worker_id], connected)
        return pb.SetAnyWorkerResponse(worker=found)

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        """See the service's definition."""
        auth.caller(context).require(Role.OPERATOR, Role.READER)
        core = self._services.core
        found = [accounts.account(core, account) for account in core.accounts.values()]
        return pb.ListAccountsResponse(accounts=found)

    async def GetInvariants(
        self, request: pb.GetInvariantsRequest, context: Context
    ) -> pb.GetInvariantsResponse:
        """See the service's definition."""
        auth.caller(context).require(Role.OPERATOR, Role.READER)
        core = self._services.core
        sessions = self._services.sessions
        found = pb.GetInvariantsResponse(
            ledger_imbalance_nanos=core.imbalance_nanos(),
            overspend_nanos=core.overspend_nanos(),
            journal_records=core.sequence,
            epoch=core.epoch,
            open_orders=len(core.orders),
            open_jobs=sum(account.open_jobs for account in core.accounts.values()),
            open_leases=sum(len(worker.lease_ids) for worker in core.workers.values()),
            jobs_settled=core.jobs_settled,
            jobs_failed=core.jobs_unsettled,
            workers_connected=sum(sessions.is_connected(ident) for ident in core.workers),
        )
        if request.full:
            found.digest = core.digest()
            try:
                core.check()
            except AssertionError as error:
                found.failure = str(error) or "an invariant does not hold"
        return found

    async def ExportLedger(
        self, request: pb.ExportLedgerRequest, context: Context
    ) -> AsyncIterator[pb.ExportLedgerResponse]:
        """See the service's definition. Entries that come in meanwhile are in it, too."""
        auth.caller(context).require(Role.OPERATOR, Role.READER)
        number = 1
        while entries := await self._entries(number):
            yield pb.ExportLedgerResponse(entries=[accounts.entry(entry) for entry in entries])
            number += len(entries)

    async def _entries(self, number: int) -> list[EntryRow]:
        """Ledger entries from a number on. An export without the last ones would be wrong."""
        answer = await self._services.ask(
            lambda database: queries.entries_from(database, number, EXPORT_PAGE),
            must_be_fresh=True,
        )
        return answer.found
