"""One exchange for each module, with a seller's worker, and plain HTTP to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.rest.desk import BATCH, Desk, open_desk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("exchange")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(desk: Desk) -> AsyncIterator[FakeWorker]:
    """A worker with two slots that sells at 1,000 nano-dollars per CU."""
    async with (
        desk.site.exchange.channel() as channel,
        FakeWorker(channel, desk.keys["seller"], name="hopper", slots=(2,)) as found,
    ):
        await found.register()
        await found.quote(BATCH, 1_000, 1_000)
        yield found
