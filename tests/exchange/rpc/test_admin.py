"""AdminService and AccountService over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import Role
from exchange.metering.cards import INSTANT, SMOLLM2_135M
from exchange.rpc.auth import SECRET_PATTERN, hash_secret
from exchange.v1 import account_service_pb2 as account_pb
from exchange.v1 import admin_service_pb2 as pb
from exchange.v1 import market_pb2 as market
from exchange.v1 import worker_service_pb2 as worker_pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from exchange.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.exchange.rpc.desk import ASK, BID, INSTRUMENT, Desk, open_desk
from tests.exchange.rpc.rig import Calls, error_info


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


async def refused(call: Any, reason: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert error_info(caught.value).reason == reason
    assert caught.value.code() is code


async def test_an_account_from_its_opening_to_its_first_trade(desk: Desk) -> None:
    admin = desk.admin
    account = (await admin.CreateAccount(pb.CreateAccountRequest(name="carol", paper=True))).account
    assert (account.paper, account.balance_nanos) == (True, 0)
    request_id = desk.exchange.id()
    for _ in range(2):  # a repeat is harmless
        request = pb.DepositRequest(account="carol", request_id=request_id, amount_nanos=10**9)
        assert (await admin.Deposit(request)).account.balance_nanos == 10**9
    made = await admin.CreateKey(pb.CreateKeyRequest(account="carol", roles=["trader"], label="x"))
    assert SECRET_PATTERN.match(made.secret)
    assert hash_secret(made.secret).hex().startswith(made.key_id)
    assert made.secret.encode() not in b"".join(
        path.read_bytes() for path in desk.exchange.config.directory.rglob("*.log")
    )
    carol: Any = Calls(AccountServiceStub(desk.channel), made.secret)
    own = (await carol.GetAccount(account_pb.GetAccountRequest())).account
    assert (own.name, own.available_nanos, own.limits.open_orders_max) == ("carol", 10**9, 100_000)
    (key,) = (await carol.ListKeys(account_pb.ListKeysRequest())).keys
    assert (key.key_id, list(key.roles), key.label) == (made.key_id, ["trader"], "x")
    withdrawal = pb.WithdrawRequest(
        account="carol", request_id=desk.exchange.id(), amount_nanos=10**9 - 1
    )
    assert (await admin.Withdraw(withdrawal)).account.balance_nanos == 1
    await admin.RevokeKey(pb.RevokeKeyRequest(key=made.key_id))
    call = carol.GetAccount(account_pb.GetAccountRequest())
    await refused(call, "KEY_UNKNOWN", grpc.StatusCode.UNAUTHENTICATED)


@pytest.mark.parametrize(
    ("method", "request_", "reason", "code"),
    [
        ("CreateAccount", pb.CreateAccountRequest(name="alice"), "NAME_TAKEN", "ALREADY_EXISTS"),
        ("CreateAccount", pb.CreateAccountRequest(name=""), "FIELD_INVALID", "INVALID_ARGUMENT"),
        (
            "CreateAccount",
            pb.CreateAccountRequest(name="a\nb"),
            "FIELD_INVALID",
            "INVALID_ARGUMENT",
        ),
        (
            "CreateAccount",
            pb.CreateAccountRequest(name="x" * 129),
            "FIELD_INVALID",
            "INVALID_ARGUMENT",
        ),
        (
            "CreateKey",
            pb.CreateKeyRequest(account="nobody", roles=["trader"]),
            "UNKNOWN_ACCOUNT",
            "NOT_FOUND",
        ),
        ("CreateKey", pb.CreateKeyRequest(account="alice"), "FIELD_INVALID", "INVALID_ARGUMENT"),
        (
            "CreateKey",
            pb.CreateKeyRequest(account="alice", roles=["king"]),
            "FIELD_INVALID",
            "INVALID_ARGUMENT",
        ),
        ("RevokeKey", pb.RevokeKeyRequest(key="abc"), "FIELD_INVALID", "INVALID_ARGUMENT"),
        ("RevokeKey", pb.RevokeKeyRequest(key="0" * 64), "UNKNOWN_KEY", "NOT_FOUND"),
        (
            "Deposit",
            pb.DepositRequest(account="alice", request_id=b"x", amount_nanos=1),
            "CLIENT_ID_INVALID",
            "INVALID_ARGUMENT",
        ),
        (
            "Deposit",
            pb.DepositRequest(account="nobody", request_id=bytes(16), amount_nanos=1),
            "UNKNOWN_ACCOUNT",
            "NOT_FOUND",
        ),
        ("CreateModel", pb.CreateModelRequest(card=b"{}"), "FIELD_INVALID", "INVALID_ARGUMENT"),
        (
            "CreateInstrument",
            pb.CreateInstrumentRequest(instrument=market.Instrument(name="x")),
            "FIELD_INVALID",
            "INVALID_ARGUMENT",
        ),
        (
            "CreateInstrument",
            pb.CreateInstrumentRequest(
                instrument=market.Instrument(
                    name="m/c/t",
                    settlement=market.SETTLEMENT_LEASE,
                    clearing_mode=market.CLEARING_MODE_BATCH,
                )
            ),
            "UNKNOWN_MODEL",
            "NOT_FOUND",
        ),
        (
            "SetInstrumentState",
            pb.SetInstrumentStateRequest(instrument="nothing", state=market.TRADING_STATE_HALTED),
            "UNKNOWN_INSTRUMENT",
            "NOT_FOUND",
        ),
        (
            "SetInstrumentState",
            pb.SetInstrumentStateRequest(instrument=INSTRUMENT),
            "FIELD_INVALID",
            "INVALID_ARGUMENT",
        ),
        (
            "SetAccountHalted",
            pb.SetAccountHaltedRequest(account="nobody"),
            "UNKNOWN_ACCOUNT",
            "NOT_FOUND",
        ),
        (
            "SetAnyWorker",
            pb.SetAnyWorkerRequest(worker_id=7, action=worker_pb.WORKER_ACTION_PAUSE),
            "UNKNOWN_WORKER",
            "NOT_FOUND",
        ),
    ],
)
async def test_bad_input(desk: Desk, method: str, request_: Any, reason: str, code: str) -> None:
    before = desk.core.ledger.state(), desk.core.counters.state(), len(desk.core.keys)
    await refused(getattr(desk.admin, method)(request_), reason, getattr(grpc.StatusCode, code))
    assert before == (desk.core.ledger.state(), desk.core.counters.state(), len(desk.core.keys))


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0, "AMOUNT_NOT_POSITIVE"), (-1, "AMOUNT_NOT_POSITIVE"), (2**62, "AMOUNT_TOO_LARGE")],
)
async def test_amounts_have_bounds(desk: Desk, amount: int, reason: str) -> None:
    request = pb.DepositRequest(account="alice", request_id=desk.exchange.id(), amount_nanos=amount)
    await refused(desk.admin.Deposit(request), reason, grpc.StatusCode.INVALID_ARGUMENT)


async def test_more_than_is_available_cannot_be_withdrawn(desk: Desk) -> None:
    await desk.place(desk.alice, BID, 1_000, 10**9)  # holds 10^6 nano-dollars
    account = (await desk.accounts.GetAccount(account_pb.GetAccountRequest())).account
    assert account.pending_nanos == 10**6
    request = pb.WithdrawRequest(
        account="alice", request_id=desk.exchange.id(), amount_nanos=account.balance_nanos
    )
    await refused(
        desk.admin.Withdraw(request), "INSUFFICIENT_FUNDS", grpc.StatusCode.RESOURCE_EXHAUSTED
    )


async def test_models_and_instruments(desk: Desk) -> None:
    admin = desk.admin
    made = await admin.CreateModel(pb.CreateModelRequest(card=SMOLLM2_135M.encode()))
    assert (made.model_id, made.name) == (1, "smollm2-135m")
    wanted = market.Instrument(
        name="smollm2-135m/cpu/interactive",
        settlement=market.SETTLEMENT_LEASE,
        clearing_mode=market.CLEARING_MODE_BATCH,
        tick_nanos=1,
        lot_mflop=1,
        price_min_nanos=1,
        price_max_nanos=10**9,
        quantity_max_mflop=10**9,
        prefill_millitokens_per_s=100_000,
        decode_millitokens_per_s=20_000,
        context_tokens_max=2_048,
        latest_start_ns=10**9,
    )
    request = pb.CreateInstrumentRequest(instrument=wanted)
    found = (await admin.CreateInstrument(request)).instrument
    wanted.instrument_id, wanted.model, wanted.hardware_class = 2, "smollm2-135m", "cpu"
    wanted.tier, wanted.state = "interactive", market.TRADING_STATE_OPEN
    assert found == wanted
    await refused(admin.CreateInstrument(request), "NAME_TAKEN", grpc.StatusCode.ALREADY_EXISTS)
    state = pb.SetInstrumentStateRequest(instrument=wanted.name, state=market.TRADING_STATE_HALTED)
    assert (await admin.SetInstrumentState(state)).instrument.state == state.state


async def test_a_halted_account_starts_nothing_new(desk: Desk) -> None:
    (new,) = await desk.place(desk.alice, BID, 10, 1)
    halt = pb.SetAccountHaltedRequest(account="alice", halted=True)
    assert (await desk.admin.SetAccountHalted(halt)).account.halted
    (report,) = await desk.place(desk.alice, BID, 10, 1)
    assert report.reason == 103
    resume = pb.SetAccountHaltedRequest(account="alice")
    assert not (await desk.admin.SetAccountHalted(resume)).account.halted
    assert new.order_id in desk.core.orders


async def test_the_ledger_recomputes_every_balance(desk: Desk) -> None:
    await desk.place(desk.alice, ASK, 1_000_000, 1_000)
    for _ in range(5):
        await desk.place(desk.bob, BID, 1_000_000, 7)
    balances: dict[int, int] = {}
    exported = []
    async for page in desk.admin.ExportLedger(pb.ExportLedgerRequest()):
        for entry in page.entries:
            exported.append(entry)
            balances[entry.debit_account_id] = (
                balances.get(entry.debit_account_id, 0) - entry.amount_nanos
            )
            balances[entry.credit_account_id] = (
                balances.get(entry.credit_account_id, 0) + entry.amount_nanos
            )
    accounts = (await desk.admin.ListAccounts(pb.ListAccountsRequest())).accounts
    assert {a.account_id: a.balance_nanos for a in accounts if a.balance_nanos} == {
        ident: balance for ident, balance in balances.items() if balance
    }
    assert sum(balances.values()) == 0
    assert len(exported) == 7
    # Alice's own entries, newest first, in pages of two.
    own, token = [], ""
    while True:
        request = account_pb.ListLedgerEntriesRequest(page_size=2, page_token=token)
        page = await desk.accounts.ListLedgerEntries(request)
        own += page.entries
        token = page.next_page_token
        if not token:
            break
    alice = desk.core.account_by_name["alice"]
    wanted = [e for e in exported if alice in (e.debit_account_id, e.credit_account_id)]
    assert own == wanted[::-1]
    assert [entry.kind for entry in own] == [account_pb.ENTRY_KIND_TRADE] * 5 + [
        account_pb.ENTRY_KIND_DEPOSIT
    ]


async def test_invariants(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.place(desk.alice, BID, 10, 1)
    found = await desk.admin.GetInvariants(pb.GetInvariantsRequest(full=True))
    assert (found.ledger_imbalance_nanos, found.overspend_nanos, found.failure) == (0, 0, "")
    assert found.digest == desk.core.digest()
    assert (found.journal_records, found.open_orders) == (desk.core.sequence, 1)
    assert not (await desk.admin.GetInvariants(pb.GetInvariantsRequest())).digest
    desk.core.accounts[3].open_jobs += 1
    desk.core.accounts[4].open_jobs += 1
    broken = await desk.admin.GetInvariants(pb.GetInvariantsRequest(full=True))
    assert broken.failure


async def test_only_operators_operate(desk: Desk) -> None:
    reader = await desk.exchange.key("auditor", Role.READER)
    as_trader: Any = Calls(AdminServiceStub(desk.channel), desk.keys[0])
    as_reader: Any = Calls(AdminServiceStub(desk.channel), reader)
    denied = ("ROLE_MISSING", grpc.StatusCode.PERMISSION_DENIED)
    for calls in (as_trader, as_reader):
        for name, request in (
            ("CreateAccount", pb.CreateAccountRequest(name="x")),
            ("CreateKey", pb.CreateKeyRequest(account="alice", roles=["operator"])),
            ("RevokeKey", pb.RevokeKeyRequest(key="0" * 64)),
            ("Deposit", pb.DepositRequest(account="alice")),
            ("Withdraw", pb.WithdrawRequest(account="alice")),
            ("CreateModel", pb.CreateModelRequest(card=INSTANT.encode())),
            ("CreateInstrument", pb.CreateInstrumentRequest()),
            ("SetInstrumentState", pb.SetInstrumentStateRequest()),
            ("SetAccountHalted", pb.SetAccountHaltedRequest()),
            ("SetAnyWorker", pb.SetAnyWorkerRequest()),
        ):
            await refused(getattr(calls, name)(request), *denied)
    await refused(as_trader.ListAccounts(pb.ListAccountsRequest()), *denied)
    await refused(as_trader.GetInvariants(pb.GetInvariantsRequest()), *denied)
    assert (await as_reader.ListAccounts(pb.ListAccountsRequest())).accounts
    own: Any = Calls(AccountServiceStub(desk.channel), desk.keys[0])
    bobs = account_pb.GetAccountRequest(account_id=desk.core.account_by_name["bob"])
    await refused(own.GetAccount(bobs), *denied)
    audit: Any = Calls(AccountServiceStub(desk.channel), reader)
    assert (await audit.GetAccount(bobs)).account.name == "bob"
    missing = account_pb.GetAccountRequest(account_id=99)
    await refused(audit.GetAccount(missing), "UNKNOWN_ACCOUNT", grpc.StatusCode.NOT_FOUND)
    receipt = account_pb.GetReceiptRequest(job_id=1)
    await refused(own.GetReceipt(receipt), "UNKNOWN_LEASE", grpc.StatusCode.NOT_FOUND)


async def entries(desk: Desk) -> list[account_pb.LedgerEntry]:
    """Alice's ledger entries, newest first."""
    answer = await desk.accounts.ListLedgerEntries(account_pb.ListLedgerEntriesRequest())
    assert answer.sequence == desk.core.sequence
    return list(answer.entries)


async def test_history_survives_a_restart(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.place(desk.alice, ASK, 100, 1)
        await desk.place(desk.bob, BID, 100, 1)
        before = await entries(desk)
        trades = desk.services.history.trades(0, 10)
    async with open_desk(tmp_path) as desk:
        assert (await entries(desk))[-len(before) :] == before
        assert desk.services.history.trades(desk.instrument_id, 10) == trades
