"""The examples are run as users run them, against a real exchange."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.core.commands import Role
from exchange.metering.cards import INSTANT, SMOLLM2_135M
from exchange.testing import InProcessExchange
from exchange.testing.fake_worker import FakeWorker
from tests.ports import reserved_port
from tests.waiting import WITHIN_S

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
QUOTED = f"{INSTANT.name}/cpu/interactive"


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[InProcessExchange]:
    async with InProcessExchange(tmp_path, webhooks_private=True) as running:
        await running.batch_instrument(INSTANT)
        await running.paper_instrument("paper", tick_nanos=5)
        key = await running.key("seller", Role.WORKER)
        async with running.channel() as channel, FakeWorker(channel, key, slots=(2,)) as worker:
            await worker.register()
            await worker.quote(QUOTED, 1_000, 2_000)
            serving = asyncio.create_task(worker.serve("Red, ", "green, ", "blue."))
            yield running
            serving.cancel()


async def run(exchange: InProcessExchange, key: str, name: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / name), *arguments),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(EXAMPLES.parent),
            "FLOPEX_TARGET": exchange.address,
            "FLOPEX_KEY": key,
            "FLOPEX_MODEL": INSTANT.name,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, errors = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    return printed.decode()


async def test_submit_a_job(exchange: InProcessExchange) -> None:
    printed = await run(exchange, await exchange.trader("alice", paper=False), "submit_a_job.py")
    assert printed.startswith("Red, green, blue.")
    assert "paid $0.0000" in printed


async def test_async_many_jobs(exchange: InProcessExchange) -> None:
    key = await exchange.trader("alice", paper=False)
    printed = await run(exchange, key, "async_many_jobs.py", "6")
    assert printed.startswith("6 of 6 jobs settled: ")


async def test_trade_paper(exchange: InProcessExchange) -> None:
    printed = await run(exchange, await exchange.trader("bob"), "trade_paper.py", "paper")
    assert "10 orders rest around $0.0000005" in printed
    assert "immediate or cancel: CANCELED, IMMEDIATE_OR_CANCEL" in printed
    assert printed.endswith("0 orders left open\n")


async def test_watch_the_book(exchange: InProcessExchange) -> None:
    key = await exchange.trader("bob")
    printed = await run(exchange, key, "watch_the_book.py", QUOTED, "1")
    assert printed == "bid nothing | ask 1 at $0.000001/CU\n"


async def test_receive_webhooks(exchange: InProcessExchange) -> None:
    key = await exchange.trader("bob")
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}/"
        printed = await run(exchange, key, "receive_webhooks.py", url, str(port), "1")
    assert printed == "flopex.webhook.test webhooks/1 \n"


async def test_the_guides_job_on_the_market_of_the_first_steps(
    exchange: InProcessExchange, tmp_path: Path
) -> None:
    # Of the speed that it has in docs/start.md: --decode 8.
    await exchange.batch_instrument(SMOLLM2_135M, decode_millitokens_per_s=8_000)
    guide = (EXAMPLES.parent / "docs" / "guides" / "python-sdk.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (job,) = [block for block in blocks if "jobs.submit" in block]
    program = tmp_path / "job.py"
    program.write_text(job)
    key = await exchange.key("old-laptop", Role.WORKER)
    async with (
        exchange.channel() as channel,
        FakeWorker(channel, key, name="other", card=SMOLLM2_135M) as worker,
    ):
        await worker.register()
        await worker.quote(f"{SMOLLM2_135M.name}/cpu/interactive", 1_000)
        serving = asyncio.create_task(worker.serve("Red."))
        trader = await exchange.trader("alice", paper=False)
        printed = await run(exchange, trader, str(program))
        serving.cancel()
    assert "Red.\n" in printed
    assert printed.splitlines()[-1].startswith("SETTLED")


def test_every_example_is_run() -> None:
    text = Path(__file__).read_text() + (EXAMPLES.parent / "tests/sim/test_example.py").read_text()
    assert [p.name for p in EXAMPLES.glob("*.py") if f'"{p.name}"' not in text] == []
