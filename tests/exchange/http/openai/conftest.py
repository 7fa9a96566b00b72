"""One exchange with one worker for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.openai.clients import openai_client
from tests.exchange.http.site import Site, open_site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("site"), within_s=None) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(site: Site) -> AsyncIterator[FakeWorker]:
    async with site.worker(4) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(site: Site) -> AsyncIterator[AsyncOpenAI]:
    async with openai_client(site) as found:
        yield found
