"""GET /v1/overview: what everyone may see, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.core.commands import SetInstrumentState, TradingState
from exchange.http import overview
from matching.types import Side
from tests.exchange.http.site import PAPER, SECRET_PROMPT, Site, open_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


async def test_a_continuous_book_shows_its_ladder_and_its_trades(site: Site) -> None:
    await site.exchange.trader("hidden-other")
    await site.order(Side.BID, 90, 7)
    await site.order(Side.BID, 100, 5)
    await site.order(Side.ASK, 110, 2**29)
    found = await site.overview()
    book = next(i for i in found["instruments"] if i["name"] == PAPER)
    assert book["bids"] == [[100, 5, 1], [90, 7, 1]]
    assert book["asks"] == [[110, 2**29, 1]]
    assert (book["state"], book["mode"], book["settlement"]) == ("open", "continuous", "paper")
    assert (book["tick_nanos"], book["lot_mflop"], book["last_price_nanos"]) == (1, 1, 0)
    assert (found["type"], found["state"], found["trades"]) == ("overview", "open", [])
    assert found["orders_open"] == 3
    assert found["ledger_sum_nanos"] == 0
    assert found["sequence"] == found["journal_records"] == site.exchange.core.sequence


async def test_a_job_is_counted_at_each_step(site: Site) -> None:
    await site.submit_job()
    assert (await site.overview())["jobs"] == {
        "queued": 1,
        "leased": 0,
        "settled": 0,
        "unsettled": 0,
    }
    async with site.worker(2) as worker:
        offer = await worker.offer()
        found = await site.overview()
        assert found["jobs"] == {"queued": 0, "leased": 1, "settled": 0, "unsettled": 0}
        (shown,) = found["workers"]
        assert (shown["name"], shown["state"], shown["connected"]) == ("hopper", "ready", True)
        assert (shown["slots"], shown["slots_in_use"]) == ([2], [1])
        assert (shown["models"], shown["hardware"], shown["earned_nanos"]) == (["instant"], "", 0)
        assert found["workers_total"] == {"present": 1, "known": 1, "slots": 2, "slots_in_use": 1}
        (trade,) = found["trades"]
        assert (trade["trade_id"], trade["taker_side"]) == (offer.lease_id, "none")
        assert (trade["price_nanos"], trade["quantity_mflop"]) == (offer.price_nanos, 1_000)
        assert isinstance(trade["event_time_ns"], str)  # above 2^53
        await worker.run(offer, "one two three")
        found = await site.overview()
        assert found["jobs"] == {"queued": 0, "leased": 0, "settled": 1, "unsettled": 0}
        assert found["flops_settled"] == found["workers"][0]["flops_settled"] > 0
        assert found["workers"][0]["leases_settled"] == 1
        # 1,000 nano-dollars per CU, rounded up.
        assert found["workers"][0]["earned_nanos"] == 1
        await worker.leave()
    found = await site.overview()
    assert found["workers"] == []
    assert found["workers_total"] == {"present": 0, "known": 1, "slots": 0, "slots_in_use": 0}


async def test_no_account_balance_key_or_prompt_is_told(site: Site) -> None:
    await site.submit_job()
    async with site.worker(1) as worker:
        await worker.run(await worker.offer(), "the answer is forty-two")
        for path in ("/v1/overview", "/metrics"):
            text = await site.text(path)
            for secret in ("hidden", SECRET_PROMPT, "swordfish", "forty-two", "flx_", str(10**15)):
                assert secret not in text


async def test_closed_instruments_are_left_out_and_the_rest_is_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("INSTRUMENTS_MAX", "TRADES_MAX", "WORKERS_MAX"):
        monkeypatch.setattr(overview, limit, 1)
    monkeypatch.setattr(overview, "LADDER_LEVELS", 2)
    for price in (1, 2, 3):
        await site.order(Side.BID, price, 1)
    async with site.worker(1):
        found = await site.overview()
    assert found["instruments_total"] == 2
    (book,) = found["instruments"]
    assert book["bids"] == [[3, 1, 1], [2, 1, 1]]
    await site.exchange.submit(SetInstrumentState(site.paper_id, TradingState.CLOSED))
    found = await site.overview()
    assert found["instruments_total"] == 1
    assert [i["name"] for i in found["instruments"]] == ["instant/cpu/interactive"]


async def test_trades_and_workers_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site.worker(2) as worker:
        for _ in range(2):
            await site.submit_job()
        leases = [(await worker.offer()).lease_id for _ in range(2)]
        shown = [trade["trade_id"] for trade in (await site.overview())["trades"]]
        assert shown == leases
        monkeypatch.setattr(overview, "TRADES_MAX", 1)
        monkeypatch.setattr(overview, "WORKERS_MAX", 0)
        found = await site.overview()
        assert [trade["trade_id"] for trade in found["trades"]] == leases[1:]
        assert found["workers"] == []
        assert found["workers_total"]["present"] == 1


@pytest.mark.parametrize("value", [0, 1, -1, 2**53, -(2**53)])
def test_small_integers_stay_numbers(value: int) -> None:
    assert overview.number(value) == value


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 10**18])
def test_integers_that_javascript_would_round_are_strings(value: int) -> None:
    assert overview.number(value) == str(value)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (b"", ""),
        (b"not json", ""),
        (b'["a list"]', ""),
        (b'{"system": "Linux 6.1", "python": "3.12"}', ""),
        (b'{"processor": "Xeon", "gpu": "H100", "cores": "8"}', "H100 \xb7 Xeon \xb7 8 cores"),
    ],
)
def test_of_a_workers_facts_only_the_hardware_is_shown(facts: bytes, shown: str) -> None:
    assert overview.hardware(facts) == shown
