"""Shelves of managed bids against a scan of all their bids, and what becomes of crowded rows."""

from __future__ import annotations

import random

import pytest

from matching import Bid, ClassBid, ClearingGroup, SlotPool, StandingQuote, ramp_price, round_down
from matching.reference import NaiveClearingGroup
from matching.shelf import NEVER, SHELF_MAX, Member, Shelf
from tests.matching.clearing_twins import Twins, random_command
from tests.matching.floor import AnyGroup
from tests.matching.sizes import GROUP_COMMANDS, GROUP_SEEDS

K_NS = 1_000
SHAPES = ("any", "few densities", "few starts", "on one ramp", "on a curve")


def random_bid(rng: random.Random, bid_id: int, shape: str, cap: int, now_ns: int) -> Bid:
    start = now_ns + rng.randint(0, 20_000)
    density = rng.randint(1, 50 * cap)
    if shape == "few densities":
        density = cap * rng.randint(1, 3)
    elif shape == "few starts":
        start = now_ns + 5_000 * rng.randint(0, 3)
    elif shape == "on one ramp":
        # All pay about the same at one time.
        density = max(1, cap * (K_NS + start) // (2 * K_NS))
    elif shape == "on a curve":
        # Every one is a corner of the front.
        density = 1 + 40 * (start - now_ns) ** 2 // 10**6
    until = start - rng.choice((0, 0, 300))
    return Bid(bid_id, 1, density, cap, start, rng.randint(1, 3), (ClassBid(1, until),))


class Scan:
    """What a shelf answers, by looking at every bid."""

    def __init__(self) -> None:
        self.bids: dict[int, Bid] = {}

    def live(self, now_ns: int) -> list[Bid]:
        return [b for b in self.bids.values() if b.classes[0].latest_start_ns >= now_ns]

    def top(self, now_ns: int) -> int:
        return max((bid.price(now_ns, K_NS) for bid in self.live(now_ns)), default=0)

    def first_paying(self, tick: int, now_ns: int) -> int | None:
        able = [bid for bid in self.live(now_ns) if bid.price(now_ns, K_NS) >= tick]
        able.sort(key=lambda bid: (bid.latest_start_ns, bid.sequence, bid.bid_id))
        return able[0].bid_id if able else None

    def next_to_pay(self, tick: int, now_ns: int) -> int | None:
        times = [bid.pays_from_ns(tick, K_NS) for bid in self.live(now_ns)]
        return min((at for at in times if at is not None), default=None)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(GROUP_SEEDS // 3))
def test_a_shelf_answers_as_a_scan_does(seed: int, shape: str) -> None:
    rng = random.Random(seed)
    cap = rng.choice((4, 51, 988, round_down(10**6)))
    shelf, scan, now_ns = Shelf(cap, K_NS, []), Scan(), 10**6
    for bid_id in range(1, 200):
        bid = random_bid(rng, bid_id, shape, cap, now_ns)
        until = bid.classes[0].latest_start_ns
        if until >= now_ns and bid.price(until, K_NS) == cap and len(shelf.members) < SHELF_MAX:
            scan.bids[bid_id] = bid
            shelf.add(Member(bid_id, bid.density, bid.latest_start_ns, bid.sequence, until))
        if scan.bids and rng.random() < 0.3:
            gone = scan.bids.pop(rng.choice(list(scan.bids)))
            found = shelf.remove(gone.latest_start_ns, gone.sequence, gone.bid_id)
            # One that is too late to start may have left already.
            assert found or gone.classes[0].latest_start_ns < now_ns
        now_ns += rng.choice((0, 0, 10, 700))
        if not scan.live(now_ns):
            continue
        if shelf.stale_ns <= now_ns:
            shelf.refresh(now_ns)
        assert shelf.top == scan.top(now_ns)
        assert shelf.stale_ns > now_ns
        if shelf.top:
            assert shelf.may_pay(shelf.top, now_ns)
            head = shelf.first_paying(shelf.top, now_ns)
            assert head is not None
            assert head.bid_id == scan.first_paying(shelf.top, now_ns)
        tick = round_down(rng.randint(1, cap))
        reached = shelf.next_to_pay(tick, now_ns)
        assert reached is None or shelf.not_before_ns(tick) <= reached[0]
        assert (reached[0] if reached else None) == scan.next_to_pay(tick, now_ns)
        prices = sorted(bid.price(now_ns, K_NS) for bid in scan.live(now_ns))
        assert sorted(shelf.prices(now_ns)) == prices
        shelf.check()


def test_a_shelf_whose_bids_are_all_too_late_is_empty() -> None:
    shelf = Shelf(10, K_NS, [Member(1, 10, 50, 1, 50), Member(2, 11, 60, 1, 55)])
    assert shelf.until_ns == 55
    shelf.refresh(56)
    assert (shelf.top, shelf.stale_ns, shelf.members) == (0, NEVER, [])
    assert shelf.next_to_pay(5, 56) is None


@pytest.mark.parametrize("seed", range(GROUP_SEEDS // 3))
def test_groups_with_tiny_shelves_agree_with_their_twins(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matching.demand.SHELF_MAX", 3)
    monkeypatch.setattr("matching.shelf.SHELF_MAX", 3)
    rng, twins = random.Random(1_000 + seed), Twins()
    for _ in range(GROUP_COMMANDS):
        random_command(twins, rng, (8, 30, 100_000)[seed % 3], 0.2)
        twins.compare()
    twins.empty()


def crowd(group: AnyGroup, seed: int, *, of_one_crest: bool) -> list[SlotPool]:
    """Two classes with a few slots, and more bids than one shelf holds."""
    rng = random.Random(seed)
    pools = [SlotPool(n, 1, 2) for n in range(3)]
    for pool in pools:
        for instrument_id in (1, 2):
            quote_id = 10 * pool.pool_id + instrument_id
            prices = (20 + pool.pool_id, 40)
            group.set_quote(StandingQuote(quote_id, instrument_id, pool, prices, quote_id))
    for bid_id in range(2, 600):
        density = rng.randint(100, 10_000)
        cap = 80 if of_one_crest else rng.randint(10, 200)
        start = rng.randint(3_000, 60_000)
        classes = tuple(ClassBid(i, start - late) for i, late in ((1, 200), (2, 0)))
        group.add_bid(Bid(bid_id, bid_id, density, cap, start, bid_id, classes))
    return pools


@pytest.mark.parametrize("of_one_crest", [True, False])
def test_a_crowd_trades_as_in_the_twin(of_one_crest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matching.demand.SHELF_MAX", 128)
    real, naive = ClearingGroup(1, K_NS), NaiveClearingGroup(1, K_NS)
    pools = [crowd(group, 5, of_one_crest=of_one_crest) for group in (real, naive)]
    now_ns, fills = 0, 0
    while now_ns < 60_000:
        at = real.next_trade_ns(now_ns)
        if at is None:
            break
        assert at == naive.next_trade_ns(now_ns)
        now_ns = at
        done = real.uncross(now_ns)
        assert done == naive.uncross(now_ns)
        assert real.depth(1, now_ns, 5) == naive.depth(1, now_ns, 5)
        fills += len(done.fills)
        real.check()
        for fill in done.fills:
            for world in pools:
                world[fill.pool_id].give()
    assert fills > 100


def test_the_ramp_of_a_shelf_is_the_ramp() -> None:
    rng = random.Random(3)
    for _ in range(300):
        density, slack = rng.randint(1, 10**7), rng.randint(0, 10**5)
        crest = ramp_price(density, density, 0, 0, K_NS)
        shelf = Shelf(crest, K_NS, [Member(1, density, slack, 1, slack)])
        shelf.refresh(0)
        assert shelf.top == ramp_price(density, density, slack, 0, K_NS)
