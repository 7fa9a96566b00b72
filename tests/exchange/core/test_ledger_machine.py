"""The ledger as a Hypothesis state machine, with the plainest ledger there is beside it.

The model has no balances that are kept up to date: it has the list of all that ever moved and all
that is held, and adds them up each time it is asked.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from exchange.core.ledger import Hold, Ledger
from exchange.core.limits import BALANCE_MAX_NANOS
from exchange.core.reasons import Reason
from tests.exchange.core.sizes import MACHINE_EXAMPLES, MACHINE_STEPS

WORLD = 1
"""The account that deposits come from."""
ACCOUNTS = st.integers(2, 4)
AMOUNTS = st.one_of(
    st.integers(0, 100), st.sampled_from((10**9, BALANCE_MAX_NANOS, BALANCE_MAX_NANOS + 1, 2**63))
)


class PlainLedger:
    """Every movement and every hold, in lists."""

    def __init__(self) -> None:
        self.moves: list[tuple[int, int, int]] = []  # from, to, amount
        self.holds: dict[int, list[int]] = {}  # transfer -> account, amount, posted

    def balance(self, account_id: int) -> int:
        """All that came less all that went."""
        came = sum(amount for _, to, amount in self.moves if to == account_id)
        return came - sum(amount for source, _, amount in self.moves if source == account_id)

    def pending(self, account_id: int) -> int:
        """All that is held and not paid out."""
        held = [hold for hold in self.holds.values() if hold[0] == account_id]
        return sum(amount - posted for _, amount, posted in held)

    def available(self, account_id: int) -> int:
        """What may be spent."""
        return self.balance(account_id) - self.pending(account_id)


class LedgerMachine(RuleBasedStateMachine):
    """Deposits, transfers and two-phase transfers of a few accounts, at every size of amount."""

    transfers: Bundle[Hold] = Bundle("transfers")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.plain = PlainLedger()

    @initialize()
    def open_accounts(self) -> None:
        self.ledger.open_external(WORLD)
        for account_id in range(2, 5):
            self.ledger.open(account_id)

    @rule(account_id=ACCOUNTS, amount=AMOUNTS)
    def deposit(self, account_id: int, amount: int) -> None:
        reason = self.ledger.transfer(WORLD, account_id, amount)
        too_much = self.plain.balance(account_id) + amount > BALANCE_MAX_NANOS
        too_much |= self.plain.balance(WORLD) - amount < -BALANCE_MAX_NANOS
        assert reason == (Reason.BALANCE_TOO_LARGE if too_much else Reason.NONE)
        if not reason:
            self.plain.moves.append((WORLD, account_id, amount))

    @rule(source=ACCOUNTS, receiver=st.integers(1, 4), amount=AMOUNTS)
    def transfer(self, source: int, receiver: int, amount: int) -> None:
        reason = self.ledger.transfer(source, receiver, amount)
        if self.plain.available(source) < amount:
            assert reason == Reason.INSUFFICIENT_FUNDS
        elif self.plain.balance(receiver) + amount > BALANCE_MAX_NANOS:
            assert reason == Reason.BALANCE_TOO_LARGE
        else:
            assert reason == Reason.NONE
            self.plain.moves.append((source, receiver, amount))

    @rule(target=transfers, account_id=ACCOUNTS, amount=AMOUNTS)
    def hold(self, account_id: int, amount: int) -> MultipleResults[Hold] | Hold:
        covered = self.plain.available(account_id) >= amount
        hold = self.ledger.hold(account_id, amount)
        assert (hold is not None) == covered
        if hold is None:
            return multiple()
        assert hold.transfer_id not in self.plain.holds
        self.plain.holds[hold.transfer_id] = [account_id, amount, 0]
        return hold

    @rule(account_id=ACCOUNTS, amount=AMOUNTS)
    def hold_and_take_back(self, account_id: int, amount: int) -> None:
        before = self.ledger.state()
        hold = self.ledger.hold(account_id, amount)
        if hold is not None:
            self.ledger.take_back(hold)
        assert self.ledger.state() == before

    @rule(hold=transfers, amount=AMOUNTS)
    def resize(self, hold: Hold, amount: int) -> None:
        plain = self.plain.holds[hold.transfer_id]
        account_id, held, posted = plain
        possible = amount >= posted and self.plain.available(account_id) >= amount - held
        assert self.ledger.resize(hold, amount) == possible
        if possible:
            plain[1] = amount

    @rule(hold=transfers, share=st.integers(0, 4), receiver=ACCOUNTS)
    def post(self, hold: Hold, share: int, receiver: int) -> None:
        """Pay a quarter of what is left, or two, or all of it."""
        plain = self.plain.holds[hold.transfer_id]
        amount = (plain[1] - plain[2]) * share // 4
        self.ledger.post(hold, receiver, amount)
        plain[2] += amount
        self.plain.moves.append((plain[0], receiver, amount))

    @rule(hold=transfers, more=st.sampled_from((1, 10**18)))
    def post_too_much(self, hold: Hold, more: int) -> None:
        """The guard that no command may ever reach."""
        _, held, posted = self.plain.holds[hold.transfer_id]
        before = self.ledger.state()
        try:
            self.ledger.post(hold, WORLD, held - posted + more)
        except AssertionError as error:
            assert "exceeds its escrow" in str(error)  # noqa: PT017 - a rule is no test
        else:
            raise AssertionError("a post paid more than it held")
        assert self.ledger.state() == before

    @rule(hold=consumes(transfers))
    def void(self, hold: Hold) -> None:
        _, held, posted = self.plain.holds.pop(hold.transfer_id)
        assert hold.amount == held
        assert self.ledger.void(hold) == held - posted

    @rule()
    def restore(self) -> None:
        """What a state holds is held again; which holds these are, their numbers say."""
        again = Ledger()
        again.restore(self.ledger.state())
        again.check()
        assert again.state() == self.ledger.state()
        assert again.open_holds().keys() == self.plain.holds.keys()

    @invariant()
    def money_is_conserved(self) -> None:
        self.ledger.check()
        assert self.ledger.imbalance() == 0
        assert sum(self.plain.balance(account_id) for account_id in range(1, 5)) == 0

    @invariant()
    def nobody_overspends(self) -> None:
        assert self.ledger.overdrawn() == 0
        for account_id in range(2, 5):
            assert self.plain.available(account_id) >= 0

    @invariant()
    def both_say_the_same(self) -> None:
        for account_id in range(1, 5):
            assert self.ledger.balance(account_id) == self.plain.balance(account_id)
            assert self.ledger.pending(account_id) == self.plain.pending(account_id)
            assert self.ledger.available(account_id) == self.plain.available(account_id)


LedgerMachine.TestCase.settings = settings(
    max_examples=2 * MACHINE_EXAMPLES, stateful_step_count=MACHINE_STEPS, deadline=None
)
TestLedger = LedgerMachine.TestCase


def test_money_is_held_for_something() -> None:
    """A hold that nothing keeps, one that is closed or kept twice, another account's: all found."""
    ledger = Ledger()
    for account_id in (1, 2):
        ledger.open(account_id)
    ledger.open_external(3)
    assert ledger.transfer(3, 1, 100) == Reason.NONE
    first, second = ledger.hold(1, 10), ledger.hold(1, 20)
    assert first is not None
    assert second is not None
    ledger.check_kept([(1, second), (1, first)])
    before = ledger.state()
    with pytest.raises(AssertionError, match="opened since"):
        ledger.take_back(first)
    assert ledger.state() == before
    with pytest.raises(AssertionError, match="for nothing"):
        ledger.check_kept([(1, first)])
    with pytest.raises(AssertionError, match="twice"):
        ledger.check_kept([(1, first), (1, second), (1, first)])
    with pytest.raises(AssertionError, match="another account"):
        ledger.check_kept([(1, first), (2, second)])
    ledger.void(first)
    with pytest.raises(AssertionError, match="closed"):
        ledger.check_kept([(1, first), (1, second)])
    ledger.check_kept([(1, second)])
