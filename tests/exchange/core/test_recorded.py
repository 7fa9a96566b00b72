"""Commands that are made of their records when asked for are those that were recorded."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.placements import asker, cancel_in
from exchange.core.recorded import Recorded
from tests.exchange.core.chaos import Chaos
from tests.exchange.core.scenario import Market

MOST = 2**32 - 1
NAME = bytes(range(16))


def recorded(*commands: c.Command) -> Recorded:
    return Recorded(b"".join([command.encode() for command in commands]))


def test_a_sequence_of_commands_as_any() -> None:
    chaos = Chaos(Market(), 3)
    commands = []
    for _ in range(100):
        commands.append(chaos.command())
        (events,) = list(chaos.market.exchange.apply(commands[-1:]))
        chaos.saw(events)
    made = recorded(*commands)
    assert len(made) == len(commands)
    assert list(made) == c.decode(made.records)
    assert [made[at] for at in range(len(made))] == list(made)
    assert (made[-1], made[10:20]) == (list(made)[-1], list(made)[10:20])
    with pytest.raises(IndexError):
        made[len(made)]
    assert not recorded()


def test_who_is_answered_with_what_became_of_an_order() -> None:
    """Each command about one order, and no other."""
    terms = (1, 1, 1, 1, 1, 100, 5, 0, 0)
    told = recorded(
        c.PlaceOrder(1, NAME, *terms),
        c.CancelOrder(MOST, 1, bytes(16)),
        c.ReplaceOrder(3, 1, 100, 5, 0),
    )
    assert [asker(told.records, told.begins, at) for at in range(3)] == [1, MOST, 3]
    for kind in (c.PlaceConditionalOrder, c.PlaceMultiLegOrder):
        assert kind.__struct_fields__[0] == "account_id"
        assert c.PlaceOrder.KIND < kind.KIND <= c.PlaceMultiLegOrder.KIND
    silent = recorded(
        c.Advance(7), c.MassCancel(5, 0, 0), c.EndOrderStream(5, 1), c.SetAccountHalted(5, 1)
    )
    assert [asker(silent.records, silent.begins, at) for at in range(4)] == [0] * 4


def test_what_a_cancel_names() -> None:
    told = recorded(c.CancelOrder(1, 2**64 - 1, bytes(16)), c.Advance(7), c.CancelOrder(1, 0, NAME))
    named = [cancel_in(told.records, told.begins, at) for at in range(3)]
    assert named == [(2**64 - 1, bytes(16)), None, (0, NAME)]
