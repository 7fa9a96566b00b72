"""The order-level replay, on a small feed in both forms, sound and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import independent_reserve
from tests.conformance.files import write_table

COLUMNS = ("recv_s", *independent_reserve.COLUMNS)
TAKEN = 1_649_023_812_722
TAKEN_UTC = "2022-04-03T22:10:12.7224632Z"

Line = tuple[str, int, str, str, str, str, str]
"""event, ms after the snapshot, side, order id, price, volume, nonce."""

SNAPSHOT: list[Line] = [
    ("snapshot", 0, "B", "a", "99.5", "1.0", ""),
    ("snapshot", 0, "B", "b", "99.25", "2.0", ""),
    ("snapshot", 0, "S", "c", "101.0", "0.00000001", ""),
    ("snapshot", 0, "S", "late", "103.0", "1.0", ""),
]
EVENTS: list[Line] = [
    ("new", -9, "S", "over", "99.0", "1.0", "10"),  # came and went before the snapshot
    ("cancel", -8, "S", "over", "", "", "11"),
    ("new", -7, "B", "a", "99.5", "1.0", "12"),  # is in the snapshot
    ("new", -2, "B", "missed", "98.0", "1.0", "13"),  # the snapshot should have it
    ("cancel", -1, "S", "late", "", "", "14"),  # the snapshot should not
    ("new", 1, "S", "d", "100.0", "3.0", "15"),
    ("cancel", 2, "B", "missed", "", "", "16"),
    ("change", 3, "B", "b", "", "0.5", "17"),
    ("change", 3, "B", "b", "", "7.5", "18"),
    ("cancel", 5, "S", "d", "", "", "19"),
    ("new", 6, "B", "e", "100.99", "3.0", "20"),
    ("change", 9, "B", "b", "", "0", "21"),  # has traded in full
]
SOUND = {
    "books": 1,
    "resting_orders": 4,
    "events": 9,
    "events_before_the_snapshot": 3,
    "orders_beyond_the_price_range": 0,
    "gaps": 0,
    "trades": 0,
    "passed": 14,
    "failed": 0,
}


def write_feed(path: Path, lines: list[Line]) -> str:
    rows = [("0.0", kind, TAKEN + after_ms, *rest) for kind, after_ms, *rest in lines]
    return str(write_table(path, COLUMNS, rows))


def write_recording(folder: Path, snapshot: list[Line], events: list[Line]) -> str:
    """The same as the exchange sent it, with another book's events between."""
    names = {value: key for key, value in independent_reserve.RAW_EVENTS.items()}
    sides = {"B": "LimitBid", "S": "LimitOffer"}
    lines = ["wss://websockets.example <-> 1649023807.98", '1649.1: {"Event":"Heartbeat"}']
    for kind, after_ms, side, order, price, volume, nonce in events:
        data: dict[str, Any] = {"OrderType": sides[side], "OrderGuid": order}
        if price:
            data["Price"] = {"aud": float(price), "usd": 1.0}
        if volume:
            data["Volume"] = float(volume)
        for channel, number in (("orderbook-eth", nonce), ("orderbook-dot", "5")):
            message = {
                "Channel": channel,
                "Nonce": int(number),
                "Data": data,
                "Time": TAKEN + after_ms,
                "Event": names[kind],
            }
            lines.append(f"1649023809.05: {json.dumps(message)}")
    path = folder / "INDEPENDENT_RESERVE.ws.1.0"
    path.write_text("\n".join(lines))
    orders = {
        "BuyOrders": [_resting(line) for line in snapshot if line[2] == "B"],
        "SellOrders": [_resting(line) for line in snapshot if line[2] == "S"],
        "PrimaryCurrencyCode": "Eth",
        "SecondaryCurrencyCode": "Aud",
        "CreatedTimestampUtc": TAKEN_UTC,
    }
    beside = folder / "INDEPENDENT_RESERVE.http.0.0"
    beside.write_text(f"https://api.example/Public/GetAllOrders?x=y -> 1.5: {json.dumps(orders)}\n")
    return str(path)


def _resting(line: Line) -> dict[str, object]:
    return {"Guid": line[3], "Price": float(line[4]), "Volume": float(line[5])}


@pytest.mark.parametrize("name", ["feed.csv", "feed.csv.gz"])
def test_a_sound_feed_passes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_feed(tmp_path / name, SNAPSHOT + EVENTS)
    assert independent_reserve.main([path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == SOUND
    assert independent_reserve.main([path]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["trades: 0", "14 passed, 0 failed"]


def test_a_recording_in_the_sources_own_form_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recording(tmp_path, SNAPSHOT, EVENTS)
    assert independent_reserve.main([path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == SOUND


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("new", 10, "S", "x", "100.99", "1.0", "22"), "1 trades, the first at 10099"),
        (("new", 10, "B", "e", "99.0", "1.0", "22"), "refused: DUPLICATE_ORDER"),
        (("cancel", 10, "B", "nobody", "", "", "22"), "refused: UNKNOWN_ORDER"),
        (("change", 10, "B", "nobody", "", "1.0", "22"), "the order is not in the book"),
        (("new", 10, "B", "x", "99.0", "0", "22"), "refused: QUANTITY_OUTSIDE_LIMITS"),
        (("new", 10, "B", "x", "99.0", "1.0", "23"), "events between 21 and 23 are missing"),
    ],
)
def test_what_does_not_fit_fails(
    line: Line, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_feed(tmp_path / "feed.csv", [*SNAPSHOT, *EVENTS, line])
    assert independent_reserve.main([path]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert said in first
    assert last == "14 passed, 1 failed"


def test_a_gap_before_the_snapshot_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_feed(tmp_path / "feed.csv", [*SNAPSHOT, EVENTS[0], *EVENTS[2:]])
    assert independent_reserve.main([path]) == 1
    assert "events between 10 and 12 are missing" in capsys.readouterr().out


def test_orders_beyond_the_range_are_counted_not_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far: list[Line] = [
        ("snapshot", 0, "S", "far", "37644000.5", "1.0", ""),
        ("snapshot", 0, "B", "free", "0.0", "1.0", ""),
    ]
    cancel: Line = ("cancel", 10, "S", "far", "", "", "22")
    path = write_feed(tmp_path / "feed.csv", [*SNAPSHOT, *far, *EVENTS, cancel])
    assert independent_reserve.main([path, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["orders_beyond_the_price_range"] == 2
    assert counted["passed"] == SOUND["passed"]


def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write_recording(tmp_path, SNAPSHOT, EVENTS)
    Path(recording).write_text(Path(recording).read_text() + "\n1649.1: {broken")
    odd = tmp_path / "odd.ws.1.0"
    odd.write_text('wss://websockets.example\n1649.1: {"Event": "NewOrder"}\n')
    numbered = [EVENTS[5], (*EVENTS[6][:6], "x")]
    alone = tmp_path / "alone.ws.1.0"
    alone.write_text("wss://websockets.example\n")
    for path, message in (
        (str(tmp_path / "none.csv"), "none.csv: there is no such file"),
        (write_feed(tmp_path / "empty.csv", []), "no resting orders"),
        (str(write_table(tmp_path / "other.csv", ["event"], [])), "no column exch_ms"),
        (write_feed(tmp_path / "kind.csv", [("trade", 0, "B", "a", "1", "1", "")]), "'trade'"),
        (write_feed(tmp_path / "side.csv", [("new", 0, "X", "a", "1", "1", "")]), "side 'X'"),
        (write_feed(tmp_path / "price.csv", [("snapshot", 0, "B", "a", "x", "1", "")]), "'x'"),
        (recording, "INDEPENDENT_RESERVE.ws.1.0, line "),
        (str(alone), "alone.http.0.0: there is no such file"),
        (str(odd), "not the messages of the feed"),
        (write_feed(tmp_path / "nonce.csv", [*SNAPSHOT, *numbered]), "nonce: 'x' is not a number"),
    ):
        assert independent_reserve.main([path]) == 2
        assert message in capsys.readouterr().err
