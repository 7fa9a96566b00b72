"""Price bands, the volatility guard and the call phase, by hand and against naive twins."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching import PRICE_MAX
from matching.protection import (
    DISTANCE_MAX_BPS,
    EVERY_PRICE,
    EXTENSIONS_MAX,
    PHASE_MAX_NS,
    WINDOW_BUCKETS,
    CallPhase,
    CallTerms,
    Decision,
    PriceBands,
    Range,
    VolatilityGuard,
    around,
)
from tests.matching.sizes import AUCTION_SEEDS

S = 10**9


@given(st.integers(1, PRICE_MAX), st.integers(1, DISTANCE_MAX_BPS), st.integers(1, PRICE_MAX))
def test_around_holds_exactly_the_prices_within_the_distance(
    reference: int, bps: int, price: int
) -> None:
    within = abs(Fraction(price, reference) - 1) <= Fraction(bps, 10_000)
    assert around(reference, bps).holds(price) == within


def test_without_reference_or_distance_every_price_is_near() -> None:
    assert around(0, 100) == around(100, 0) == EVERY_PRICE
    assert (EVERY_PRICE.low, EVERY_PRICE.high) == (1, PRICE_MAX)


class TestPriceBands:
    def test_both_bands_hold(self) -> None:
        bands = PriceBands(static_bps=1_000, dynamic_bps=300, reference=1_000)
        assert bands.static_range() == Range(900, 1_100)
        assert bands.allowed() == Range(970, 1_030)
        bands.traded(1_030)
        assert bands.allowed() == Range(1_000, 1_060)
        bands.traded(1_060)
        bands.traded(1_091)
        # The dynamic band alone would allow 1,123.
        assert bands.allowed() == Range(1_059, 1_100)

    def test_an_auction_moves_both(self) -> None:
        bands = PriceBands(1_000, 300, 1_000)
        bands.traded(1_020)
        bands.uncrossed(2_000)
        assert bands.static_range() == Range(1_800, 2_200)
        assert bands.allowed() == Range(1_940, 2_060)

    def test_before_the_first_price_all_are_allowed(self) -> None:
        bands = PriceBands(1_000, 300)
        assert bands.allowed() == EVERY_PRICE
        bands.traded(50)
        assert bands.allowed() == Range(49, 51)
        # The static band waits for an auction.
        assert bands.static_range() == EVERY_PRICE

    def test_a_trade_outside_is_the_callers_mistake_and_changes_nothing(self) -> None:
        bands = PriceBands(1_000, 300, 1_000)
        before = bands.state()
        for price in (969, 1_031):
            with pytest.raises(ValueError, match="outside"):
                bands.traded(price)
        assert bands.state() == before == (1_000, 300, 1_000, 1_000)

    @given(st.lists(st.integers(1, 3_000)), st.integers(0, 3_000), st.integers(0, 3_000))
    def test_random_walks_keep_the_invariants(
        self, prices: list[int], static_bps: int, dynamic_bps: int
    ) -> None:
        bands = PriceBands(static_bps, dynamic_bps, 1_000)
        trades = [1_000]
        for number, price in enumerate(prices):
            allowed = all(
                bps == 0 or abs(price - reference) * 10_000 <= reference * bps
                for reference, bps in ((trades[0], static_bps), (trades[-1], dynamic_bps))
            )
            assert bands.allowed().holds(price) == allowed
            if number % 7 == 6:
                bands.uncrossed(price)
                trades = [price]
            elif allowed:
                bands.traded(price)
                trades.append(price)
            bands.check()

    @pytest.mark.parametrize(
        "terms",
        [
            (-1, 0, 0),
            (DISTANCE_MAX_BPS + 1, 0, 0),
            (0, DISTANCE_MAX_BPS + 1, 0),
            (0, 0, -1),
            (0, 0, PRICE_MAX + 1),
        ],
    )
    def test_limits(self, terms: tuple[int, int, int]) -> None:
        PriceBands(DISTANCE_MAX_BPS, DISTANCE_MAX_BPS, PRICE_MAX).check()
        with pytest.raises(ValueError, match="is not in"):
            PriceBands(*terms)
        with pytest.raises(ValueError, match="is not in"):
            PriceBands(0, 0).uncrossed(PRICE_MAX + 1)


class TestVolatilityGuard:
    def test_a_move_within_the_window_trips(self) -> None:
        guard = VolatilityGuard(move_bps=500, window_ns=16 * S)
        assert not guard.traded(1_000, 0)
        assert not guard.traded(1_050, 1 * S)
        assert guard.traded(1_051, 2 * S)
        assert not guard.traded(999, 3 * S)
        assert guard.traded(998, 4 * S)  # 1,051 less 5 % is 998.45

    def test_a_slow_move_does_not(self) -> None:
        guard = VolatilityGuard(move_bps=500, window_ns=16 * S)
        assert not any(guard.traded(1_000 + 2 * step, step * S) for step in range(200))

    def test_what_is_older_than_the_window_is_forgotten(self) -> None:
        guard = VolatilityGuard(500, 16 * S)
        guard.traded(1_000, 0)
        assert VolatilityGuard(500, 16 * S).traded(2_000, 17 * S) is False
        assert guard.traded(2_000, 17 * S) is False

    def test_after_an_auction_it_starts_anew(self) -> None:
        guard = VolatilityGuard(500, 16 * S)
        guard.traded(1_000, 0)
        guard.restart()
        assert not guard.traded(2_000, 1)

    def test_a_distance_of_zero_never_trips(self) -> None:
        guard = VolatilityGuard(0, S)
        assert not guard.traded(1, 0)
        assert not guard.traded(PRICE_MAX, 0)

    def test_it_holds_no_more_than_its_buckets(self) -> None:
        guard = VolatilityGuard(1, WINDOW_BUCKETS)
        for now_ns in range(100):
            guard.traded(5, now_ns)
            guard.check()
        buckets = guard.state()[-1]
        assert isinstance(buckets, tuple)
        assert len(buckets) == WINDOW_BUCKETS + 1

    @pytest.mark.parametrize("seed", range(AUCTION_SEEDS))
    def test_against_a_guard_that_remembers_every_trade(self, seed: int) -> None:
        rng = random.Random(seed)
        trips = 0
        for _ in range(20):
            move_bps, window_ns = rng.randint(1, 800), rng.randint(1, 400)
            guard = VolatilityGuard(move_bps, window_ns)
            bucket_ns = -(-window_ns // WINDOW_BUCKETS)
            trades: list[tuple[int, int]] = []
            now_ns, price = rng.randint(0, 1_000), 1_000
            for _ in range(60):
                now_ns += rng.choice((0, 1, 5, 60))
                price = max(1, price + rng.randint(-20, 20))
                trades.append((now_ns, price))
                first_ns = (now_ns // bucket_ns - WINDOW_BUCKETS) * bucket_ns
                assert now_ns - first_ns >= window_ns
                seen = [old for at_ns, old in trades if at_ns >= first_ns]
                too_far = (price - min(seen)) * 10_000 > min(seen) * move_bps or (
                    (max(seen) - price) * 10_000 > max(seen) * move_bps
                )
                assert guard.traded(price, now_ns) == too_far
                guard.check()
                trips += too_far
        assert trips > 20

    def test_limits(self) -> None:
        for terms in ((-1, 1), (DISTANCE_MAX_BPS + 1, 1), (1, 0), (1, PHASE_MAX_NS + 1)):
            with pytest.raises(ValueError, match="is not in"):
                VolatilityGuard(*terms)
        guard = VolatilityGuard(DISTANCE_MAX_BPS, PHASE_MAX_NS)
        guard.traded(5, 10)
        before = guard.state()
        for price, now_ns in ((0, 11), (PRICE_MAX + 1, 11), (5, 9)):
            with pytest.raises(ValueError, match=r"is not in|went back"):
                guard.traded(price, now_ns)
        assert guard.state() == before


class TestCallPhase:
    TERMS = CallTerms(call_ns=10 * S, extension_ns=5 * S, extensions=2, collar_bps=1_000)

    def test_it_uncrosses_at_its_end_if_the_price_is_near(self) -> None:
        phase = CallPhase(self.TERMS, 1_000, 100 * S)
        assert phase.ends_ns == 110 * S
        assert phase.collar() == Range(900, 1_100)
        assert phase.decide(1_000, 110 * S - 1) == Decision.WAIT
        assert phase.decide(1_100, 110 * S) == Decision.UNCROSS

    def test_it_is_extended_with_a_wider_collar_and_ends_at_any_price(self) -> None:
        phase = CallPhase(self.TERMS, 1_000, 0)
        assert phase.decide(1_300, 10 * S) == Decision.EXTENDED
        assert (phase.ends_ns, phase.collar()) == (15 * S, Range(800, 1_200))
        assert phase.decide(1_300, 14 * S) == Decision.WAIT
        # Time is counted from when it was asked, be it late.
        assert phase.decide(1_300, 16 * S) == Decision.EXTENDED
        assert (phase.ends_ns, phase.collar()) == (21 * S, EVERY_PRICE)
        assert phase.decide(PRICE_MAX, 21 * S) == Decision.UNCROSS
        phase.check()

    def test_an_extension_may_be_enough(self) -> None:
        phase = CallPhase(self.TERMS, 1_000, 0)
        assert phase.decide(1_200, 10 * S) == Decision.EXTENDED
        assert phase.decide(1_200, 15 * S) == Decision.UNCROSS

    def test_where_nothing_would_trade_it_ends(self) -> None:
        assert CallPhase(self.TERMS, 1_000, 0).decide(None, 10 * S) == Decision.UNCROSS

    @pytest.mark.parametrize(
        ("terms", "reference"), [(TERMS, 0), (TERMS._replace(collar_bps=0), 1_000)]
    )
    def test_without_a_collar_it_ends_at_once(self, terms: CallTerms, reference: int) -> None:
        assert CallPhase(terms, reference, 0).decide(77, 10 * S) == Decision.UNCROSS

    @given(
        st.integers(0, 100),
        st.integers(1, 50),
        st.integers(0, 5),
        st.integers(0, 2_000),
        st.lists(st.tuples(st.integers(1, 40), st.none() | st.integers(1, 3_000)), max_size=60),
    )
    def test_against_a_schedule_counted_from_the_start(
        self,
        call_ns: int,
        extension_ns: int,
        extensions: int,
        collar_bps: int,
        asked: list[tuple[int, int | None]],
    ) -> None:
        phase = CallPhase(CallTerms(call_ns, extension_ns, extensions, collar_bps), 1_000, 0)
        now_ns, ends_ns, decided = 0, call_ns, 0
        for later_ns, indicative in asked:
            now_ns += later_ns
            off = 0 if indicative is None else abs(indicative - 1_000) * 10
            answer = phase.decide(indicative, now_ns)
            phase.check()
            if now_ns < ends_ns:
                assert answer == Decision.WAIT
            elif decided < extensions and collar_bps and off > collar_bps * (decided + 1):
                decided += 1
                ends_ns = now_ns + extension_ns
                assert answer == Decision.EXTENDED
            else:
                assert answer == Decision.UNCROSS
                break
            assert phase.state()[-3:] == (1_000, ends_ns, decided)

    def test_limits(self) -> None:
        most = CallTerms(PHASE_MAX_NS, PHASE_MAX_NS, EXTENSIONS_MAX, DISTANCE_MAX_BPS)
        phase = CallPhase(most, 1_000, 0)
        for _ in range(EXTENSIONS_MAX):
            phase.check()
            phase.extended += 1
        phase.check()
        for name, value in (
            ("call_ns", PHASE_MAX_NS + 1),
            ("extension_ns", 0),
            ("extension_ns", PHASE_MAX_NS + 1),
            ("extensions", EXTENSIONS_MAX + 1),
            ("collar_bps", DISTANCE_MAX_BPS + 1),
        ):
            with pytest.raises(ValueError, match=f"{name} .* is not in"):
                CallPhase(most._replace(**{name: value}), 1_000, 0)
        with pytest.raises(ValueError, match="reference"):
            CallPhase(most, PRICE_MAX + 1, 0)
