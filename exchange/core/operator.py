"""The operator's commands: accounts, keys, money in and out, models, instruments, halts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.accounts import (
    EXTERNAL,
    EXTERNAL_ID,
    EXTERNAL_PAPER_ID,
    Account,
    Key,
)
from exchange.core.client_ids import content_digest
from exchange.core.commands import (
    AccountKind,
    AddInstrument,
    AddKey,
    AddModel,
    ClearingMode,
    Deposit,
    OpenAccount,
    RevokeKey,
    SetAccountHalted,
    SetAccountLimits,
    SetInstrumentState,
    Settlement,
    TradingState,
    Withdraw,
)
from exchange.core.events import (
    AccountHalted,
    AccountLimitsSet,
    AccountOpened,
    EntryKind,
    InstrumentAdded,
    InstrumentStateChanged,
    JobState,
    KeyAdded,
    KeyRevoked,
    ModelAdded,
    OrderState,
    Posted,
    Repeated,
)
from exchange.core.instruments import Instrument, Model, terms_refusal
from exchange.core.limits import (
    ACCOUNTS_MAX,
    BALANCE_MAX_NANOS,
    CARD_BYTES_MAX,
    INSTRUMENTS_MAX,
    KEYS_PER_ACCOUNT_MAX,
    MODELS_MAX,
    NAME_BYTES_MAX,
)
from exchange.core.message_limits import limits_for
from exchange.core.reasons import Reason
from exchange.metering.cards import CardError, decode_card
from matching.book import Book
from matching.clearing import ClearingGroup
from matching.types import CLASSES_MAX

if TYPE_CHECKING:
    from exchange.core.jobs import JobDesk
    from exchange.core.orders import OrderDesk
    from exchange.core.state import State
    from exchange.core.trading import TradingDesk
    from exchange.core.workers import WorkerDesk

ROLES_MAX: Final = 15


class OperatorDesk:
    """What only the operator may do."""

    def __init__(
        self,
        state: State,
        jobs: JobDesk,
        orders: OrderDesk,
        trading: TradingDesk,
        workers: WorkerDesk,
    ) -> None:
        self._state = state
        self._trading = trading
        self._jobs = jobs
        self._orders = orders
        self._workers = workers
        self._open(AccountKind.REAL, "external")
        self._open(AccountKind.PAPER, "external-paper")

    def _open(self, kind: AccountKind, name: str) -> Account:
        state = self._state
        state.counters.account += 1
        account = Account(state.counters.account, kind, name)
        state.accounts[account.account_id] = account
        state.account_by_name[name] = account.account_id
        external = account.account_id in EXTERNAL
        opener = state.ledger.open_external if external else state.ledger.open
        opener(account.account_id)
        return account

    def open_account(self, command: OpenAccount) -> Reason:
        """A new account with nothing in it."""
        if command.kind not in (1, 2) or not 0 < len(command.name.encode()) <= NAME_BYTES_MAX:
            return Reason.FIELD_INVALID
        if command.name in self._state.account_by_name:
            return Reason.NAME_TAKEN
        if len(self._state.accounts) >= ACCOUNTS_MAX:
            return Reason.EXCHANGE_FULL
        account = self._open(AccountKind(command.kind), command.name)
        self._state.emit(AccountOpened(account.account_id, command.kind, command.name))
        return Reason.NONE

    def add_key(self, command: AddKey) -> Reason:
        """A key for an account."""
        state = self._state
        if command.account_id not in state.accounts or command.account_id in EXTERNAL:
            return Reason.UNKNOWN_ACCOUNT
        if not 0 < command.roles <= ROLES_MAX or len(command.label.encode()) > NAME_BYTES_MAX:
            return Reason.FIELD_INVALID
        if command.key_hash in state.keys:
            return Reason.NAME_TAKEN
        have = sum(key.account_id == command.account_id for key in state.keys.values())
        if have >= KEYS_PER_ACCOUNT_MAX:
            return Reason.EXCHANGE_FULL
        state.keys[command.key_hash] = Key(command.account_id, command.roles, command.label)
        state.emit(KeyAdded(command.account_id, command.roles, command.key_hash, command.label))
        return Reason.NONE

    def revoke_key(self, command: RevokeKey) -> Reason:
        """The key works no more."""
        key = self._state.keys.pop(command.key_hash, None)
        if key is None:
            return Reason.UNKNOWN_KEY
        self._state.emit(KeyRevoked(key.account_id, command.key_hash))
        return Reason.NONE

    def move_money(self, command: Deposit | Withdraw) -> Reason:
        """Money comes in from outside, or goes out of what is available."""
        state = self._state
        account = state.accounts.get(command.account_id)
        if account is None or command.account_id in EXTERNAL:
            return Reason.UNKNOWN_ACCOUNT
        request_id, digest = command.request_id, content_digest(command)
        known = state.client_ids.find(account, request_id, command.KIND, digest, state.now_ns)
        if known is not None:
            if not known.reason:
                state.emit(Repeated(account.account_id, known.result_id))
            return known.reason
        if command.amount_nanos <= 0:
            return Reason.AMOUNT_NOT_POSITIVE
        if command.amount_nanos > BALANCE_MAX_NANOS:
            return Reason.AMOUNT_TOO_LARGE
        outside = EXTERNAL_ID if account.kind == AccountKind.REAL else EXTERNAL_PAPER_ID
        debit, credit, kind = outside, account.account_id, EntryKind.DEPOSIT
        if isinstance(command, Withdraw):
            debit, credit, kind = credit, debit, EntryKind.WITHDRAWAL
        refusal = state.ledger.transfer(debit, credit, command.amount_nanos)
        if refusal:
            return refusal
        account.client_ids.add(request_id, command.KIND, digest, state.sequence)
        state.client_ids.ended(account, request_id, state.now_ns)
        state.emit(Posted(kind, debit, credit, command.amount_nanos, 0))
        return Reason.NONE

    def add_model(self, command: AddModel) -> Reason:
        """A model card; its name is taken for good."""
        state = self._state
        if len(command.card) > CARD_BYTES_MAX:
            return Reason.FIELD_INVALID
        try:
            card = decode_card(command.card)
        except CardError:
            return Reason.FIELD_INVALID
        if card.name in state.model_by_name:
            return Reason.NAME_TAKEN
        if len(state.models) >= MODELS_MAX:
            return Reason.EXCHANGE_FULL
        state.counters.model += 1
        model = Model(state.counters.model, card, card.encode())
        state.models[model.model_id] = model
        state.model_by_name[card.name] = model.model_id
        state.emit(ModelAdded(model.model_id, card.name))
        return Reason.NONE

    def add_instrument(self, command: AddInstrument) -> Reason:
        """An instrument, in the clearing group of its model and tier, or with a book of its own."""
        state = self._state
        refusal = terms_refusal(command)
        if refusal:
            return refusal
        if command.name in state.instrument_by_name:
            return Reason.NAME_TAKEN
        if len(state.instruments) >= INSTRUMENTS_MAX:
            return Reason.EXCHANGE_FULL
        group_id = 0
        if command.settlement == Settlement.LEASE:
            reason, group_id = self._group_for(command)
            if reason:
                return reason
        state.counters.instrument += 1
        instrument = Instrument(state.counters.instrument, command, group_id)
        state.instruments[instrument.instrument_id] = instrument
        state.instrument_by_name[command.name] = instrument.instrument_id
        if group_id:
            state.group_classes[group_id].append(instrument.instrument_id)
        else:
            book = Book(command.tick_nanos, command.lot_mflop)
            state.books[instrument.instrument_id] = instrument.book = book
        state.emit(InstrumentAdded(instrument.instrument_id, command.name))
        return Reason.NONE

    def _group_for(self, command: AddInstrument) -> tuple[Reason, int]:
        state = self._state
        model = state.models.get(command.model_id)
        if model is None:
            return Reason.UNKNOWN_MODEL, 0
        model_name, _, tier = command.name.split("/")
        if model_name != model.card.name:
            return Reason.FIELD_INVALID, 0
        key = (command.model_id, tier)
        group_id = state.group_by_key.get(key, 0)
        if not group_id:
            state.counters.group += 1
            group_id = state.group_by_key[key] = state.counters.group
            state.groups[group_id] = ClearingGroup(group_id, state.rules.ramp_ns)
            state.group_classes[group_id] = []
        if len(state.group_classes[group_id]) >= CLASSES_MAX:
            return Reason.EXCHANGE_FULL, 0
        return Reason.NONE, group_id

    def set_instrument_state(self, command: SetInstrumentState) -> Reason:
        """Halt, resume, close, or open a call auction."""
        instrument = self._state.instruments.get(command.instrument_id)
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        if command.state not in TradingState.__members__.values():
            return Reason.FIELD_INVALID
        if instrument.state == TradingState.CLOSED:
            return Reason.INSTRUMENT_HALTED
        if instrument.terms.mode == ClearingMode.CONTINUOUS:
            state = TradingState(command.state)
            reason = self._trading.set_state(instrument, state, command.call_ns)
            if not reason and state == TradingState.CLOSED:
                self._empty(instrument)
            return reason
        if command.state == TradingState.AUCTION or command.call_ns:
            return Reason.ORDER_TYPE_UNSUPPORTED
        instrument.state = TradingState(command.state)
        self._state.emit(InstrumentStateChanged(instrument.instrument_id, command.state))
        group_id = instrument.clearing_group_id
        self._state.groups[group_id].set_open(instrument.instrument_id, instrument.is_open)
        self._jobs.arm(group_id)
        if instrument.state == TradingState.CLOSED:
            self._empty(instrument)
        return Reason.NONE

    def _empty(self, instrument: Instrument) -> None:
        """Closed: whatever can trade nowhere else any more is cancelled."""
        state = self._state
        ident = instrument.instrument_id
        for order in [o for o in state.orders.values() if o.is_on(ident)]:
            self._orders.close(order, OrderState.CANCELED, Reason.CANCELLED_BY_OPERATOR)
        for worker in state.workers.values():
            for key in sorted(k for k in worker.quotes if k[0] == ident):
                self._workers.end_quote(worker, key)
        for job in [j for j in state.jobs.values() if j.state == JobState.QUEUED]:
            self._jobs.prune(job)

    def set_account_limits(self, command: SetAccountLimits) -> Reason:
        """How much an account may send from now on; what it sent before is forgotten."""
        state = self._state
        account = state.accounts.get(command.account_id)
        if account is None or command.account_id in EXTERNAL:
            return Reason.UNKNOWN_ACCOUNT
        limits = limits_for(command, state.now_ns)
        if isinstance(limits, Reason):
            return limits
        account.limits = limits
        state.emit(AccountLimitsSet(account.account_id))
        return Reason.NONE

    def set_account_halted(self, command: SetAccountHalted) -> Reason:
        """A halted account starts nothing new; its quotes go."""
        state = self._state
        account = state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        account.halted = bool(command.halted)
        state.emit(AccountHalted(account.account_id, account.halted))
        if account.halted:
            for worker in state.workers.values():
                if worker.account_id == account.account_id:
                    self._workers.end_quotes(worker)
        return Reason.NONE
