"""The whole path once: two processes, and a real worker with the instant engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from exchange.core.commands import Role
from tests.exchange.http.openai.clients import MODEL, chat, newest_job, openai_client
from tests.exchange.http.site import eventually, open_site
from tests.waiting import WITHIN_S
from tests.worker.scripted import make_config, running_worker
from worker.config import InstantOptions

pytestmark = pytest.mark.integration


async def test_two_processes_answer_stream_cut_and_stop(tmp_path: Path) -> None:
    async with open_site(tmp_path / "exchange", gateway=True) as site:
        key = await site.exchange.key("seller", Role.WORKER)
        config = make_config(
            site.exchange.address,
            tmp_path / "worker",
            key=key,
            slots=2,
            instant=InstantOptions(delay_s=0.005),
        )
        async with (
            running_worker(config),
            openai_client(site) as client,
            asyncio.timeout(4 * WITHIN_S),
        ):
            answer = await chat(client, max_tokens=5)
            assert answer.choices[0].message.content == "token " * 5
            assert answer.choices[0].finish_reason == "length"
            bill = answer.exchange
            assert int(bill["flops"]) > 0
            assert int(bill["paid_nanos"]) + int(bill["refunded_nanos"]) == 10_000

            # Compute for about ten tokens: the worker stops by itself, and says why.
            small: Any = {"exchange": {"value": "$0.00001", "max_compute": 20}}
            cut = await chat(client, extra_body=small)
            assert cut.exchange["stop_cause"] == "budget"
            assert int(cut.exchange["flops"]) <= 20_000_000

            stream = await client.responses.create(
                model=MODEL, input="Hi", max_output_tokens=5, stream=True, extra_body=small
            )
            assert [e.sequence_number async for e in stream] == list(range(13))

            chunks = await chat(client, stream=True, max_tokens=4_000)
            async for chunk in chunks:
                if chunk.choices[0].delta.content:
                    break
            await chunks.close()
            job = newest_job(site)
            await eventually(lambda: not job.is_open)
            assert job.state.name == "CANCELLED"
            assert 0 < job.paid_nanos < job.escrow_nanos

            assert [model.id async for model in client.models.list()] == [MODEL]
