"""The matching bench: its workloads, its judgement of contestants, and a whole small run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from rich.console import Console

from flopex.bench.matching import liquibook, oracle, workloads
from flopex.bench.matching.contestant import FLOPEX, measure
from flopex.bench.matching.run import BenchError, Settings, run
from flopex.bench.matching.workloads import CANCEL, IOC, LIMIT, Command, Trade, Workload
from flopex.cli.bench_matching import tables

TINY = Settings(
    rounds=2, mixed=500, sweeps=1, depths=(100, 5_000), auction_orders=100, managed_bids=50
)
PROMISED = (
    "compiled",
    "flow_per_s",
    "sweep_per_s",
    "books64_per_s",
    "best_pypi_peer",
    "ratio_best_pypi",
    "ratio_liquibook",
    "bytes_per_order",
    "depth_cost_ratio",
    "depth_cost_ratio_random",
    "depth_floor",
    "auction_10k_ms",
    "managed_100k_ms",
)
"""What readers of the JSON object rely on."""


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = workloads.small(1, 2_000), workloads.small(1, 2_000)
    assert first.digest() == again.digest()
    assert first.digest() != workloads.small(2, 2_000).digest()
    # Pinned, so that figures of different days are of the same commands.
    assert first.digest()[:16] == "2d80c0a80098fe3f"
    assert workloads.flow(1, mixed=2_000, preload=200).digest()[:16] == "7c647d33822d4dbf"


def test_flow_has_its_shares() -> None:
    flow = workloads.flow(3, mixed=20_000, preload=1_000)
    assert len(flow.commands) == 21_000
    for what, share in ((LIMIT, 0.52), (CANCEL, 0.38), (IOC, 0.10)):
        mixed = sum(command.what == what for command in flow.commands[1_000:])
        assert mixed / 20_000 == pytest.approx(share, abs=0.01)


MADE = [
    workloads.small(5, 3_000),
    workloads.flow(5, mixed=2_000, preload=300),
    workloads.books64(5, mixed=2_000, preload=640),
]


@pytest.mark.parametrize("workload", MADE, ids=lambda w: w.name)
def test_the_generators_book_agrees_with_the_oracle(workload: Workload) -> None:
    assert len(workload.trades) > 20
    assert oracle.trades(workload.commands) == workload.trades


@pytest.mark.parametrize("workload", MADE, ids=lambda w: w.name)
def test_cancels_name_live_orders(workload: Workload) -> None:
    left: dict[int, int] = {}
    trades = iter([*workload.trades, Trade(0, 0, 0, 0)])
    trade = next(trades)
    for number, command in enumerate(workload.commands, 1):
        if command.what == CANCEL:
            assert left.pop(command.order_id) > 0
            continue
        assert command.order_id == number
        left[number] = command.quantity
        while trade.taker_id == number:
            for order_id in (number, trade.maker_id):
                left[order_id] -= trade.quantity
                if not left[order_id]:
                    del left[order_id]
            trade = next(trades)
        if command.what == IOC:
            left.pop(number, None)
    assert len(left) == workload.live


def test_depth_keeps_its_size_and_never_trades() -> None:
    deep = workloads.depth(1, resting=400, changes=50)
    assert (deep.live, len(deep.trades), len(deep.commands)) == (400, 0, 500)


def test_a_deep_flow_leaves_what_waits_far_away() -> None:
    deep = workloads.deep_flow(1, resting=4_000, mixed=2_000)
    assert len(deep.trades) > 100
    assert deep.preload == 4_000
    assert all(c.order_id > 4_000 for c in deep.commands if c.what == CANCEL)
    assert oracle.trades(deep.commands) == deep.trades


def test_a_file_gives_back_the_commands(tmp_path: Path) -> None:
    workload = workloads.small(1, 100)
    workloads.write(workload, tmp_path / "small.bin")
    assert workloads.read(tmp_path / "small.bin") == workload.commands
    assert workloads.read(tmp_path / "small.bin", 10) == workload.commands[:10]


def test_the_oracle_knows_time_and_price() -> None:
    commands = [
        Command(LIMIT, workloads.ASK, 0, 1, 102, 5),
        Command(LIMIT, workloads.ASK, 0, 2, 101, 5),
        Command(LIMIT, workloads.ASK, 0, 3, 101, 5),
        Command(LIMIT, workloads.ASK, 1, 4, 100, 5),
        Command(CANCEL, workloads.ASK, 0, 2, 101, 0),
        Command(IOC, workloads.BID, 0, 5, 102, 7),
    ]
    assert oracle.trades(commands) == [Trade(5, 3, 101, 5), Trade(5, 1, 102, 2)]


@pytest.mark.parametrize("workload", MADE, ids=lambda w: w.name)
def test_flopex_makes_the_right_trades(workload: Workload) -> None:
    figures = measure(FLOPEX, "rate", workload.data(), 0)
    assert figures["digest"] == workloads.trades_digest(workload.trades)
    assert figures["commands"] == len(workload.commands)


def test_what_only_flopex_is_asked() -> None:
    data = MADE[1].data()
    assert measure(FLOPEX, "market-data", data, 0)["level_changes"] > 0
    assert min(measure(FLOPEX, "rules", data, 0).values()) > 0
    assert measure(FLOPEX, "auction", b"", 200)["volume"] > 0
    assert measure(FLOPEX, "managed", b"", 50)["fills"] == 10
    assert measure(FLOPEX, "floor", b"", 300)["us"] > 0


def test_no_checkout_of_liquibook_is_said(tmp_path: Path) -> None:
    with pytest.raises(liquibook.LiquibookError, match="no checkout of liquibook"):
        liquibook.build(tmp_path, tmp_path)
    assert liquibook.revision(tmp_path) == ""


def test_a_checkout_that_does_not_compile_is_said(tmp_path: Path) -> None:
    (tmp_path / "src" / "book").mkdir(parents=True)
    (tmp_path / "src" / "book" / "depth_order_book.h").write_text("#error not this one\n")
    with pytest.raises(liquibook.LiquibookError, match=r"g\+\+"):
        liquibook.build(tmp_path, tmp_path)


LYING_PEER = """
    class Order:
        def __init__(self, order_id):
            self.order_id, self.leaves_qty = order_id, 0

    class LightMatchingEngine:
        def __init__(self):
            self.last = 0

        def add_order(self, instmt, price, qty, side):
            self.last += 1
            return Order(self.last), []

        def cancel_order(self, order_id, instmt):
            return None
"""


@pytest.fixture
def peers_python(tmp_path: Path) -> Path:
    """An interpreter that has one peer only, and that one never trades."""
    package = tmp_path / "site" / "lightmatchingengine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "lightmatchingengine.py").write_text(dedent(LYING_PEER))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={package.parent} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.integration
def test_a_run_names_the_absent_and_shames_the_wrong(peers_python: Path) -> None:
    said: list[str] = []
    settings = Settings(
        **{name: getattr(TINY, name) for name in TINY.__slots__} | {"peers": peers_python}
    )
    result = run(settings, lambda done, total, what: said.append(what))
    assert set(PROMISED) <= json.loads(json.dumps(result)).keys()
    assert "order-matching" in result["absent"]
    flopex, liar = result["contestants"][0], result["contestants"][-1]
    assert (flopex["name"], flopex["right"]) == ("flopex", True)
    assert (liar["name"], liar["right"], liar["per_s"]) == ("lightmatchingengine", False, {})
    assert result["best_pypi_peer"] is None
    assert result["ratio_best_pypi"] is None
    assert result["ratio_liquibook"] is None
    assert result["flow_per_s"] > 0
    assert result["bytes_per_order"] > 0
    assert said[-1] == "done"
    console = Console(record=True, width=200)
    console.print(tables(result))
    assert "WRONG" in console.export_text()


@pytest.mark.integration
def test_rates_on_one_workload_alone() -> None:
    settings = Settings(
        rounds=1, mixed=100, sweeps=1, depths=(100,), parts=("rates",), timed=("sweep",)
    )
    result = run(settings, lambda done, total, what: None)
    assert result["sweep_per_s"] > 0
    assert result["flow_per_s"] is result["books64_per_s"] is None
    Console(record=True, width=200).print(tables(result))


@pytest.mark.integration
def test_one_part_alone_leaves_the_others_unsaid(tmp_path: Path) -> None:
    settings = Settings(rounds=1, mixed=100, sweeps=1, depths=(100,), parts=("flopex",))
    result = run(settings, lambda done, total, what: None)
    assert set(PROMISED) <= result.keys()
    assert result["flow_per_s"] is result["depth_cost_ratio"] is result["ratio_liquibook"] is None
    assert result["auction_10k_ms"] > 0
    Console(record=True, width=200).print(tables(result))


@pytest.mark.integration
def test_a_wrong_liquibook_path_breaks_off(tmp_path: Path) -> None:
    settings = Settings(mixed=100, sweeps=1, depths=(100,), liquibook=tmp_path)
    with pytest.raises(BenchError, match="no checkout"):
        run(settings, lambda done, total, what: None)
