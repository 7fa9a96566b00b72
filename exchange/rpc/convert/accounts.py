"""Accounts, keys and ledger entries as the API has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from exchange.core import limits
from exchange.core.accounts import Account, Key
from exchange.core.commands import AccountKind, Role, SetAccountLimits
from exchange.core.exchange import Exchange
from exchange.core.reasons import Reason
from exchange.readmodel.queries import EntryRow
from exchange.rpc import auth
from exchange.rpc.convert import enums
from exchange.rpc.errors import invalid, refusal
from exchange.v1 import account_service_pb2 as pb

LIMIT_FIELDS: Final = SetAccountLimits.__struct_fields__[1:]
"""Named alike in the command and in the message."""


def account(core: Exchange, found: Account) -> pb.Account:
    """One account with its money."""
    ledger = core.ledger
    ident = found.account_id
    return pb.Account(
        account_id=ident,
        name=found.name,
        paper=found.kind == AccountKind.PAPER,
        balance_nanos=ledger.balance(ident),
        pending_nanos=ledger.pending(ident),
        available_nanos=ledger.available(ident),
        positions=[
            pb.Position(instrument_id=instrument_id, quantity_mflop=quantity)
            for instrument_id, quantity in sorted(found.positions.items())
        ],
        open_orders=found.open_orders,
        open_jobs=found.open_jobs,
        halted=found.halted,
        limits=_limits(found),
    )


def _limits(found: Account) -> pb.AccountLimits:
    """The caps that apply: the exchange's own, and what the operator set."""
    caps = pb.AccountLimits(
        open_orders_max=limits.OPEN_ORDERS_PER_ACCOUNT_MAX,
        open_jobs_max=limits.OPEN_JOBS_PER_ACCOUNT_MAX,
        queued_bytes_max=limits.QUEUED_BYTES_PER_ACCOUNT_MAX,
        client_ids_max=limits.CLIENT_IDS_PER_ACCOUNT_MAX,
    )
    if found.limits is not None:
        terms = found.limits.terms
        for name in LIMIT_FIELDS:
            setattr(caps.messages, name, getattr(terms, name))
    return caps


def set_limits(account_id: int, messages: pb.MessageLimits) -> SetAccountLimits:
    """The command that sets what an account may send."""
    return SetAccountLimits(account_id, *(getattr(messages, name) for name in LIMIT_FIELDS))


def find_account(core: Exchange, name: str) -> Account:
    """The account of this name.

    Raises:
        RpcError: NOT_FOUND, reason UNKNOWN_ACCOUNT.
    """
    found = core.account_by_name.get(name)
    if found is None:
        raise refusal(Reason.UNKNOWN_ACCOUNT, f"no account {name!r}", {"account": name})
    return core.accounts[found]


def roles(names: Iterable[str]) -> Role:
    """The roles of these names.

    Raises:
        RpcError: INVALID_ARGUMENT: none given, or no such role.
    """
    total = Role(0)
    for name in names:
        try:
            total |= Role[name.upper()]
        except KeyError as error:
            known = ", ".join(str(role.name).lower() for role in Role)
            raise invalid("roles", f"must be among {known}") from error
    if not total:
        raise invalid("roles", "must name at least one role")
    return total


def role_names(value: int) -> list[str]:
    """Names of roles, lower case."""
    return [str(role.name).lower() for role in Role if role & value]


def key(key_hash: bytes, found: Key) -> pb.Key:
    """One key, without its secret."""
    return pb.Key(key_id=auth.key_id(key_hash), label=found.label, roles=role_names(found.roles))


def entry(found: EntryRow) -> pb.LedgerEntry:
    """One ledger entry."""
    return pb.LedgerEntry(
        sequence=found.sequence,
        kind=enums.entry_kind(found.kind),
        debit_account_id=found.debit_account_id,
        credit_account_id=found.credit_account_id,
        amount_nanos=found.amount_nanos,
        reference_id=found.reference_id,
        event_time_ns=found.event_time_ns,
    )
