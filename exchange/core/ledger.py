"""The ledger: double entry, two-phase transfers, derived from the journal.

Every posting takes an amount from one account and gives it to another, so the sum over all accounts
is zero after every command. A *pending* transfer holds money for a worst case; it is *posted* in
part or whole to whoever earned it, and the rest is *voided* (the two-phase transfers of
TigerBeetle, docs/coding/two-phase-transfers). Amounts are nano-dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mypy_extensions import i64, mypyc_attr

from exchange.core.limits import BALANCE_MAX_NANOS
from exchange.core.reasons import Reason
from matching.columns import count_of, numbers, pack


class Balance:
    """One account's money: `posted` is owned, `pending` of it is held."""

    __slots__ = ("pending", "posted")

    def __init__(self) -> None:
        self.posted = 0
        self.pending = 0


@mypyc_attr(acyclic=True)  # it refers to nothing, so the collector need not look at it
class Pending:
    """A two-phase transfer: `amount` was held, `posted` of it has been paid out."""

    __slots__ = ("account_id", "amount", "posted")

    def __init__(self, account_id: int, amount: int) -> None:
        self.account_id = account_id
        self.amount = amount
        self.posted = 0


class Ledger:
    """Balances and pending transfers. Only `open_external` accounts may go below zero."""

    def __init__(self) -> None:
        self._balances: dict[int, Balance] = {}
        self._external: set[int] = set()
        self._pending: dict[int, Pending] = {}
        self._next_transfer_id = 1

    def open(self, account_id: int) -> None:
        """Open an account with nothing in it."""
        self._balances[account_id] = Balance()

    def open_external(self, account_id: int) -> None:
        """Open an account that stands for the world outside: deposits come from it."""
        self.open(account_id)
        self._external.add(account_id)

    def balance(self, account_id: int) -> int:
        """Posted balance, what is held included."""
        return self._balances[account_id].posted

    def pending(self, account_id: int) -> int:
        """What open bids and leases hold."""
        return self._balances[account_id].pending

    def available(self, account_id: int) -> int:
        """What can be spent or withdrawn."""
        balance = self._balances[account_id]
        return balance.posted - balance.pending

    def transfer(self, debit_id: int, credit_id: int, amount: int) -> Reason:
        """Post at once. NONE, or why nothing was moved."""
        debit, credit = self._balances[debit_id], self._balances[credit_id]
        if debit_id not in self._external and debit.posted - debit.pending < amount:
            return Reason.INSUFFICIENT_FUNDS
        if credit.posted + amount > BALANCE_MAX_NANOS or debit.posted - amount < -BALANCE_MAX_NANOS:
            return Reason.BALANCE_TOO_LARGE
        debit.posted -= amount
        credit.posted += amount
        return Reason.NONE

    def hold(self, account_id: int, amount: int) -> int:
        """Open a pending transfer; its id, or 0 where the available balance does not cover it."""
        balance = self._balances[account_id]
        if balance.posted - balance.pending < amount:
            return 0
        balance.pending += amount
        transfer_id = self._next_transfer_id
        self._next_transfer_id += 1
        self._pending[transfer_id] = Pending(account_id, amount)
        return transfer_id

    def take_back(self, transfer_id: int) -> None:
        """The last hold never was: what it was for is refused."""
        pending = self._pending.pop(transfer_id)
        self._balances[pending.account_id].pending -= pending.amount
        self._next_transfer_id -= 1
        assert transfer_id == self._next_transfer_id, "another transfer was opened since"

    def resize(self, transfer_id: int, amount: int) -> bool:
        """Change a pending transfer's total; False where funds or what is posted forbid it."""
        pending = self._pending[transfer_id]
        balance = self._balances[pending.account_id]
        more = amount - pending.amount
        if amount < pending.posted or balance.posted - balance.pending < more:
            return False
        balance.pending += more
        pending.amount = amount
        return True

    def post(self, transfer_id: int, credit_id: int, amount: int) -> None:
        """Pay part of a pending transfer out. It never pays more than it holds."""
        pending = self._pending[transfer_id]
        assert 0 <= amount <= pending.amount - pending.posted, "a post exceeds its escrow"
        debit, credit = self._balances[pending.account_id], self._balances[credit_id]
        # Deposits bound the sum of all credit, so this cannot overflow a balance.
        pending.posted += amount
        debit.pending -= amount
        debit.posted -= amount
        credit.posted += amount

    def void(self, transfer_id: int) -> int:
        """Close a pending transfer: what was not posted is free again. That amount."""
        pending = self._pending.pop(transfer_id)
        rest = pending.amount - pending.posted
        self._balances[pending.account_id].pending -= rest
        return rest

    def held(self, transfer_id: int) -> int:
        """What a pending transfer held in all."""
        return self._pending[transfer_id].amount

    def imbalance(self) -> int:
        """Sum over all accounts: zero."""
        return sum(balance.posted for balance in self._balances.values())

    def overdrawn(self) -> int:
        """Sum of what accounts owe that may owe nothing: zero."""
        return sum(
            max(0, -balance.posted)
            for account_id, balance in self._balances.items()
            if account_id not in self._external
        )

    def check(self) -> None:
        """Conservation, no overdraft, and every hold accounted for. O(accounts + pending)."""
        held: dict[int, int] = {}
        for pending in self._pending.values():
            assert 0 <= pending.posted <= pending.amount
            rest = pending.amount - pending.posted
            held[pending.account_id] = held.get(pending.account_id, 0) + rest
        for account_id, balance in self._balances.items():
            assert balance.pending == held.get(account_id, 0), "pending transfers do not add up"
            assert abs(balance.posted) <= BALANCE_MAX_NANOS
            if account_id not in self._external:
                assert balance.pending <= balance.posted, "an account is overdrawn"
        assert self.imbalance() == 0, "money appeared or vanished"

    def state(self) -> tuple[object, ...]:
        """Canonical state: balances by account, columns of pending transfers by id."""
        held = [(i, self._pending[i]) for i in sorted(self._pending)]
        return (
            self._next_transfer_id,
            sorted(self._external),
            sorted((i, b.posted, b.pending) for i, b in self._balances.items()),
            pack([i for i, _ in held]),
            pack([pending.account_id for _, pending in held]),
            pack([pending.amount for _, pending in held]),
            pack([pending.posted for _, pending in held]),
        )

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said."""
        self._next_transfer_id, external, balances, *columns = state
        self._external = set(external)
        self._balances = {}
        for account_id, posted, pending in balances:
            self.open(account_id)
            balance = self._balances[account_id]
            balance.posted, balance.pending = posted, pending
        count = count_of(columns[0])
        ids, accounts, amounts, paid = [numbers(column, count) for column in columns]
        self._pending = {}
        at: i64 = 0
        while at < count:
            pending = Pending(int(accounts[at]), int(amounts[at]))
            pending.posted = int(paid[at])
            self._pending[int(ids[at])] = pending
            at += 1
