"""The token bucket and the order-to-trade ratio, by hand and against naive twins."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.core.throttle import (
    BURST_MAX,
    RATE_MAX_PER_S,
    RATIO_MAX,
    RATIO_WINDOW_MAX_NS,
    OrderToTrade,
    RatioTerms,
    TokenBucket,
)

S = 10**9


class TestTokenBucket:
    def test_a_burst_then_the_rate(self) -> None:
        bucket = TokenBucket(rate_per_s=2, burst=3, now_ns=100 * S)
        assert [bucket.take(1, 100 * S) for _ in range(4)] == [True, True, True, False]
        assert bucket.ready_ns(1) == 100 * S + S // 2
        assert not bucket.take(1, 100 * S + S // 2 - 1)
        assert bucket.take(1, 100 * S + S // 2)

    def test_it_never_holds_more_than_its_burst(self) -> None:
        bucket = TokenBucket(2, 3, 0)
        assert not bucket.take(4, 1_000 * S)
        assert bucket.ready_ns(4) is None
        assert bucket.take(3, 1_000 * S)
        assert not bucket.take(1, 1_000 * S)

    def test_a_message_that_is_never_refused_takes_what_there_is(self) -> None:
        bucket = TokenBucket(1, 5, 0)
        bucket.drain(4, 0)
        bucket.drain(4, 0)
        assert not bucket.take(1, S - 1)
        assert bucket.take(1, S)

    def test_no_time_is_lost_to_rounding(self) -> None:
        # 3 per second is one per 333,333,333.3 ns, and the third comes at 1 s sharp.
        bucket = TokenBucket(3, 2, 0)
        assert bucket.take(2, 0)
        asked = (333_333_333, 333_333_334, 666_666_666, 666_666_667, S - 1, S)
        assert [at for at in asked if bucket.take(1, at)] == [333_333_334, 666_666_667, S]

    @given(
        st.integers(1, 5),
        st.integers(1, 6),
        st.lists(st.tuples(st.integers(0, S), st.integers(1, 7), st.booleans()), max_size=40),
    )
    def test_against_exact_fractions(
        self, rate: int, burst: int, steps: list[tuple[int, int, bool]]
    ) -> None:
        bucket, level, now_ns = TokenBucket(rate, burst, 7), Fraction(burst), 7
        for later_ns, tokens, refusable in steps:
            now_ns += later_ns
            level = min(Fraction(burst), level + Fraction(later_ns * rate, S))
            if not refusable:
                bucket.drain(tokens, now_ns)
                level = max(Fraction(0), level - tokens)
            elif tokens <= level:
                assert bucket.take(tokens, now_ns)
                level -= tokens
            else:
                assert not bucket.take(tokens, now_ns)
                ready_ns = bucket.ready_ns(tokens)
                assert (ready_ns is None) == (tokens > burst)
                if ready_ns is not None:
                    short_ns = (tokens - level) * S / rate
                    assert now_ns + short_ns <= ready_ns < now_ns + short_ns + 1
            bucket.check()
            assert bucket.state() == (rate, burst, int(level * S), now_ns)
            assert (level * S).denominator == 1

    def test_limits(self) -> None:
        for rate, burst in ((0, 1), (RATE_MAX_PER_S + 1, 1), (1, 0), (1, BURST_MAX + 1)):
            with pytest.raises(ValueError, match="is not in"):
                TokenBucket(rate, burst, 0)
        bucket = TokenBucket(RATE_MAX_PER_S, BURST_MAX, 5)
        before = bucket.state()
        for tokens, now_ns in ((0, 5), (BURST_MAX + 1, 5), (1, 4)):
            for use in (bucket.take, bucket.drain):
                with pytest.raises(ValueError, match=r"is not in|went back"):
                    use(tokens, now_ns)
        assert bucket.state() == before
        assert bucket.take(BURST_MAX, 5)


class TestOrderToTrade:
    def test_trades_earn_messages(self) -> None:
        ratio = OrderToTrade(RatioTerms(window_ns=S, allowance=2, ratio=3))
        for _ in range(2):
            assert ratio.allows(1, 10, 0)
            ratio.message(1, 10, 0)
        assert not ratio.allows(1, 10, 1)
        # Other accounts and instruments have counts of their own.
        assert ratio.allows(2, 10, 1)
        assert ratio.allows(1, 11, 1)
        ratio.trade(1, 10, 1)
        for _ in range(3):
            assert ratio.allows(1, 10, 2)
            ratio.message(1, 10, 2)
        assert not ratio.allows(1, 10, S - 1)
        assert ratio.allows(1, 10, S)

    def test_a_window_that_ends_is_forgotten(self) -> None:
        ratio = OrderToTrade(RatioTerms(S, 2, 3))
        for account_id in range(50):
            ratio.message(account_id, 1, 0)
        ratio.message(7, 1, S)
        assert ratio.state() == (S, 2, 3, 1, (((7, 1), (1, 0)),))

    def test_a_window_of_zero_is_no_limit_and_counts_nothing(self) -> None:
        ratio = OrderToTrade(RatioTerms(0, 0, 0))
        for _ in range(5):
            assert ratio.allows(1, 1, 0)
            ratio.message(1, 1, 0)
        ratio.check()
        assert ratio.state()[-1] == ()

    @given(
        st.integers(1, 30),
        st.integers(1, 4),
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2), st.integers(0, 2))),
    )
    def test_against_a_list_of_all_that_happened(
        self, window_ns: int, allowance: int, per_trade: int, steps: list[tuple[int, int, int]]
    ) -> None:
        ratio = OrderToTrade(RatioTerms(window_ns, allowance, per_trade))
        happened: list[tuple[int, int, bool]] = []
        now_ns = 0
        for later_ns, account_id, what in steps:
            now_ns += later_ns
            mine = [
                is_trade
                for at_ns, account, is_trade in happened
                if account == account_id and at_ns // window_ns == now_ns // window_ns
            ]
            allowed = mine.count(False) < allowance + per_trade * mine.count(True)
            assert ratio.allows(account_id, 5, now_ns) == allowed
            if what == 2:
                ratio.trade(account_id, 5, now_ns)
            else:
                ratio.message(account_id, 5, now_ns)
            happened.append((now_ns, account_id, what == 2))
            ratio.check()

    def test_limits(self) -> None:
        most = RatioTerms(RATIO_WINDOW_MAX_NS, RATIO_MAX, RATIO_MAX)
        ratio = OrderToTrade(most)
        for name, value in (
            ("window_ns", -1),
            ("window_ns", RATIO_WINDOW_MAX_NS + 1),
            ("allowance", 0),
            ("allowance", RATIO_MAX + 1),
            ("ratio", -1),
            ("ratio", RATIO_MAX + 1),
        ):
            with pytest.raises(ValueError, match=f"{name} .* is not in"):
                OrderToTrade(most._replace(**{name: value}))
        ratio.message(1, 1, RATIO_WINDOW_MAX_NS)
        with pytest.raises(ValueError, match="went back"):
            ratio.allows(1, 1, 0)
