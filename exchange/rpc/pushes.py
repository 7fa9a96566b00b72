"""What a group's commands did to the orders of others: compiled with the core.

Most of what a busy exchange does concerns the account that asked for it, so nearly all of a group
is looked at here and left out.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from exchange.core.commands import (
    CancelOrder,
    Command,
    PlaceConditionalOrder,
    PlaceMultiLegOrder,
    PlaceOrder,
    ReplaceOrder,
)
from exchange.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrderTriggered,
)

_ANSWERED: Final[frozenset[type]] = frozenset(
    {PlaceOrder, PlaceConditionalOrder, PlaceMultiLegOrder, CancelOrder, ReplaceOrder}
)
"""Whose account hears of it in the command's answer."""


class Push:
    """What another's command did to an account's orders.

    Attributes:
        account_id: Whose orders.
        sequence: The command's number in the journal.
        now_ns: Journal time.
        events: What happened to them, in order.
    """

    __slots__ = ("account_id", "events", "now_ns", "sequence")

    def __init__(self, account_id: int, sequence: int, now_ns: int, first: AnyEvent) -> None:
        self.account_id = account_id
        self.sequence = sequence
        self.now_ns = now_ns
        self.events: list[AnyEvent] = [first]


class Pushes:
    """Collects the pushes of one group.

    Args:
        accounts: Those who listen.
        now_ns: The group's journal time.

    Attributes:
        found: The pushes in the journal's order.
    """

    __slots__ = ("_accounts", "_last", "_now_ns", "found")

    def __init__(self, accounts: Container[int], now_ns: int) -> None:
        self.found: list[Push] = []
        self._accounts = accounts
        self._now_ns = now_ns
        self._last: dict[int, Push] = {}

    def collect(
        self, first_sequence: int, commands: list[Command], events: list[list[AnyEvent]]
    ) -> None:
        """Find what concerns an account that listens, and was not done by itself.

        Args:
            first_sequence: Of the first command.
            commands: The group's.
            events: Each one's events.
        """
        for at, told in enumerate(events):
            if len(told) == 1 and type(told[0]) is OrderAccepted:
                continue
            for event in told:
                kind = type(event)
                # A stop or an auction trades by another's command: both sides may hear of it.
                if type(event) is OrderFilled:
                    self._add(event.maker_account_id, first_sequence + at, commands[at], event)
                    self._add(event.taker_account_id, first_sequence + at, commands[at], event)
                elif kind is OrderClosed or kind is OrderReplaced or kind is OrderTriggered:
                    owner: int = event.account_id  # type: ignore[union-attr]
                    self._add(owner, first_sequence + at, commands[at], event)

    def _add(self, account_id: int, sequence: int, command: Command, event: AnyEvent) -> None:
        # Time, the operator and mass cancels answer nobody with what happened to an order.
        if type(command) in _ANSWERED and account_id == command.account_id:  # type: ignore[union-attr]
            return
        if account_id not in self._accounts:
            return
        push = self._last.get(account_id)
        if push is not None and push.sequence == sequence:
            push.events.append(event)
            return
        push = self._last[account_id] = Push(account_id, sequence, self._now_ns, event)
        self.found.append(push)
