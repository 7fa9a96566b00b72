"""The rule book of continuous books: every ladder in it is what the book and its twin do.

A block marked `ladder` is a script. A line is a command (`bid 7 14 @110 ioc account 3`), or
something that the command before it said (`=> 7 takes 5 @101 from 1`), or part of a ladder: lines
with `|`, which are the whole book at that point. A command without `=>` lines merely rests or
waits.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest

from matching import (
    Armed,
    Book,
    BookEvent,
    BookState,
    Cancelled,
    Decremented,
    Fill,
    Order,
    Rejected,
    Rested,
    SelfTradePrevention,
    StateChanged,
    Terms,
    TimeInForce,
    Triggered,
)
from matching.reference import NaiveBook
from tests.matching.commands import AnyBook
from tests.matching.market import Market, make

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "matching-rules.md"
BLOCK = re.compile(r"^### (?P<title>[^\n]+)\n(?P<text>.*?)```ladder(?P<options>[^\n]*)\n"
                   r"(?P<script>.*?)```", re.MULTILINE | re.DOTALL)  # fmt: skip
SCRIPTS = {m["title"]: (m["options"], m["script"]) for m in BLOCK.finditer(PAGE.read_text())}

FLAGS = {
    "post-only": Terms.POST_ONLY,
    "re-price": Terms.REPRICE,
    "hidden": Terms.HIDDEN,
    "all-or-none": Terms.ALL_OR_NONE,
}
FIELDS = {"minimum": "minimum", "display": "display", "stop": "stop_price", "budget": "budget"}
TIMES = {time_in_force.name.lower(): time_in_force for time_in_force in TimeInForce}
MODES = {
    "newest": SelfTradePrevention.CANCEL_NEWEST,
    "oldest": SelfTradePrevention.CANCEL_OLDEST,
    "both": SelfTradePrevention.CANCEL_BOTH,
    "decrement": SelfTradePrevention.DECREMENT,
}


def carry_out(market: Market, line: str) -> list[BookEvent]:
    """One command line."""
    verb, *words = line.replace("@", "").split()
    numbers = [int(word) for word in words if word.isdigit()]
    match verb:
        case "bid" | "ask":
            return market.place(_order(verb, words))
        case "cancel":
            return market.cancel(numbers[0])
        case "replace":
            order_id, quantity, price, *stop = numbers
            return market.replace(order_id, price, quantity, *stop)
        case "mass-cancel":
            return market.mass_cancel(numbers[0], {"bids": 1, "asks": 2}.get(words[-1], 0))
        case "state":
            return market.state(BookState[words[0].upper()])
        case "uncross":
            return market.uncross(numbers[0])
    raise AssertionError(f"no command: {line}")


def _order(side: str, words: list[str]) -> Order:
    order_id, quantity, price = (int(word) for word in words[:3])
    terms: dict[str, int] = {}
    rest = iter(words[3:])
    for word in rest:
        if word in FLAGS:
            terms["terms"] = terms.get("terms", 0) | FLAGS[word]
        elif word in TIMES:
            terms["tif"] = TIMES[word]
        elif word in MODES:
            terms["stp"] = MODES[word]
        elif word == "account":
            terms["account"] = int(next(rest))
        else:
            terms[FIELDS[word]] = int(next(rest))
    return make(order_id, 1 if side == "bid" else 2, quantity, price, **terms)


def said(event: BookEvent) -> str:
    """An event in the rule book's words."""
    match event:
        case Fill():
            return (
                f"{event.taker_order_id} takes {event.quantity} @{event.price} "
                f"from {event.maker_order_id}"
            )
        case Cancelled():
            return f"{event.order_id} cancelled {event.quantity} {event.reason.name}"
        case Decremented():
            return f"{event.order_id} decremented {event.quantity}"
        case Rested():
            return f"{event.order_id} rests {event.leaves} @{event.price}"
        case Armed():
            return f"{event.order_id} waits @{event.stop_price}"
        case Triggered():
            return f"{event.order_id} triggered"
        case Rejected():
            return f"{event.order_id} rejected {event.reason.name}"
        case StateChanged():
            return event.state.name.lower()


def _is_ladder(line: str) -> bool:
    return "|" in line or line.strip() == "(empty)"


@pytest.mark.parametrize("kind", [Book, NaiveBook])
@pytest.mark.parametrize("title", SCRIPTS)
def test_the_ladders(title: str, kind: type[AnyBook]) -> None:
    options, script = SCRIPTS[title]
    terms = {name: int(value) for name, value in re.findall(r"(tick|lot)=(\d+)", options)}
    market = Market(kind(**terms))
    events: list[BookEvent] = []
    lines = [line for line in script.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if _is_ladder(line) or line.startswith("=>"):
            continue
        events = carry_out(market, line)
        answers = []
        for answer in lines[number + 1 :]:
            if not answer.startswith("=>"):
                break
            answers.append(answer.removeprefix("=>").strip())
        if answers:
            assert [said(event) for event in events] == answers, line
        else:
            assert [type(event) for event in events] in ([Rested], [Armed]), (line, events)
        _compare_ladder(market, lines[number + 1 + len(answers) :])
    market.empty()


def _compare_ladder(market: Market, lines: list[str]) -> None:
    is_ladder, group = next(groupby(lines, _is_ladder), (False, iter(())))
    if is_ladder:
        expected = [" ".join(line.split()) for line in group]
        got = market.ladder().splitlines() or ["(empty)"]
        assert [" ".join(line.split()) for line in got] == expected


def test_every_section_has_a_ladder() -> None:
    assert len(SCRIPTS) >= 25
    text = PAGE.read_text()
    assert text.count("```ladder") == len(SCRIPTS)
    for chapter in re.split(r"^## ", text, flags=re.MULTILINE)[2:-1]:
        assert "```ladder" in chapter, chapter.splitlines()[0]
