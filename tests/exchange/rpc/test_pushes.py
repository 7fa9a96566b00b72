"""What is pushed to whom of what a group's commands did."""

from __future__ import annotations

from exchange.core.commands import Advance, CancelOrder, Command, MassCancel, PlaceOrder
from exchange.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrdersCancelled,
    OrderState,
    OrderTriggered,
    Posted,
    Refused,
    TimeAdvanced,
)
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.rpc.pushes import Push, Pushes
from tests.exchange.core.rows import rows_of

ALICE, BOB, CAROL = 1, 2, 3
NOW_NS = 77
ID = bytes(16)


def placed(account_id: int) -> PlaceOrder:
    return PlaceOrder(account_id, ID, 1, 1, 1, 1, 1, 100, 5, 0, 0)


def accepted(account_id: int) -> OrderAccepted:
    return OrderAccepted(9, account_id, ID, 1, 1, 100, 5)


def filled(maker: int, taker: int, trade_id: int = 1) -> OrderFilled:
    return OrderFilled(trade_id, 1, 100, 5, 8, maker, 0, 9, taker, 0, 1)


def closed(account_id: int) -> OrderClosed:
    return OrderClosed(8, account_id, 1, OrderState.CANCELED, Reason.CANCELLED_BY_OWNER, 5)


def pushes(*did: tuple[Command, list[AnyEvent]], to: tuple[int, ...] = (ALICE, BOB)) -> list[Push]:
    collected = Pushes(to, NOW_NS)
    commands = Recorded(b"".join([command.encode() for command, _ in did]))
    told = rows_of([events for _, events in did])
    collected.collect(10, commands.records, commands.begins, told)
    return collected.found


def told(found: list[Push]) -> list[tuple[int, int, list[AnyEvent]]]:
    assert all(push.now_ns == NOW_NS for push in found)
    return [(push.account_id, push.sequence, push.events) for push in found]


def test_who_asked_hears_it_in_the_answer_and_the_other_by_a_push() -> None:
    fill, money = filled(ALICE, BOB), Posted(4, ALICE, BOB, 1, 1)  # type: ignore[arg-type]
    assert told(
        pushes(
            (Advance(NOW_NS), [TimeAdvanced(NOW_NS)]),
            (placed(ALICE), [accepted(ALICE)]),
            (placed(BOB), [accepted(BOB), fill, money]),
            (CancelOrder(ALICE, 8, ID), [Refused(Reason.UNKNOWN_ORDER, ALICE)]),
            (CancelOrder(BOB, 8, ID), [closed(BOB)]),
        )
    ) == [(ALICE, 12, [fill])]


def test_what_one_command_did_to_an_account_is_one_push() -> None:
    fills = [filled(ALICE, BOB, number) for number in (1, 2)]
    own = closed(ALICE)
    assert told(
        pushes((placed(BOB), [accepted(BOB), *fills, own]), (placed(BOB), [accepted(BOB), own]))
    ) == [(ALICE, 10, [*fills, own]), (ALICE, 11, [own])]


def test_by_a_third_account_or_by_time_both_sides_hear_of_a_trade() -> None:
    fill, triggered = filled(ALICE, BOB), OrderTriggered(8, ALICE, 1, 100)
    replaced = OrderReplaced(8, BOB, 1, 100, 5, 5)
    for command in (Advance(NOW_NS), placed(CAROL)):
        assert told(pushes((command, [triggered, fill, replaced]))) == [
            (ALICE, 10, [triggered, fill]),
            (BOB, 10, [fill, replaced]),
        ]


def test_a_mass_cancel_answers_nobody_with_what_happened_to_an_order() -> None:
    command = MassCancel(ALICE, 0, 0)
    assert told(pushes((command, [OrdersCancelled(ALICE, Reason.NONE, 1), closed(ALICE)]))) == [
        (ALICE, 10, [closed(ALICE)])
    ]


def test_nothing_is_collected_for_who_does_not_listen() -> None:
    command = placed(CAROL)
    assert told(pushes((command, [filled(BOB, CAROL), closed(ALICE)]), to=(BOB,))) == [
        (BOB, 10, [filled(BOB, CAROL)])
    ]
    assert not pushes((command, [filled(BOB, CAROL)]), to=())
