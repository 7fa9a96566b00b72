"""The rules of batch clearing, each on a ladder, on the real group and on its twin."""

from __future__ import annotations

import pytest

from matching import (
    CLASSES_MAX,
    PRICE_MAX,
    Bid,
    ClassBid,
    ClearingGroup,
    NoTradeReason,
    SlotPool,
    StandingQuote,
    WhyNot,
)
from tests.matching.floor import Floor, S
from tests.matching.market import table

CPU, L4, H100 = 1, 2, 3
"""Three classes of one group, slowest first."""


def test_bids_from_the_highest_take_the_cheapest_slots(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 2)
    floor.quote(1, 1, 40)
    floor.quote(1, 2, 30, 50)
    for bid_id, price in ((1, 35), (2, 80), (3, 60)):
        floor.limit(bid_id, price)
    assert floor.ladder() == table(
        """
          | 50 | 1
          | 40 | 1
          | 30 | 1
        1 | 80 |
        1 | 60 |
        1 | 35 |
        """
    )
    # 80 takes 30 and 60 takes 40; 50 is too dear for 35, which so sets no price.
    assert floor.fills() == [(2, 2, 40), (3, 1, 40)]
    assert floor.ladder() == "| 50 | 1\n1 | 35 |"


def test_the_best_bid_refused_for_want_of_a_slot_sets_the_price(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.quote(1, 1, 30)
    for bid_id, price in ((1, 35), (2, 80), (3, 60)):
        floor.limit(bid_id, price)
    done = floor.uncross()
    assert [(f.bid_id, f.ask_price, f.price, f.bid_price) for f in done.fills] == [(2, 30, 60, 80)]
    assert done.prices == {1: 60}


def test_a_refused_bid_below_the_ask_changes_nothing(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.quote(1, 1, 30)
    floor.limit(1, 80)
    floor.limit(2, 20)
    assert floor.fills() == [(1, 1, 30)]


def test_equal_prices_trade_by_latest_start_then_sequence(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.quote(1, 1, 30)
    floor.managed(1, 101, (1, 5))
    floor.managed(2, 101, (1, 4))
    floor.managed(3, 102, (1, 4))
    # At 4 s the last two are at full density, which is one and the same tick.
    floor.pools[1].take()
    assert floor.ladder(second=4) == "2 | 101 |\n1 | 50 |"
    floor.pools[1].give()
    assert floor.fills(4) == [(2, 1, 101)]


def test_an_ask_for_equal_money_is_taken_from_the_slowest_class(floor: Floor) -> None:
    for pool_id, instrument_id in ((1, H100), (2, CPU), (3, L4)):
        floor.pool(pool_id, 1)
        floor.quote(instrument_id, pool_id, 30)
    floor.limit(1, 90, CPU, L4, H100)
    floor.limit(2, 80, L4, H100)
    floor.limit(3, 70, CPU, H100)
    assert floor.fills() == [(1, 2, 30), (2, 3, 30), (3, 1, 30)]


def test_the_cheapest_class_wins_over_the_slowest(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(CPU, 1, 31)
    floor.quote(H100, 2, 30)
    floor.limit(1, 90, CPU, H100)
    assert floor.fills() == [(1, 2, 30)]


def test_equal_asks_of_a_class_trade_by_age(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(1, 2, 30)
    floor.quote(1, 1, 30)
    floor.limit(1, 90)
    assert floor.fills() == [(1, 2, 30)]


@pytest.mark.parametrize(("prices", "first"), [((30,), 2), ((30, 31), 1)])
def test_a_requote_keeps_its_age_only_at_the_same_prices(
    floor: Floor, prices: tuple[int, ...], first: int
) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(1, 2, 30)
    floor.quote(1, 1, 30)
    floor.quote(1, 2, *prices)
    floor.limit(1, 90)
    assert floor.fills() == [(1, first, 30)]


def test_a_class_that_is_too_slow_by_now_is_left_out(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(CPU, 1, 30)
    floor.quote(H100, 2, 50)
    floor.managed(1, 1_000, (CPU, 3), (H100, 9))
    floor.managed(2, 1_000, (CPU, 4), (H100, 9))
    assert floor.fills(4) == [(1, 2, 50), (2, 1, 30)]


def test_each_class_has_its_own_price(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(CPU, 1, 30)
    floor.quote(H100, 2, 50)
    floor.limit(1, 90, CPU)
    floor.limit(2, 80, CPU)
    floor.limit(3, 70, CPU, H100)
    floor.limit(4, 45, H100)
    # 80 is refused for want of a CPU slot; 70 goes to the H100; 45 could not have paid 50.
    done = floor.uncross()
    assert [(f.bid_id, f.price) for f in done.fills] == [(1, 80), (3, 50)]
    assert done.prices == {CPU: 80, H100: 50}


def test_a_fill_takes_the_slot_from_every_quote_on_the_pool(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.quote(CPU, 1, 30)
    floor.quote(L4, 1, 20)
    floor.limit(1, 90, CPU)
    floor.limit(2, 80, L4)
    assert floor.fills() == [(1, 1, 30)]
    assert floor.ladder(L4) == "1 | 80 |"
    floor.pools[1].give()
    assert floor.fills() == [(2, 1, 20)]


def test_after_a_bid_was_refused_for_price_a_lost_slot_sets_no_price(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(CPU, 1, 30)
    floor.quote(CPU, 2, 60)
    floor.quote(L4, 2, 10)
    floor.limit(1, 90, CPU)
    floor.limit(2, 50, CPU)
    floor.limit(3, 40, L4)
    floor.limit(4, 35, CPU)
    # 50 met 60 and was refused for its price. That 40 then took the slot behind it is no matter.
    assert floor.fills() == [(1, 1, 30), (3, 2, 10)]


def test_a_slot_lost_to_another_class_before_a_bids_turn_sets_the_price(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(CPU, 1, 30)
    floor.quote(CPU, 2, 60)
    floor.quote(L4, 2, 10)
    floor.limit(1, 90, CPU)
    floor.limit(2, 80, L4)
    floor.limit(3, 50, CPU)
    assert floor.fills() == [(1, 1, 50), (2, 2, 10)]


def test_a_bid_whose_cheapest_ask_is_its_own_is_cancelled(floor: Floor) -> None:
    floor.pool(1, 1, account=77)
    floor.pool(2, 1)
    floor.quote(1, 1, 30)
    floor.quote(1, 2, 40)
    floor.limit(1, 90, account=77)
    floor.limit(2, 80)
    done = floor.uncross()
    assert done.self_trades == [1]
    assert [(f.bid_id, f.pool_id, f.price) for f in done.fills] == [(2, 1, 30)]


def test_an_own_ask_that_is_too_dear_is_no_self_trade(floor: Floor) -> None:
    floor.pool(1, 1, account=77)
    floor.quote(1, 1, 30)
    floor.limit(1, 29, account=77)
    assert floor.uncross().self_trades == []
    assert floor.ladder() == "| 30 | 1\n1 | 29 |"


def test_a_halted_class_takes_no_part(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.pool(2, 1)
    floor.quote(CPU, 1, 30)
    floor.quote(H100, 2, 50)
    floor.group.set_open(CPU, False)
    floor.limit(1, 90, CPU, H100)
    floor.limit(2, 80, CPU)
    assert floor.fills() == [(1, 2, 50)]
    assert floor.next_trade_s() is None
    floor.group.set_open(CPU, True)
    assert floor.next_trade_s() == 0
    assert floor.fills() == [(2, 1, 30)]


class TestNextTrade:
    def test_none_without_bids_or_without_asks(self, floor: Floor) -> None:
        floor.pool(1, 1)
        assert floor.next_trade_s() is None
        floor.quote(1, 1, 30)
        assert floor.next_trade_s() is None
        floor.limit(1, 29)
        assert floor.next_trade_s() is None
        floor.limit(2, 30)
        assert floor.next_trade_s(3) == 3

    def test_a_ramp_reaches_the_ask(self, floor: Floor) -> None:
        floor.pool(1, 1)
        floor.quote(1, 1, 25)
        floor.managed(1, 100, (1, 60))
        # 100 / (1 + slack) is 25 with 3 s to go.
        assert floor.next_trade_s() == 57
        assert floor.uncross(56).fills == []
        assert floor.fills(57) == [(1, 1, 25)]

    def test_it_follows_bids_quotes_and_slots(self, floor: Floor) -> None:
        floor.pool(1, 2)
        floor.quote(1, 1, 25, 50)
        floor.managed(1, 100, (1, 60))
        floor.managed(2, 100, (1, 50))
        assert floor.next_trade_s() == 47
        floor.group.remove_bid(2)
        assert floor.next_trade_s() == 57
        floor.pools[1].take()
        assert floor.next_trade_s() == 59
        floor.pools[1].take()
        assert floor.next_trade_s() is None
        floor.pools[1].give()
        floor.quote(1, 1, 10, 20)
        assert floor.next_trade_s() == 56
        floor.group.remove_quote(1, 1)
        assert floor.next_trade_s() is None

    def test_a_bid_that_gets_there_too_late_does_not_count(self, floor: Floor) -> None:
        floor.pool(1, 1)
        floor.quote(CPU, 1, 25)
        floor.managed(1, 100, (CPU, 50), (H100, 60))
        # It would pay 25 from 57 s on, when the CPU could no longer finish it.
        assert floor.next_trade_s() is None
        floor.managed(2, 100, (CPU, 59), (H100, 61))
        assert floor.next_trade_s() == 58
        assert floor.next_trade_s(59) == 59
        assert floor.next_trade_s(60) is None

    def test_a_density_below_the_ask_never_trades(self, floor: Floor) -> None:
        floor.pool(1, 1)
        floor.quote(1, 1, 25)
        floor.managed(1, 24, (1, 60))
        floor.managed(2, 100, (1, 60), cap=24)
        assert floor.next_trade_s() is None


class TestWhyNot:
    def why(self, floor: Floor, bid_id: int, second: int = 0) -> WhyNot | None:
        return floor.group.why_not(bid_id, second * S)

    def test_reasons_in_turn(self, floor: Floor) -> None:
        floor.managed(1, 100, (CPU, 50), (H100, 60))
        assert self.why(floor, 1) == WhyNot(NoTradeReason.NO_ASKS, 1, None)
        floor.pool(1, 1)
        floor.quote(CPU, 1, 30)
        floor.pool(2, 1)
        floor.quote(H100, 2, 20)
        assert self.why(floor, 1) == WhyNot(NoTradeReason.PRICE_BELOW_ASK, 1, 20)
        floor.pools[2].take()
        assert self.why(floor, 1) == WhyNot(NoTradeReason.PRICE_BELOW_ASK, 1, 30)
        floor.pools[1].take()
        assert self.why(floor, 1) == WhyNot(NoTradeReason.NO_FREE_SLOT, 1, None)
        floor.pools[2].give()
        assert self.why(floor, 1, 60) is None
        floor.group.set_open(H100, False)
        assert self.why(floor, 1, 60) == WhyNot(NoTradeReason.HALTED, 99, None)
        assert self.why(floor, 1, 61) == WhyNot(NoTradeReason.TOO_LATE, 99, None)

    def test_a_bid_that_lost_for_want_of_a_slot(self, floor: Floor) -> None:
        floor.pool(1, 1)
        floor.quote(1, 1, 30)
        floor.limit(1, 90)
        floor.limit(2, 80)
        assert self.why(floor, 2) is None
        floor.uncross()
        assert self.why(floor, 2) == WhyNot(NoTradeReason.NO_FREE_SLOT, 80, None)


def test_depth_shows_what_can_still_start_at_todays_prices(floor: Floor) -> None:
    floor.pool(1, 3)
    floor.pool(2, 2)
    floor.quote(CPU, 1, 200, 200, 300)
    floor.quote(CPU, 2, 200, 300)
    floor.limit(1, 5, CPU)
    floor.managed(2, 100, (CPU, 5), (H100, 9))
    floor.managed(3, 100, (CPU, 8))
    floor.managed(4, 100, (CPU, 8))
    floor.managed(5, 100, (H100, 8))
    bids, asks = floor.group.depth(CPU, 5 * S, 2)
    assert bids == [(25, 2, 2), (20, 1, 1)]
    assert asks == [(200, 3, 2), (300, 2, 2)]
    assert floor.group.depth(CPU, 6 * S, 9)[0] == [(33, 2, 2), (5, 1, 1)]
    assert floor.group.depth(99, 6 * S, 9) == ([], [])


def test_unknown_ids_are_answered_with_none(floor: Floor) -> None:
    assert floor.group.remove_bid(1) is None
    assert floor.group.remove_quote(1, 1) is None
    assert floor.group.bid(1) is None


def bid(**changes: object) -> Bid:
    plain = Bid(1, 1, 100, 100, 60 * S, 1, (ClassBid(1, 50 * S), ClassBid(2, 60 * S)), False)
    return plain._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        bid(density=0),
        bid(cap=0),
        bid(flat=True, density=PRICE_MAX + 1, cap=PRICE_MAX + 1),
        bid(classes=()),
        bid(classes=tuple(ClassBid(i, 50 * S) for i in range(CLASSES_MAX + 1))),
        bid(classes=(ClassBid(1, 50 * S), ClassBid(1, 60 * S))),
        bid(classes=(ClassBid(2, 60 * S), ClassBid(1, 50 * S))),
        bid(classes=(ClassBid(1, 61 * S),)),
    ],
)
def test_what_is_no_bid_is_refused(floor: Floor, wrong: Bid) -> None:
    with pytest.raises(ValueError, match="bid 1"):
        floor.group.add_bid(wrong)
    assert floor.group.bids() == []


def test_a_bid_may_name_as_many_classes_as_the_limit_says(floor: Floor) -> None:
    floor.pool(1, 1)
    floor.quote(CLASSES_MAX, 1, 30)
    floor.limit(1, 90, *range(1, CLASSES_MAX + 1))
    with pytest.raises(ValueError, match="1"):
        floor.limit(1, 90, 1)
    assert floor.fills() == [(1, 1, 30)]


def test_a_quote_stands_in_one_ladder_only() -> None:
    group = ClearingGroup(1, S)
    quote = StandingQuote(1, 5, SlotPool(1, 10, 1), (3,), 1)
    group.set_quote(quote)
    with pytest.raises(ValueError, match="listed"):
        group.set_quote(quote)
    with pytest.raises(ValueError, match="k is 0"):
        ClearingGroup(1, 0)


def test_time_never_goes_back() -> None:
    group = ClearingGroup(1, S)
    group.uncross(5)
    with pytest.raises(ValueError, match="back"):
        group.uncross(4)
    with pytest.raises(ValueError, match="back"):
        group.next_trade_ns(4)


def test_the_state_is_plain_integers(floor: Floor) -> None:
    floor.pool(1, 2)
    floor.quote(1, 1, 30, 40)
    floor.limit(1, 20, 1, account=5)
    floor.group.set_open(2, False)
    bids = ((1, 5, 20, 20, 1_000 * S, 2, ((1, 1_000 * S),), 1),)
    assert floor.group.state() == (bids, ((1, 1, 1, 1, (30, 40), 1_001, 2, 0),), (2,))
