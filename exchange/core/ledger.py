"""The ledger: double entry, two-phase transfers, derived from the journal.

Every posting takes an amount from one account and gives it to another, so the sum over all accounts
is zero after every command. A *pending* transfer holds money for a worst case; it is *posted* in
part or whole to whoever earned it, and the rest is *voided* (the two-phase transfers of
TigerBeetle, docs/coding/two-phase-transfers). Amounts are nano-dollars.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mypy_extensions import i64, mypyc_attr

from exchange.core.limits import BALANCE_MAX_NANOS
from exchange.core.reasons import Reason
from matching.columns import count_of, numbers, pack


@mypyc_attr(acyclic=True)  # it refers to nothing, so the collector need not look at it
class Balance:
    """One account's money: `posted` is owned, `pending` of it is held."""

    __slots__ = ("account_id", "pending", "posted")

    def __init__(self, account_id: int) -> None:
        self.account_id = account_id
        self.posted = 0
        self.pending = 0


# Balances refer to nothing. The memory of the last one that went, which a cache still has, is the
# next one's.
@mypyc_attr(acyclic=True, free_list_len=1)
class Hold:
    """A pending transfer, for who opened it to keep: `amount` was held, `posted` of it paid out.

    Attributes:
        transfer_id: Its number among all; 0 once it is closed.
        balance: What it is held from.
        place: Where it stands in the ledger's list.
    """

    __slots__ = ("amount", "balance", "place", "posted", "transfer_id")

    def __init__(self, transfer_id: int, balance: Balance, amount: int, place: int) -> None:
        self.transfer_id = transfer_id
        self.balance = balance
        self.amount = amount
        self.posted = 0
        self.place = place


class Ledger:
    """Balances and pending transfers. Only `open_external` accounts may go below zero."""

    def __init__(self) -> None:
        self._balances: dict[int, Balance] = {}
        self._external: set[int] = set()
        self._holds: list[Hold] = []  # those that are open, in no order that means anything
        self._next_transfer_id = 1

    def open(self, account_id: int) -> None:
        """Open an account with nothing in it."""
        self._balances[account_id] = Balance(account_id)

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

    def hold(self, account_id: int, amount: int) -> Hold | None:
        """Open a pending transfer; None where the available balance does not cover it."""
        balance = self._balances[account_id]
        if balance.posted - balance.pending < amount:
            return None
        balance.pending += amount
        holds = self._holds
        hold = Hold(self._next_transfer_id, balance, amount, len(holds))
        self._next_transfer_id += 1
        holds.append(hold)
        return hold

    def take_back(self, hold: Hold) -> None:
        """The last hold never was: what it was for is refused."""
        last_id = self._next_transfer_id - 1
        assert hold.transfer_id == last_id, "another transfer was opened since"
        self.void(hold)
        self._next_transfer_id = last_id

    def resize(self, hold: Hold, amount: int) -> bool:
        """Change a pending transfer's total; False where funds or what is posted forbid it."""
        assert hold.transfer_id, "the transfer is closed"
        balance = hold.balance
        more = amount - hold.amount
        if amount < hold.posted or balance.posted - balance.pending < more:
            return False
        balance.pending += more
        hold.amount = amount
        return True

    def post(self, hold: Hold, credit_id: int, amount: int) -> None:
        """Pay part of a pending transfer out. It never pays more than it holds."""
        assert hold.transfer_id, "the transfer is closed"
        assert 0 <= amount <= hold.amount - hold.posted, "a post exceeds its escrow"
        debit, credit = hold.balance, self._balances[credit_id]
        # Deposits bound the sum of all credit, so this cannot overflow a balance.
        hold.posted += amount
        debit.pending -= amount
        debit.posted -= amount
        credit.posted += amount

    def void(self, hold: Hold) -> int:
        """Close a pending transfer: what was not posted is free again. That amount."""
        assert hold.transfer_id, "the transfer is closed"
        hold.transfer_id = 0
        last = self._holds.pop()
        if last is not hold:  # it takes the place that is free now
            place = last.place = hold.place
            self._holds[place] = last
        rest = hold.amount - hold.posted
        hold.balance.pending -= rest
        return rest

    def open_holds(self) -> dict[int, Hold]:
        """The pending transfers by id. Costs O(transfers)."""
        return {hold.transfer_id: hold for hold in self._holds}

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
        for place, hold in enumerate(self._holds):
            assert hold.place == place, "a transfer stands elsewhere"
            assert 0 <= hold.posted <= hold.amount
            assert 0 < hold.transfer_id < self._next_transfer_id
            account_id = hold.balance.account_id
            assert self._balances[account_id] is hold.balance, "a transfer is from no account"
            held[account_id] = held.get(account_id, 0) + hold.amount - hold.posted
        assert len(self.open_holds()) == len(self._holds), "two transfers have one number"
        for account_id, balance in self._balances.items():
            assert balance.pending == held.get(account_id, 0), "pending transfers do not add up"
            assert abs(balance.posted) <= BALANCE_MAX_NANOS
            if account_id not in self._external:
                assert balance.pending <= balance.posted, "an account is overdrawn"
        assert self.imbalance() == 0, "money appeared or vanished"

    def check_kept(self, kept: Iterable[tuple[int, Hold]]) -> None:
        """Assert that these, with whose they are, are the pending transfers. O(pending)."""
        holds = self.open_holds()
        for account_id, hold in kept:
            assert holds.pop(hold.transfer_id, None) is hold, (
                "what is kept is closed, or kept twice"
            )
            assert hold.balance.account_id == account_id, "another account's money is held"
        assert not holds, "money is held for nothing"

    def state(self) -> tuple[object, ...]:
        """Canonical state: balances by account, columns of pending transfers by id."""
        held = sorted(self._holds, key=_number)
        return (
            self._next_transfer_id,
            sorted(self._external),
            sorted((i, b.posted, b.pending) for i, b in self._balances.items()),
            pack([hold.transfer_id for hold in held]),
            pack([hold.balance.account_id for hold in held]),
            pack([hold.amount for hold in held]),
            pack([hold.posted for hold in held]),
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
        self._holds = []
        at: i64 = 0
        while at < count:
            hold = Hold(int(ids[at]), self._balances[int(accounts[at])], int(amounts[at]), int(at))
            hold.posted = int(paid[at])
            self._holds.append(hold)
            at += 1


def _number(hold: Hold) -> int:
    return hold.transfer_id
