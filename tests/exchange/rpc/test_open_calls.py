from __future__ import annotations

import asyncio

import pytest

from exchange.core.commands import Advance, Role
from exchange.core.events import KeyRevoked
from exchange.core.recorded import Recorded
from exchange.engine import Group, Outcomes
from exchange.rpc import open_calls
from exchange.rpc.auth import Caller
from exchange.rpc.open_calls import OpenCalls
from tests.exchange.core.rows import rows_of

KEY_HASH = bytes(32)


class Stream:
    """A stream that writes one message, for as long as that takes, and then has nothing to say."""

    def __init__(self, calls: OpenCalls) -> None:
        self.may_write = asyncio.Event()
        self.wrote = False
        self.task = asyncio.create_task(self._serve(calls))

    async def _serve(self, calls: OpenCalls) -> None:
        with calls.hold(Caller(1, Role.TRADER, KEY_HASH), asyncio.current_task()) as call:
            await call.through(self._write())
            await asyncio.Event().wait()

    async def _write(self) -> None:
        await self.may_write.wait()
        self.wrote = True


def revoke(calls: OpenCalls) -> None:
    revoked = Outcomes(1, 0, rows_of([[KeyRevoked(1, KEY_HASH)]]))
    calls.on_group(Group(Recorded(Advance(0).encode()), revoked))


async def test_a_stream_of_a_revoked_key_ends_once_its_message_is_written() -> None:
    calls = OpenCalls()
    stream = Stream(calls)
    await asyncio.sleep(0)
    revoke(calls)
    await asyncio.sleep(0.01)
    assert not stream.task.done(), "gRPC could not be told of the end yet"
    stream.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await stream.task
    assert stream.wrote


async def test_one_that_has_nothing_to_say_ends_at_once() -> None:
    calls = OpenCalls()
    stream = Stream(calls)
    stream.may_write.set()
    await asyncio.sleep(0.01)
    revoke(calls)
    with pytest.raises(asyncio.CancelledError):
        await stream.task


async def test_who_does_not_read_is_not_waited_for_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """WRITE_WITHIN_S."""
    monkeypatch.setattr(open_calls, "WRITE_WITHIN_S", 0.01)
    calls = OpenCalls()
    stream = Stream(calls)
    await asyncio.sleep(0)
    revoke(calls)
    with pytest.raises(asyncio.CancelledError):
        await stream.task
    assert not stream.wrote
