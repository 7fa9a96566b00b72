from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.flopex.cli.conftest import INTERACTIVE, PAPER, Site, read_line
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.integration


def place(site: Site, side: str, price: int, mflop: int, key: str = "paper-ada") -> int:
    result = site.flopex(
        *("order", "place", side, PAPER, "--price", f"{price} nanos", "--quantity", str(mflop)),
        "--json",
        key=key,
    )
    assert result.code == 0, result.err
    order_id: int = result.object()["order_id"]
    return order_id


def test_orders_are_placed_replaced_listed_and_cancelled(site: Site) -> None:
    order = place(site, "bid", 1_000, 500)
    replaced = site.flopex(
        *("order", "replace", str(order), "--price", "1100 nanos", "--quantity", "400"),
        key="paper-ada",
    )
    assert replaced.out == f"order {order}: replaced, new\n"
    listed = site.flopex("order", "list", "--instrument", PAPER, "--json", key="paper-ada")
    terms = [
        (o["order_id"], o["price_nanos"], o["quantity_mflop"]) for o in listed.object()["orders"]
    ]
    assert terms == [(order, 1_100, 400)]
    assert PAPER in site.flopex("order", "list", key="paper-ada").out
    cancelled = site.flopex("order", "cancel", str(order), key="paper-ada")
    assert cancelled.out == f"order {order}: canceled (cancelled by owner)\n"
    assert site.flopex("order", "list", key="paper-ada").out == "no open orders\n"


def test_orders_meet_and_positions_follow(site: Site) -> None:
    place(site, "ask", 2_000, 300, key="paper-ben")
    book = site.flopex("book", PAPER, "--json").object()
    assert book["asks"] == [{"price_nanos": 2_000, "quantity": 300, "orders": 1}]
    assert "ask MFLOP" in site.flopex("book", PAPER).out
    bought = site.flopex(
        *("order", "place", "bid", PAPER, "--market", "--quantity", "300", "--tif", "fok"),
        key="paper-ada",
    )
    assert "traded 300 MFLOP at 2,000 nano$/CU" in bought.out
    account = site.flopex("account", "--ledger", "5", "--json", key="paper-ada").object()
    assert account["account"]["positions"][0]["quantity_mflop"] == 300
    assert account["ledger"][0]["kind"] == "trade"
    assert PAPER in site.flopex("account", key="paper-ada").out


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("bid", PAPER, "--price", "1005 nanos", "--quantity", "1"), 1, "PRICE_OFF_TICK"),
        (("bid", PAPER, "--price", "1", "--quantity", "1"), 1, "PRICE_OUT_OF_BAND"),
        (("bid", PAPER, "--price", "10 nanos", "--quantity", "0"), 1, "QUANTITY_NOT_POSITIVE"),
        (("bid", "nowhere", "--price", "10 nanos", "--quantity", "1"), 6, "UNKNOWN_INSTRUMENT"),
        (("bid", PAPER, "--quantity", "1"), 2, "PRICE"),
        (
            ("bid", PAPER, "--price", "10 nanos", "--quantity", "1", "--tif", "gtd"),
            2,
            "EXPIRES",
        ),
        (
            ("bid", PAPER, "--price", "10 nanos", "--quantity", "1", "--max-cost", "0"),
            2,
            "USAGE",
        ),
    ],
)
def test_a_refused_order_has_its_exit_code_and_reason(
    site: Site, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    result = site.flopex("order", "place", *arguments, "--json", key="paper-ada")
    assert (result.code, result.error()["reason"]) == (code, reason)


def test_instruments_are_listed(site: Site) -> None:
    found = site.flopex("instruments", "--json").object()["instruments"]
    assert {i["name"] for i in found} >= {INTERACTIVE, PAPER}
    assert INTERACTIVE in site.flopex("instruments").out


def test_a_watched_book_is_a_stream_that_ends_with_ctrl_c(site: Site) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flopex", "book", PAPER, "--watch", "--json"],
        cwd=site.directory,
        env=dict(site.environment, FLOPEX_TARGET=site.address, FLOPEX_KEY=site.keys["ada"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert json.loads(read_line(process))["type"] == "book"
        place(site, "bid", 500, 7, key="paper-ben")
        book = json.loads(read_line(process))
        # Where this test runs again, the order of the time before is still there.
        (level,) = (level for level in book["bids"] if level["price_nanos"] == 500)
        assert level["quantity"] == 7 * level["orders"] > 0
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1]) == {"type": "summary", "updates": 2}


def test_conditions_are_asked_for_and_shown(site: Site) -> None:
    arguments = ("order", "place", "bid", PAPER, "--quantity", "500")
    for asked, shown in (
        (("--price", "500 nanos", "--post-only", "reprice"), "GTC, post-only"),
        (("--price", "500 nanos", "--display", "100"), "GTC, shows 100"),
        (("--price", "500 nanos", "--min-quantity", "50"), "GTC, at least 50"),
        (("--price", "500 nanos", "--all-or-none"), "GTC, all or none"),
        (("--price", "500 nanos", "--hidden"), "GTC, hidden"),
        (("--market", "--stop", "90000 nanos"), "GTC, stop 90,000"),
        (("--price", "95000 nanos", "--stop", "90000 nanos"), "GTC, stop 90,000"),
    ):
        placed = site.flopex(*arguments, *asked, key="paper-ada")
        assert placed.code == 0, placed.err
        assert shown in site.flopex("order", "list", key="paper-ada").out
        cancelled = site.flopex("order", "cancel", "--all", "--json", key="paper-ada")
        assert cancelled.object() == {"cancelled": 1}
    wrong = site.flopex(
        *arguments, "--price", "500 nanos", "--hidden", "--display", "9", "--json", key="paper-ada"
    )
    assert (wrong.code, wrong.error()["reason"]) == (1, "CONDITIONS_CONFLICT")


def test_all_orders_of_an_instrument_and_a_side_are_cancelled(site: Site) -> None:
    for side, price in (("bid", 100), ("bid", 110), ("ask", 90_000)):
        place(site, side, price, 10)
    cancel = ("order", "cancel", "--all", "--instrument", PAPER)
    assert site.flopex(*cancel, "--side", "bid", key="paper-ada").out == "2 orders cancelled\n"
    assert site.flopex(*cancel, key="paper-ada").out == "1 orders cancelled\n"
    for wrong in ((), ("7", "--all"), ("7", "--side", "bid")):
        result = site.flopex("order", "cancel", *wrong, "--json", key="paper-ada")
        assert (result.code, result.error()["reason"]) == (2, "ORDER")


def test_an_empty_instrument_cancels_nothing(site: Site) -> None:
    order = place(site, "bid", 100, 10)
    for wrong, reason in ((("--all",), "INSTRUMENT"), ((str(order),), "ORDER")):
        empty = ("order", "cancel", *wrong, "--instrument", "", "--json")
        result = site.flopex(*empty, key="paper-ada")
        assert (result.code, result.error()["reason"]) == (2, reason)
    assert site.flopex("order", "cancel", str(order), key="paper-ada").code == 0


def test_an_auction_from_the_command_line(site: Site) -> None:
    book = "paper-auction"
    site.admin("instrument", book, "--paper", "--tick", "10 nanos", "--max", "100000 nanos")
    assert site.admin("auction", book, "--call", "1h")["state"] == "auction"
    assert "auction, nothing would trade, ends" in site.flopex("book", book).out
    for key, side, price in (("paper-ada", "bid", 1_050), ("paper-ben", "ask", 950)):
        terms = (side, book, "--price", f"{price} nanos", "--quantity", "30")
        assert site.flopex("order", "place", *terms, key=key).code == 0
    assert "auction at 950: 30 MFLOP, ends" in site.flopex("book", book).out
    assert site.flopex("book", book, "--json").object()["auction"]["price_nanos"] == 950
    assert site.admin("resume", "instrument", book)["state"] == "open"
    assert site.flopex("book", book, "--json").object()["last_price_nanos"] == 950


def test_a_book_is_protected_from_the_command_line(site: Site) -> None:
    book = "paper-protected"
    site.admin("instrument", book, "--paper", "--tick", "10 nanos", "--max", "100000 nanos")
    after = site.admin("protect", book, "--reopening-call", "30s", "--book-orders", "1")
    assert after["protections"]["reopening_call_ns"] == 30 * 10**9
    order = ("order", "place", "bid", book, "--price", "100 nanos", "--quantity", "1", "--json")
    assert site.flopex(*order, key="paper-ada").code == 0
    assert site.flopex(*order, key="paper-ada").error()["reason"] == "BOOK_FULL"
    refused = site.flopex(
        *("admin", "protect", book, "--static-band", "5", "--json"), key="operator"
    )
    assert (refused.code, refused.error()["reason"]) == (1, "FIELD_INVALID")


def test_a_bid_with_legs(site: Site) -> None:
    legs = ("order", "legs", f"{PAPER}=500 nanos:10", f"{PAPER}=510 nanos:10", "--json")
    refused = site.flopex(*legs, key="paper-ada")
    assert (refused.code, refused.error()["reason"]) == (1, "LEGS_INVALID")
    assert site.flopex(*legs[:3], key="paper-ada").code == 0
    assert "GTC, 1 legs" in site.flopex("order", "list", key="paper-ada").out
    assert site.flopex("order", "cancel", "--all", key="paper-ada").code == 0
    wrong = site.flopex("order", "legs", "nonsense", "--json", key="paper-ada")
    assert (wrong.code, wrong.error()["reason"]) == (2, "LEG")


def test_an_accounts_messages_are_limited_from_the_command_line(site: Site) -> None:
    site.admin("account", "limited", "--paper")
    terms = ("--messages-per-s", "5", "--burst", "7", "--message-window", "1m")
    after = site.admin("limits", "limited", *terms, "--free-messages", "3")
    assert after["limits"]["messages"] == {
        "messages_per_s": 5,
        "message_burst": 7,
        "order_to_trade_window_ns": 60 * 10**9,
        "order_to_trade_free": 3,
        "order_to_trade_ratio": 0,
    }
    assert "open orders" in site.flopex("account", "--limits").out
    limits = ("admin", "limits", "limited")
    refused = site.flopex(*limits, "--burst", "1", "--json", key="operator")
    assert (refused.code, refused.error()["reason"]) == (1, "FIELD_INVALID")
    table = site.flopex(*limits, "--messages-per-s", "5", "--burst", "7", key="operator")
    assert "messages per second" in table.out


def test_market_history_is_written_as_csv_and_parquet(site: Site, tmp_path: Path) -> None:
    for side, key in (("ask", "paper-ada"), ("bid", "paper-ben")):
        terms = ("--price", "70000 nanos", "--quantity", "3")
        assert site.flopex("order", "place", side, PAPER, *terms, key=key).code == 0
    trades = [json.loads(site.flopex("market", "trades", PAPER, "--limit", "9999", "--json").out)]
    shown = site.flopex("market", "export", "trades", PAPER)
    rows = list(csv.DictReader(io.StringIO(shown.out)))
    assert [row["trade_id"] for row in rows] == [str(t["trade_id"]) for t in trades[0]["trades"]]
    for what in ("trades", "candles", "quotes"):
        command = ("market", "export", what, PAPER, "--json", "--out")
        plain, columns = tmp_path / f"{what}.csv", tmp_path / f"{what}.parquet"
        said = [site.flopex(*command, str(path)).object() for path in (plain, columns)]
        frame = pl.read_parquet(columns)
        assert [one["rows"] for one in said] == [len(frame)] * 2
        with plain.open() as file:
            kept = list(csv.DictReader(file))
        assert [{k: str(v) for k, v in row.items()} for row in frame.to_dicts()] == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{what}.{form}" for what in ("candles", "quotes", "trades") for form in ("csv", "parquet")
    ]
    assert site.flopex("market", "export", "trades", "none").code == 6
