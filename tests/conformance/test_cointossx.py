"""The CoinTossX command on small cases of our own: one of each family, and each way to fail."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import cointossx
from tests.conformance.cointossx_cases import BadCases, read_cases

Case = dict[str, Any]


def order(side: str, order_id: int, quantity: int, price: int = 0, **more: Any) -> Case:
    stated: Case = {"side": side, "order_id": order_id, "type": "LIMIT", "qty": quantity}
    if price:
        stated["price"] = price
    return {**stated, **more}


def hidden(side: str, order_id: int, quantity: int, price: int, minimum: int = 0) -> Case:
    more = {"min_exec_size": minimum} if minimum else {}
    return order(side, order_id, quantity, price, type="HIDDEN_LIMIT", **more)


def case(
    name: str,
    initial: list[Case],
    given: list[Case],
    book: list[Case],
    trades: Sequence[tuple[int, int]] = (),
    **more: Any,
) -> Case:
    return {
        "id": name,
        "action": "NEW",
        "initial_orders": initial,
        "input": given,
        "expected_book": book,
        "expected_trades": [{"price": p, "qty": q} for p, q in trades],
        "stock": {"MRS": 20, "TickSize": 1},
        **more,
    }


SELLS = [order("SELL", 1, 10, 101), order("SELL", 2, 10, 102)]

PASSING = [
    case(
        "limit/1",
        SELLS,
        [order("BUY", 3, 15, 102)],
        [order("SELL", 2, 5, 102)],
        [(101, 10), (102, 5)],
    ),
    case("market/1", SELLS, [order("BUY", 3, 30, type="MARKET")], [], [(101, 10), (102, 10)]),
    case("ioc/1", SELLS, [order("BUY", 3, 30, 101, tif=3)], SELLS[1:], [(101, 10)]),
    case("fok/1", SELLS, [order("BUY", 3, 30, 102, tif=4)], SELLS),
    case("fok/2", SELLS, [order("BUY", 3, 20, 102, tif=4)], [], [(101, 10), (102, 10)]),
    # What is shown goes before what is hidden; the hidden rest below MRS leaves the book.
    case(
        "hidden/1",
        [hidden("SELL", 1, 50, 101), order("SELL", 2, 10, 101)],
        [order("BUY", 3, 45, 101)],
        [],
        [(101, 10), (101, 35)],
    ),
    # A minimum that the order cannot give is passed over.
    case(
        "mes/1",
        [hidden("SELL", 1, 50, 101, 40), order("SELL", 2, 10, 102)],
        [order("BUY", 3, 15, 102)],
        [hidden("SELL", 1, 50, 101, 40), order("BUY", 3, 5, 102)],
        [(102, 10)],
    ),
    case(
        "stop/1",
        [*SELLS, order("BUY", 3, 5, 101, type="STOP")],
        [order("BUY", 4, 10, 101)],
        [order("SELL", 2, 5, 102)],
        [(101, 10), (102, 5)],
    ),
    case(
        "stop_limit/1",
        [*SELLS, order("BUY", 3, 5, 101, type="STOP_LIMIT", stop_price=101)],
        [order("BUY", 4, 10, 101)],
        [order("BUY", 3, 5, 101), order("SELL", 2, 10, 102)],
        [(101, 10)],
    ),
    case(
        "stop_limit/2",
        SELLS,
        [order("BUY", 3, 5, 103, type="STOP_LIMIT", stop_price=103)],
        [*SELLS, order("BUY", 3, 5, 103, type="STOP_LIMIT", stop_price=103)],
    ),
    case("cancel/1", SELLS, [order("SELL", 1, 0, 101)], SELLS[1:], action="CANCEL"),
    case("cancel/2", SELLS, [order("SELL", 9, 0, 101)], SELLS, action="CANCEL"),
    case(
        "replace/1",
        [*SELLS, order("BUY", 3, 5, 100)],
        [order("BUY", 3, 12, 101)],
        [order("BUY", 3, 2, 101), order("SELL", 2, 10, 102)],
        [(101, 10)],
        action="REPLACE",
    ),
    case(
        "replace/2",
        [hidden("BUY", 1, 50, 100, 40)],
        [hidden("BUY", 1, 50, 100, 30)],
        [hidden("BUY", 1, 50, 100, 30)],
        action="REPLACE",
    ),
    case(
        "replace/3",
        [order("BUY", 1, 5, 100, tif=6, expire_time="2026-01-01 10:00:00")],
        [order("BUY", 1, 5, 100, tif=6, expire_time="2026-01-02 10:00:00")],
        [order("BUY", 1, 5, 100, tif=6, expire_time="2026-01-02 10:00:00")],
        action="REPLACE",
    ),
    case("replace/4", [], [order("BUY", 1, 5, 100)], [], action="REPLACE"),
    case(
        "auction/1",
        [
            order("BUY", 1, 10, 105),
            order("BUY", 2, 10, 102),
            order("SELL", 3, 8, 101),
            order("SELL", 4, 4, type="MARKET"),
        ],
        [],
        [order("BUY", 2, 8, 102)],
        [(102, 4), (102, 6), (102, 2)],
        action="UNCROSS_AUCTION",
    ),
]


def run(tmp_path: Path, cases: list[Case], *flags: str) -> int:
    path = tmp_path / "cases.json.gz"
    path.write_bytes(gzip.compress(json.dumps(cases).encode()))
    return cointossx.main([str(path), *flags])


@pytest.mark.parametrize("passing", PASSING, ids=lambda c: c["id"])
def test_each_family_passes(passing: Case) -> None:
    assert cointossx.run_case(passing).differences == []


def mirrored(one: Case) -> Case:
    """The case with bids for asks, and prices the other way up."""

    def row(order: Case) -> Case:
        turned = {key: 200 - order[key] for key in ("price", "stop_price") if key in order}
        return order | turned | {"side": "SELL" if order["side"] == "BUY" else "BUY"}

    books = ("initial_orders", "input", "expected_book")
    trades = [{**trade, "price": 200 - trade["price"]} for trade in one["expected_trades"]]
    return {**one, **{k: [row(r) for r in one[k]] for k in books}, "expected_trades": trades}


@pytest.mark.parametrize("passing", PASSING, ids=lambda c: c["id"])
def test_each_family_passes_with_the_sides_changed(passing: Case) -> None:
    assert cointossx.run_case(mirrored(passing)).differences == []


def test_the_last_line_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, PASSING) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(PASSING)} passed, 0 failed"


def test_differences_carry_the_name_of_their_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_trade = case("wrong/trade", SELLS, [order("BUY", 3, 10, 101)], SELLS[1:], [(101, 9)])
    wrong_book = case("wrong/book", SELLS, [], [*SELLS, order("BUY", 5, 1, 99)])
    assert run(tmp_path, [wrong_trade, wrong_book, *PASSING]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "wrong/trade: trades: expected 9 at 101; got 10 at 101"
    assert "wrong/book: book: missing BUY 1 at 99 (LIMIT 5)" in lines
    assert lines[-1] == f"{len(PASSING)} passed, 2 failed"


def test_the_order_of_trades_counts_outside_an_auction() -> None:
    swapped = case("wrong/order", SELLS, [order("BUY", 3, 20, 102)], [], [(102, 10), (101, 10)])
    assert len(cointossx.run_case(swapped).differences) == 1


def test_pairs_of_an_uncross_are_noted_and_volumes_compared() -> None:
    one = next(passing for passing in PASSING if passing["id"] == "auction/1")
    assert cointossx.run_case(one).readings == []
    pairs = {**one, "expected_trades": [{"price": 102, "qty": 12}]}
    outcome = cointossx.run_case(pairs)
    assert outcome.differences == []
    assert outcome.readings == ["pairs: 4 at 102, 6 at 102, 2 at 102 instead of 12 at 102"]
    for trades in ([{"price": 102, "qty": 11}], [{"price": 101, "qty": 12}]):
        assert cointossx.run_case({**one, "expected_trades": trades}).differences


def test_what_cannot_be_said_here_fails_with_its_reason() -> None:
    for more, word in (({"type": "PEGGED"}, "PEGGED"), ({"tif": 9}, "time in force 9")):
        unknown = case("unknown", [], [order("BUY", 1, 5, 100, **more)], [])
        assert word in cointossx.run_case(unknown).differences[0]
    action = case("unknown", [], [], [], action="DANCE")
    assert "DANCE" in cointossx.run_case(action).differences[0]


def test_fields_that_contradict_the_entry_are_read_as_entered_and_named() -> None:
    changed = order("BUY", 1, 10, 101)
    side = cointossx.run_case(case("side", SELLS, [], [changed, SELLS[1]]))
    assert side.differences == []
    assert side.readings == ["order 1: expected book says side BUY, the case entered SELL"]
    price = cointossx.run_case(case("price", SELLS, [], [order("SELL", 1, 10, 100), SELLS[1]]))
    assert (price.differences, len(price.readings)) == ([], 1)
    stop = order("SELL", 1, 10, 100, type="STOP_LIMIT", stop_price=100)
    kind = cointossx.run_case(case("type", [stop], [], [{**stop, "type": "LIMIT"}]))
    assert (kind.differences, len(kind.readings)) == ([], 1)


def test_a_quantity_is_never_read_as_entered() -> None:
    outcome = cointossx.run_case(case("quantity", SELLS, [], [order("SELL", 1, 9, 101), SELLS[1]]))
    assert len(outcome.differences) == 3
    assert "does not add up" in outcome.differences[-1]


def test_the_price_of_a_replaced_order_is_not_read_as_entered() -> None:
    given = [order("SELL", 1, 10, 103)]
    wrong = case("replaced", SELLS, given, SELLS, action="REPLACE")
    outcome = cointossx.run_case(wrong)
    assert outcome.readings == []
    assert outcome.differences


def test_a_case_that_passes_over_a_better_order_is_told_from_a_fault() -> None:
    initial = [hidden("SELL", 1, 30, 100, 30), order("BUY", 2, 10, 105)]
    over = case("over", initial, [order("BUY", 3, 30, 100)], [initial[1]], [(100, 30)])
    differences = cointossx.run_case(over).differences
    assert any("rule 2 decides otherwise: order 2 at 105" in line for line in differences)


def test_a_case_that_triggers_stops_in_another_order_is_told_from_a_fault() -> None:
    stops = [order("BUY", n, 2 * n, 90 + n, type="STOP") for n in (3, 4)]
    swapped = case(
        "stops",
        [order("SELL", 1, 5, 101), order("SELL", 2, 30, 102), *stops],
        [order("BUY", 5, 5, 101)],
        [order("SELL", 2, 16, 102)],
        [(101, 5), (102, 8), (102, 6)],
    )
    differences = cointossx.run_case(swapped).differences
    assert len(differences) == 2
    assert "rule 8.2 decides otherwise" in differences[1]
    furthest_first = {**swapped, "expected_trades": swapped["expected_trades"][:1]}
    furthest_first["expected_trades"] += [{"price": 102, "qty": 6}, {"price": 102, "qty": 8}]
    assert cointossx.run_case(furthest_first).differences == []


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = case("wrong/book", SELLS, [], [])
    assert run(tmp_path, [wrong, *PASSING], "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["passed"], result["failed"]) == (len(PASSING), 1)
    assert [c["name"] for c in result["cases"]] == ["wrong/book"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'[{"id": 1}]', b"\x1f\x8bnot gzip"])
def test_what_holds_no_cases_is_refused(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cases.json"
    path.write_bytes(data)
    assert cointossx.main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert cointossx.main([str(tmp_path / "absent.json")]) == 2


def write_folder(root: Path) -> None:
    """Two families in the source's own form, capitals mixed and a field short as there."""
    replaced, auction = root / "replaceOrder", root / "auction"
    replaced.mkdir(parents=True)
    auction.mkdir()
    head = "Side,OrderID,Type,MES,Time,Size,Price,StopPrice,TimeInForce,ExpireTime\n"
    names = "TestNumber,Description,InitialState,AggressingOrder,ExpectedState,Stock,Trades\n"
    row = "Test1_Init.csv,{},Test1_Output.csv,Test1_Stock.csv,Test1_Trades.csv\n"
    (replaced / "ReplaceOrderMaster.csv").write_text(
        names + "1,Replace a limit," + row.format("Test1_Input.csv")
    )
    (replaced / "Test1_Init.csv").write_text(head + "B,1,2,,10:00,50,100,,0,0\n")
    (replaced / "Test1_Input.csv").write_text(head + "B,1,2,,10:00,40,100,,0,0\n")
    (replaced / "Test1_output.csv").write_text(head + "B,1,2,,10:00,40,100\n")
    (replaced / "Test1_Stock.csv").write_text("StockCode,MRS,TickSize\n1,20,1\n")
    (auction / "AuctionMaster.csv").write_text(names + "1,An auction," + row.format(""))
    (auction / "Test1_Init.csv").write_text(head + "B,1,2,,08:00,5,101\nO,2,5,3,09:00,5,101\n")
    (auction / "Test1_Stock.csv").write_text("StockCode,MRS,TickSize\n1,20,1\n")
    (auction / "Test1_Trades.csv").write_text("TradeId,Price,Quantity\n1,101,5\n")
    # A stray master without tables adds no cases.
    (root / "StrayMaster.csv").write_text(names + "1,Stray," + row.format(""))


def test_the_sources_own_folder_is_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "crossing")
    auction, replaced = read_cases(tmp_path / "crossing")
    assert (auction["id"], auction["action"]) == ("auction/01", "UNCROSS_AUCTION")
    assert auction["initial_orders"][1] == {
        "side": "SELL",
        "order_id": 2,
        "type": "HIDDEN_LIMIT",
        "min_exec_size": 3,
        "qty": 5,
        "price": 101,
        "time": "09:00",
    }
    assert auction["expected_book_file_present"] is False
    assert (replaced["id"], replaced["action"]) == ("replace_order/01", "REPLACE")
    assert replaced["expected_trades_file_present"] is False
    assert replaced["expected_book"][0]["qty"] == 40
    assert cointossx.run_case(replaced).differences == []


def test_an_empty_folder_holds_no_cases(tmp_path: Path) -> None:
    with pytest.raises(BadCases):
        read_cases(tmp_path)
