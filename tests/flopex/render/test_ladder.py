from __future__ import annotations

from typing import NamedTuple

from rich.console import Console

from flopex.render.ladder import LadderView, bar, ladder


class L(NamedTuple):
    price_nanos: int
    quantity: int
    orders: int = 1


def shown(view: LadderView, levels: int = 8) -> list[str]:
    console = Console(width=100, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(ladder(view, levels))
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def test_asks_stand_above_bids_and_the_best_of_each_in_the_middle() -> None:
    view = LadderView(
        "m/cpu/batch",
        bids=[L(200_000, 4), L(100_000, 1)],
        asks=[L(300_000, 2), L(900_000, 8)],
        last_price_nanos=300_000,
    )
    lines = shown(view)
    prices = [line for line in lines if ",000" in line]
    places = ["900,000", "300,000", "spread 100,000", "last 300,000", "200,000", "100,000"]
    assert [place in line for place, line in zip(places, prices, strict=True)] == [True] * 6
    assert "bid jobs" in lines[1]
    assert "ask slots" in lines[1]


def test_only_the_best_levels_are_shown() -> None:
    view = LadderView("x", bids=[], asks=[L(p, 1) for p in range(1_000, 9_000, 1_000)], batch=False)
    lines = shown(view, levels=2)
    assert sum("█" in line for line in lines) == 2
    assert any("1,000" in line for line in lines)
    assert any("no bids" in line for line in lines)


def test_an_empty_book_says_so() -> None:
    assert any("empty" in line for line in shown(LadderView("x", [], [])))


def test_bars_are_in_proportion() -> None:
    assert bar(8, 8, 4) == "████"
    assert bar(4, 8, 4) == "██"
    assert bar(3, 8, 4) == "█▌"
    assert bar(1, 1_000, 4) == "▏"
    assert bar(4, 8, 4, right=True) == "  ██"
    assert bar(1, 1_000, 4, right=True) == "   █"
    assert bar(0, 8, 4) == ""
    assert bar(5, 0, 4) == ""
