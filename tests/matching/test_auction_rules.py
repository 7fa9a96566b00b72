"""The rule book of auctions: every table in it is what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.core.throttle import OrderToTrade, RatioTerms, TokenBucket
from matching.auction import clear
from matching.protection import CallPhase, CallTerms, PriceBands, VolatilityGuard
from matching.reference_auction import naive_clear

ROOT = Path(__file__).resolve().parents[2]
RULES = (ROOT / "docs" / "reference" / "matching-rules-auctions.md").read_text()
ANSWER = re.compile(r"^Reference (\d+), tick (\d+): (.*)\.$", re.MULTILINE)
FOUND = "price {0.price}, volume {0.volume}, surplus {0.surplus}, crossing {0.low} to {0.high}"
MS = 10**6
S = 10**9


def sections() -> dict[str, str]:
    """Each section's text by its number."""
    parts = re.split(r"^#+ ([\d.]+) .*$", RULES, flags=re.MULTILINE)
    return dict(zip((number.rstrip(".") for number in parts[1::2]), parts[2::2], strict=True))


SECTIONS = sections()
AUCTIONS = [number for number, text in SECTIONS.items() if ANSWER.search(text)]


def table(number: str) -> Iterator[list[str]]:
    """The rows of a section's table, without its two lines of head."""
    lines = [line for line in SECTIONS[number].splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_all_rules_have_an_example() -> None:
    assert [f"1.{number}" for number in range(1, 9)] == AUCTIONS
    assert {"2", "3", "4", "5.1", "5.2"} <= SECTIONS.keys()


@pytest.mark.parametrize("number", AUCTIONS)
def test_auctions(number: str) -> None:
    rows = [[int(cell or 0) for cell in row] for row in table(number)]
    demand = [(price, bids) for bids, price, *_ in rows if bids]
    supply = [(price, asks) for _, price, asks, *_ in rows if asks]
    for _, price, _, *shown in rows:
        wanted = sum(quantity for bid, quantity in demand if bid >= price)
        offered = sum(quantity for ask, quantity in supply if ask <= price)
        assert shown == [wanted, offered, min(wanted, offered), wanted - offered]
    for reference, tick, answer in ANSWER.findall(SECTIONS[number]):
        found = clear(demand, supply, int(reference), int(tick))
        assert found == naive_clear(demand, supply, int(reference), int(tick))
        assert answer == (FOUND.format(found) if found else "nothing trades")


def test_bands() -> None:
    bands = PriceBands(static_bps=1_000, dynamic_bps=300)
    for event, price, low, high in table("2"):
        (bands.uncrossed if event == "auction" else bands.traded)(int(price))
        assert bands.allowed() == (int(low), int(high))


def test_the_volatility_halt() -> None:
    guard = VolatilityGuard(move_bps=500, window_ns=16 * S)
    for second, price, low, high, trips in table("3"):
        assert guard.traded(int(price), int(second) * S) == (trips == "yes")
        buckets = guard.state()[-1]
        assert isinstance(buckets, tuple)
        assert min(lowest for _, lowest, _ in buckets) == int(low)
        assert max(highest for _, _, highest in buckets) == int(high)


def test_a_call_phase() -> None:
    phase = CallPhase(CallTerms(10 * S, 5 * S, 2, 1_000), 1_000, 0)
    for second, indicative, low, high, decision in table("4"):
        assert phase.collar() == (int(low), int(high))
        assert phase.decide(int(indicative), int(second) * S).name.lower() == decision


def test_the_rate() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=3, now_ns=0)
    for millisecond, message, answer in table("5.1"):
        if message == "cancel":
            bucket.drain(1, int(millisecond) * MS)
        else:
            assert bucket.take(1, int(millisecond) * MS) == (answer == "taken")


def test_orders_to_trades() -> None:
    ratio = OrderToTrade(RatioTerms(window_ns=S, allowance=2, ratio=3))
    for millisecond, message, answer in table("5.2"):
        key = (7, 1, int(millisecond) * MS)
        if message == "trade":
            ratio.trade(*key)
        elif message == "cancel" or ratio.allows(*key):
            ratio.message(*key)
            assert answer == "taken"
        else:
            assert answer == "refused"
