"""Calls under way by whose they are: bounded for each account, ended when their key is revoked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Final, Self

from exchange.core.events import KeyRevoked
from exchange.engine import Group
from exchange.rpc.auth import Caller
from exchange.rpc.errors import busy

CALLS_PER_ACCOUNT_MAX: Final = 1_024
"""Calls and streams of one account at the same time; a quarter of what the server takes in all."""
WRITE_WITHIN_S: Final = 1.0
"""How long a stream whose key was revoked may still write a message that it has begun."""
_ENDS_CALLS: Final[frozenset[type]] = frozenset({KeyRevoked})


class Call:
    """One call under way, inside `with` or from `begin` to `end`.

    Attributes:
        task: The task that serves it, where it is a stream.
        revoked: Whether it ends because its key was revoked.
    """

    __slots__ = ("_all", "_caller", "_writing", "revoked", "task")

    def __init__(self, calls: OpenCalls, caller: Caller, task: asyncio.Task[object] | None) -> None:
        self._all = calls
        self._caller = caller
        self._writing = False
        self.task = task
        self.revoked = False

    def begin(self) -> None:
        """Count it.

        Raises:
            RpcError: RESOURCE_EXHAUSTED (OVERLOADED): the account has its maximum.
        """
        self._all.add(self, self._caller)

    def end(self) -> None:
        """It is over."""
        self._all.remove(self, self._caller)

    async def through(self, writing: Awaitable[None]) -> None:
        """Wait until a stream's message is written: gRPC takes no end of a call before that.

        Raises:
            asyncio.CancelledError: its key was revoked meanwhile, or earlier.
        """
        self._writing = True
        try:
            await writing
        finally:
            self._writing = False
        if self.revoked:
            raise asyncio.CancelledError

    def revoke(self) -> None:
        """Its key is no more: a stream ends, any other call is short and goes on."""
        if self.task is None:
            return
        self.revoked = True
        if self._writing:
            asyncio.get_running_loop().call_later(WRITE_WITHIN_S, self._give_up)
        else:
            self.task.cancel()

    def _give_up(self) -> None:
        if self._writing and self.task is not None:
            self.task.cancel()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class OpenCalls:
    """All calls under way. A reader of the event feed."""

    def __init__(self) -> None:
        self._of_account: Counter[int] = Counter()
        # Revoked in order of arrival: that of a set is memory's, another in each process.
        self._of_key: dict[bytes, dict[Call, None]] = {}

    def hold(self, caller: Caller, task: asyncio.Task[object] | None = None) -> Call:
        """A call of this caller's, which counts once it has begun.

        Args:
            caller: Whose.
            task: Where it is a stream, the task that serves it and is cancelled by `Call.revoke`.
        """
        return Call(self, caller, task)

    def add(self, call: Call, caller: Caller) -> None:
        """See `Call.begin`."""
        account_id = caller.account_id
        if self._of_account[account_id] >= CALLS_PER_ACCOUNT_MAX:
            raise busy(f"the account has {CALLS_PER_ACCOUNT_MAX} calls and streams open")
        self._of_account[account_id] += 1
        self._of_key.setdefault(caller.key_hash, {})[call] = None

    def remove(self, call: Call, caller: Caller) -> None:
        """See `Call.end`."""
        account_id = caller.account_id
        self._of_account[account_id] -= 1
        if not self._of_account[account_id]:
            del self._of_account[account_id]
        of_key = self._of_key[caller.key_hash]
        del of_key[call]
        if not of_key:
            del self._of_key[caller.key_hash]

    def on_group(self, group: Group) -> None:
        """Take in one durable group: what a revoked key has opened ends."""
        for _, event in group.events_of(_ENDS_CALLS):
            assert isinstance(event, KeyRevoked)
            for call in tuple(self._of_key.get(event.key_hash, ())):
                call.revoke()
