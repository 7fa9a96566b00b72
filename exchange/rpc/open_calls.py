"""Calls under way by whose they are: bounded for each account, ended when their key is revoked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from exchange.core.events import KeyRevoked
from exchange.engine import Group
from exchange.rpc.auth import Caller
from exchange.rpc.errors import busy

CALLS_PER_ACCOUNT_MAX: Final = 1_024
"""Calls and streams of one account at the same time; a quarter of what the server takes in all."""
_ENDS_CALLS: Final[frozenset[type]] = frozenset({KeyRevoked})


class Call:
    """One call under way."""

    __slots__ = ("revoked", "task")

    def __init__(self, task: asyncio.Task[object] | None) -> None:
        self.task = task
        self.revoked = False


class OpenCalls:
    """All calls under way. A reader of the event feed."""

    def __init__(self) -> None:
        self._of_account: Counter[int] = Counter()
        self._of_key: dict[bytes, set[Call]] = {}

    @contextlib.contextmanager
    def hold(self, caller: Caller, task: asyncio.Task[object] | None = None) -> Iterator[Call]:
        """Inside, a call of this caller's is under way.

        Args:
            caller: Whose.
            task: Where it is a stream, the task that serves it: if the key is revoked, `revoked` is
                set and the task is cancelled. Other calls are short and go on.

        Raises:
            RpcError: RESOURCE_EXHAUSTED (OVERLOADED): the account has its maximum.
        """
        account_id = caller.account_id
        if self._of_account[account_id] >= CALLS_PER_ACCOUNT_MAX:
            raise busy(f"the account has {CALLS_PER_ACCOUNT_MAX} calls and streams open")
        call = Call(task)
        self._of_account[account_id] += 1
        of_key = self._of_key.setdefault(caller.key_hash, set())
        of_key.add(call)
        try:
            yield call
        finally:
            self._of_account[account_id] -= 1
            if not self._of_account[account_id]:
                del self._of_account[account_id]
            of_key.discard(call)
            if not of_key and self._of_key.get(caller.key_hash) is of_key:
                del self._of_key[caller.key_hash]

    def on_group(self, group: Group) -> None:
        """Take in one durable group: what a revoked key has opened ends."""
        for _, _, event in group.events_of(_ENDS_CALLS):
            assert isinstance(event, KeyRevoked)
            for call in tuple(self._of_key.get(event.key_hash, ())):
                if call.task is not None:
                    call.revoked = True
                    call.task.cancel()
