"""How many calls are let in, and what those hear that are not."""

from __future__ import annotations

import contextlib
import random

import pytest

from exchange.gateway import admission
from exchange.gateway.admission import Admission
from exchange.rpc.errors import RETRY_AFTER_NS, Code, RpcError


def test_one_call_too_many_is_refused_at_once_and_told_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "CALLS_MAX", 2)
    door = Admission()
    with door.admit(), door.admit():
        with pytest.raises(RpcError) as caught, door.admit():
            pass
        door.check()
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert caught.value.retry_after_ns == RETRY_AFTER_NS
    assert door.refused == {"CALLS_MAX": 1}
    with door.admit():
        door.check()


def test_calls_without_a_key_leave_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "OPEN_CALLS_MAX", 1)
    door = Admission()
    with door.admit_without_key():
        with pytest.raises(RpcError, match="OVERLOADED"), door.admit_without_key():
            pass
        with door.admit():
            door.check()
    assert door.refused == {"OPEN_CALLS_MAX": 1}


def test_counts_are_right_after_any_order_of_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "CALLS_MAX", 5)
    monkeypatch.setattr(admission, "OPEN_CALLS_MAX", 3)
    chance, door = random.Random(1), Admission()
    under_way: list[contextlib.ExitStack] = []
    for _ in range(2_000):
        if under_way and chance.random() < 0.5:
            under_way.pop(chance.randrange(len(under_way))).close()
        else:
            stack = contextlib.ExitStack()
            enter = chance.choice((door.admit, door.admit_without_key))
            with contextlib.suppress(RpcError):
                stack.enter_context(enter())
                under_way.append(stack)
        door.check()
        assert door.calls == len(under_way)
    for stack in under_way:
        stack.close()
    assert (door.calls, door.open_calls) == (0, 0)
    assert set(door.refused) == {"CALLS_MAX", "OPEN_CALLS_MAX"}
