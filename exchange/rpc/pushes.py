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
    Refused,
)

_ANSWERED: Final[frozenset[type]] = frozenset(
    {PlaceOrder, PlaceConditionalOrder, PlaceMultiLegOrder, CancelOrder, ReplaceOrder}
)
"""Whose account hears of it in the command's answer."""
_TELLS_NOBODY: Final[frozenset[type]] = frozenset({OrderAccepted, Refused})
"""Events that concern no other account; most commands do nothing else."""
_Closed: Final = OrderClosed
_Filled: Final = OrderFilled
_Replaced: Final = OrderReplaced
_Triggered: Final = OrderTriggered
"""Compiled, a constant is at hand, where an imported name is looked up each time."""


class Push:
    """What another's command did to an account's orders.

    Attributes:
        account_id: Whose orders.
        sequence: The command's number in the journal.
        now_ns: Journal time, nanoseconds since the epoch.
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
        now_ns: The group's journal time, nanoseconds since the epoch.

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
            if len(told) != 1 or type(told[0]) not in _TELLS_NOBODY:
                self._hear(first_sequence + at, commands[at], told)

    def _hear(self, sequence: int, command: Command, told: list[AnyEvent]) -> None:
        # Time, the operator and mass cancels answer nobody with what happened to an order.
        asks: int = command.account_id if type(command) in _ANSWERED else 0  # type: ignore[union-attr]
        for event in told:
            kind = type(event)
            if type(event) is _Filled:  # a stop or an auction trades by another's command
                maker, taker = event.maker_account_id, event.taker_account_id
                if maker != asks:
                    self._add(maker, sequence, event)
                if taker != asks:
                    self._add(taker, sequence, event)
            elif kind is _Closed or kind is _Replaced or kind is _Triggered:
                owner: int = event.account_id  # type: ignore[union-attr]
                if owner != asks:
                    self._add(owner, sequence, event)

    def _add(self, account_id: int, sequence: int, event: AnyEvent) -> None:
        if account_id not in self._accounts:
            return
        push = self._last.get(account_id)
        if push is not None and push.sequence == sequence:
            push.events.append(event)
            return
        push = self._last[account_id] = Push(account_id, sequence, self._now_ns, event)
        self.found.append(push)
