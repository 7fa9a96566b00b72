"""The rules of multi-leg bids, each on two ladders, on the real desk and on its twin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from matching import (
    LEGS_MAX,
    QUANTITY_MAX,
    ClearingGroup,
    LegDesk,
    MultiLegBid,
    NoTradeReason,
    WhyNot,
)
from matching.reference import NaiveClearingGroup, NaiveLegDesk
from tests.matching.floor import S
from tests.matching.hall import Hall

SMALL, LARGE = 1, 2
"""Two groups: a small model, and a large one that needs more compute for the same answer."""


@pytest.fixture(params=[True, False], ids=["real", "naive"])
def hall(request: pytest.FixtureRequest) -> Iterator[Hall]:
    """Two groups of two classes (11, 12 and 21, 22), emptied at the end."""
    if request.param:
        groups = {i: ClearingGroup(i, S) for i in (SMALL, LARGE)}
        hall = Hall(groups, LegDesk(groups))
    else:
        naive = {i: NaiveClearingGroup(i, S) for i in (SMALL, LARGE)}
        hall = Hall(naive, NaiveLegDesk(naive))
    yield hall
    hall.empty()


def test_the_first_leg_to_fill_cancels_the_others(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=500)
    hall.order(1, (11, 40, 100), (21, 90, 300))
    assert hall.ladder(11) == "| 30 | 1\n1 | 40 |"
    assert hall.ladder(21) == "| 500 | 1\n1 | 90 |"
    small, large = hall.uncross()
    assert small.filled == {1: 0}
    assert hall.fills(small) == [(11, 30)]
    assert large.uncross.fills == []
    assert hall.ladder(21) == "| 500 | 1"
    assert hall.desk.order(1) is None


def test_the_leg_with_the_largest_gain_goes_first(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=50)
    # (40 - 30) x 100 is less than (60 - 50) x 300.
    hall.order(1, (11, 40, 100), (21, 60, 300))
    small, large = hall.uncross()
    assert small.uncross.fills == []
    assert large.filled == {1: 1}
    assert hall.fills(large) == [(21, 50)]


def test_of_equal_gains_the_group_with_the_lower_id_goes_first(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=50)
    hall.order(1, (21, 60, 300), (11, 60, 100))
    assert [done.filled for done in hall.uncross()] == [{1: 1}, {}]


def test_a_group_that_is_not_due_is_not_waited_for(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=50)
    hall.order(1, (11, 40, 100), (21, 60, 300))
    assert [done.filled for done in hall.uncross(SMALL)] == [{1: 0}]


def test_legs_in_one_group_have_turns_of_their_own(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(12, ask=20)
    # The leg at 60 has its turn first, and passes: 60 - 30 is less than 55 - 20.
    hall.order(1, (11, 60, 100), (12, 55, 100))
    hall.limit(2, 11, 50)
    (small,) = hall.uncross(SMALL)
    assert small.filled == {1: 1}
    assert hall.fills(small) == [(12, 20), (11, 30)]


def test_a_leg_that_passed_and_then_loses_rests_until_the_next_step(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=50)
    hall.order(1, (11, 40, 100), (21, 60, 300))
    hall.limit(2, 21, 70)
    small, large = hall.uncross()
    assert small.uncross.fills == []
    assert hall.fills(large) == [(21, 60)]
    assert hall.desk.why_not(1, 0) == (None, WhyNot(NoTradeReason.NO_FREE_SLOT, 60, None))
    assert hall.groups[SMALL].next_trade_ns(0) == 0
    assert [done.filled for done in hall.uncross()] == [{1: 0}, {}]


def test_a_leg_that_passes_sets_no_price(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=50)
    hall.order(1, (11, 45, 100), (21, 90, 300))
    hall.limit(2, 11, 40)
    small, large = hall.uncross()
    # 45 would have taken the slot that 40 takes, and be the price if it had been refused.
    assert hall.fills(small) == [(11, 30)]
    assert hall.fills(large) == [(21, 50)]


def test_a_leg_that_meets_its_own_ask_cancels_the_order(hall: Hall) -> None:
    hall.slot(11, ask=30, account=77)
    hall.slot(21, ask=50)
    hall.order(1, (11, 40, 100), (21, 60, 1), account=77)
    small, large = hall.uncross()
    assert small.self_traded == [1]
    assert large.uncross.fills == []
    assert hall.ladder(21) == "| 50 | 1"


def test_an_own_ask_is_no_reason_to_pass(hall: Hall) -> None:
    hall.slot(11, ask=30)
    hall.slot(21, ask=50, account=77)
    hall.order(1, (11, 40, 100), (21, 90, 300), account=77)
    assert [done.filled for done in hall.uncross()] == [{1: 0}, {}]


def test_managed_legs_ramp_each_to_its_own_latest_start(hall: Hall) -> None:
    hall.slot(11, ask=50)
    hall.slot(21, ask=50)
    hall.managed_order(1, (11, 100, 9, 100), (21, 100, 5, 300))
    assert hall.next_trade_s() == {SMALL: 8, LARGE: 4}
    assert [done.filled for done in hall.uncross(second=4)] == [{}, {1: 1}]
    assert hall.next_trade_s(4) == {SMALL: None, LARGE: None}


def test_removing_an_order_removes_every_leg(hall: Hall) -> None:
    hall.order(1, (11, 40, 100), (12, 30, 100), (21, 60, 300))
    order = hall.desk.remove(1)
    assert order is not None
    assert [leg.quantity for leg in order.legs] == [100, 100, 300]
    assert hall.ladder(11) == hall.ladder(12) == hall.ladder(21) == ""
    assert hall.desk.remove(1) is None


def test_an_order_may_have_as_many_legs_as_the_limit_says(hall: Hall) -> None:
    rows = [(10 + i, 40, 100) for i in range(LEGS_MAX)]
    order = hall.make(1, rows, second_group_from=18)
    hall.desk.add(order)
    assert len(hall.groups[SMALL].bids()) + len(hall.groups[LARGE].bids()) == LEGS_MAX
    one_more = hall.make(2, [*rows, (99, 40, 100)], second_group_from=18)
    with pytest.raises(ValueError, match="2"):
        hall.desk.add(one_more)


def refused_orders(hall: Hall) -> list[MultiLegBid]:
    plain = hall.make(5, [(11, 40, 100), (21, 60, 300)])
    first, second = plain.legs
    return [
        plain._replace(legs=()),
        plain._replace(legs=(first, second._replace(quantity=0))),
        plain._replace(legs=(first, second._replace(quantity=QUANTITY_MAX + 1))),
        plain._replace(legs=(first, second._replace(group_id=9))),
        plain._replace(legs=(first, second._replace(bid=second.bid._replace(account_id=6)))),
        plain._replace(legs=(first, second._replace(bid=first.bid))),
        plain._replace(legs=(first, second._replace(bid=second.bid._replace(density=0)))),
        plain._replace(
            legs=(first, second._replace(bid=second.bid._replace(classes=first.bid.classes)))
        ),
        plain._replace(legs=(first, second._replace(bid=second.bid._replace(bid_id=7)))),
        plain._replace(legs=(first, second._replace(bid=second.bid._replace(bid_id=100)))),
    ]


@pytest.mark.parametrize("number", range(10))
def test_what_is_no_order_is_refused_and_changes_nothing(hall: Hall, number: int) -> None:
    hall.limit(7, 21, 10)
    hall.order(1, (11, 5, 100), (21, 5, 300))
    before = hall.state()
    with pytest.raises(ValueError, match=r"\d"):
        hall.desk.add(refused_orders(hall)[number])
    assert hall.state() == before


def test_an_order_id_is_used_once(hall: Hall) -> None:
    hall.order(1, (11, 40, 100))
    with pytest.raises(ValueError, match="1"):
        hall.desk.add(hall.make(1, [(12, 40, 100)], first_bid_id=900))


def test_plain_bids_have_no_order(hall: Hall) -> None:
    hall.limit(7, 11, 10)
    hall.order(1, (11, 40, 100))
    assert hall.desk.order_of(7) is None
    assert hall.desk.order_of(100) == 1


def test_a_step_back_in_time_changes_nothing() -> None:
    groups = {i: ClearingGroup(i, S) for i in (SMALL, LARGE)}
    hall = Hall(groups, LegDesk(groups))
    hall.slot(11, ask=30)
    hall.order(1, (11, 40, 100))
    groups[LARGE].uncross(5 * S)
    before = hall.state()
    with pytest.raises(ValueError, match="back"):
        hall.uncross(second=4)
    assert hall.state() == before
    with pytest.raises(KeyError):
        hall.uncross(SMALL, 9, second=5)
    assert hall.state() == before
