"""The rebuilding of a book from level updates, on a small recording in both forms."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance import binance
from tests.conformance.files import write_table


class Message(NamedTuple):
    """One message: kind, first and last number, and (side, price, quantity) of its levels."""

    kind: str
    first: int
    last: int
    levels: tuple[tuple[str, str, str], ...]


def bbo(number: int, bid: str, bid_quantity: str, ask: str, ask_quantity: str) -> Message:
    return Message("bbo", 0, number, (("B", bid, bid_quantity), ("S", ask, ask_quantity)))


SNAPSHOT = Message(
    "snapshot",
    0,
    100,
    (("B", "99.5", "1"), ("B", "99", "2.5"), ("S", "100", "1"), ("S", "101", "4")),
)
SOUND = [
    Message("depth", 90, 98, (("B", "100", "5"),)),  # in the snapshot already
    bbo(99, "99.5", "1", "100", "1"),
    SNAPSHOT,
    Message("depth", 99, 104, (("B", "99.5", "0"), ("S", "100", "0.25"), ("B", "1", "0"))),
    bbo(103, "99", "2.5", "100", "0.25"),
    # The best ask goes and a bid takes its place, named before the ask is.
    Message("depth", 105, 110, (("B", "100", "3"), ("S", "100", "0"))),
    bbo(109, "100", "3", "101", "4"),
    bbo(115, "100", "3", "101", "5"),
    Message("depth", 111, 120, (("S", "101", "5"),)),
]
FACTS = {
    "updates": 3,
    "updates_before_the_snapshot": 1,
    "levels_changed": 6,
    "best_prices_compared": 3,
    "gaps": 0,
    "trades": 0,
    "passed": 5,
    "failed": 0,
}


def write_rows(path: Path, messages: list[Message]) -> str:
    rows = [
        ("1", "2", message.kind, *level, message.last, "")
        for message in messages
        for level in message.levels
    ]
    trade = ("1", "2", "trade", "S", "99.5", "0.5", "7", "seller_aggressor")
    header = ("recv_ns", "exch_ms", "kind", "side", "price", "qty", "seq_or_trade_id", "note")
    return str(write_table(path, header, [trade, *rows]))


def write_messages(path: Path, messages: list[Message]) -> str:
    lines = ['{"stream":"x@trade","data":{"e":"trade","t":7,"p":"99.5"}}']
    for kind, first, last, levels in messages:
        bids, asks = ([[p, q] for side, p, q in levels if side == wanted] for wanted in "BS")
        data: dict[str, object]
        if kind == "snapshot":
            data = {"lastUpdateId": last, "bids": bids, "asks": asks}
        elif kind == "depth":
            data = {"e": "depthUpdate", "U": first, "u": last, "b": bids, "a": asks}
        else:
            (bid,), (ask,) = bids, asks
            data = {"u": last, "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
        lines.append(json.dumps(data if kind == "snapshot" else {"stream": "x", "data": data}))
    with gzip.open(path, "wt") as file:
        file.writelines(f"1723161253937085768 {line}\n" for line in lines)
    return str(path)


@pytest.mark.parametrize("write", [write_rows, write_messages])
def test_a_sound_recording_passes(
    write: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(write)
    path = write(tmp_path / "recording.gz", SOUND)
    assert binance.main([path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == FACTS
    assert binance.main([path]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["trades: 0", "5 passed, 0 failed"]


def test_a_recording_may_lie_in_several_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_messages(tmp_path / "first.gz", SOUND[:5])
    second = write_messages(tmp_path / "second.gz", SOUND[5:])
    assert binance.main([first, second, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == FACTS
    assert binance.main([second]) == 2
    assert "no snapshot" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (Message("depth", 122, 130, (("B", "1", "1"),)), "does not follow 120: begins with 122"),
        (Message("depth", 119, 130, (("B", "1", "1"),)), "does not follow 120: begins with 119"),
        (Message("depth", 121, 130, (("B", "101.5", "1"),)), "1 trades, the first at 1010"),
        (Message("depth", 121, 130, (("B", "100", "4"),)), "best prices"),
        (Message("depth", 121, 130, (("B", "100", "0"),)), "best prices"),
        (Message("depth", 121, 130, (("S", "100.5", "1"),)), "best prices"),
    ],
)
def test_what_does_not_fit_fails(
    update: Message, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_messages(tmp_path / "recording.gz", [*SOUND, update])
    assert binance.main([path]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert said in first
    assert last == "5 passed, 1 failed"


def test_in_a_table_a_gap_shows_as_numbers_that_do_not_rise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(
        tmp_path / "table.csv", [*SOUND, Message("depth", 0, 119, (("B", "1", "1"),))]
    )
    assert binance.main([path, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["gaps"] == 1


def test_the_first_update_may_overlap_the_snapshot_but_not_begin_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for first, status in ((50, 0), (101, 0), (102, 1)):
        update = Message("depth", first, 110, (("B", "98", "1"),))
        path = write_messages(tmp_path / "recording.gz", [SNAPSHOT, update])
        assert binance.main([path]) == status


def test_levels_that_nobody_could_know_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fall = Message("depth", 101, 110, (("B", "99.5", "0"), ("B", "99", "0"), ("B", "90", "1")))
    hidden = bbo(109, "98", "7", "100", "1")
    path = write_messages(tmp_path / "recording.gz", [SNAPSHOT, fall, hidden])
    assert binance.main([path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best_prices_compared"] == 0
    # Once an update has named the level, it must be there.
    named = Message("depth", 111, 120, (("B", "98", "6"),))
    path = write_messages(tmp_path / "recording.gz", [SNAPSHOT, fall, hidden, named])
    assert binance.main([path]) == 1
    capsys.readouterr()
    # A level that the snapshot reaches down to must be there too.
    inside = bbo(109, "99.2", "7", "100", "1")
    path = write_messages(tmp_path / "recording.gz", [SNAPSHOT, fall, inside])
    assert binance.main([path]) == 1


def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.gz").write_text("nothing of the kind\n")
    (tmp_path / "shape.gz").write_text('1 {"data": {"e": "depthUpdate"}}\n')
    side = Message("depth", 0, 1, (("X", "1", "1"),))
    price = SNAPSHOT._replace(levels=(("B", "dear", "1"),))
    for path, message in (
        (str(tmp_path / "none.gz"), "none.gz: there is no such file"),
        (str(tmp_path / "text.gz"), "text.gz, line 1: not a message"),
        (str(tmp_path / "shape.gz"), "shape.gz, line 1: not a message"),
        (write_rows(tmp_path / "side.csv", [side]), "side 'X'"),
        (write_rows(tmp_path / "price.csv", [price, SOUND[3]]), "'dear' is not a number"),
        (write_rows(tmp_path / "alone.csv", [SNAPSHOT]), "no updates after the snapshot"),
    ):
        assert binance.main([path]) == 2
        assert message in capsys.readouterr().err
