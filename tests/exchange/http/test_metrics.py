"""All metrics together: their names follow Prometheus' rules, and the pages tell of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exchange.blobs import RECORDS_MAX, STORE_BYTES_MAX
from exchange.gateway.admission import Admission
from exchange.http import bodies
from exchange.http.calls import UNREAD_MAX
from exchange.server.edges import GatewayCollector
from tests.exchange.http.site import Site, eventually, open_site
from tests.exchange.link.ends import linked

DOCS = Path(__file__).parents[3] / "docs"
NOT_OURS = ("process_", "python_", "flopex_engine_process_")
UNITS_NOT_BASE = re.compile(r"_(ns|us|ms|milliseconds|minutes|hours|kb|mb|kib|mib|percent)(_|$)")
NOT_BOUNDED = re.compile(r"account|order|job|lease|worker|client|key|user|sequence")


class Family(NamedTuple):
    """A metric as a scrape finds it; a counter's name ends as its samples' do."""

    name: str
    kind: str
    text: str
    labels: frozenset[str]


def family(found: Any) -> Family:
    name = found.name + "_total" * (found.type == "counter") + "_info" * (found.type == "info")
    labels = frozenset(label for sample in found.samples for label in sample.labels)
    return Family(name, found.type, found.documentation, labels - {"le"})


def ours(families: Iterable[Any]) -> dict[str, Family]:
    found = [family(one) for one in families]
    assert len({one.name for one in found}) == len(found), "a family is told twice"
    return {one.name: one for one in found if not one.name.startswith(NOT_OURS)}


async def queues(site: Site) -> dict[str, tuple[float, float]]:
    """How full each queue of HTTP is, and where it ends."""
    text = await site.text("/metrics")
    depth, limit = (
        dict(re.findall(rf'^flopex_http_queue_{what}{{queue="(\w+)"}} (\S+)$', text, re.MULTILINE))
        for what in ("depth", "limit")
    )
    return {name: (float(depth[name]), float(limit[name])) for name in limit}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as found:
        yield found


@pytest.fixture
async def families(site: Site) -> dict[str, Family]:
    """All of ours: of one process, and what two have beside."""
    found = list(text_string_to_metric_families(await site.text("/metrics")))
    async with linked() as (gateway, *_):
        known = {one.name for one in found}
        beside = GatewayCollector(Admission(), gateway).collect()
        return ours([*found, *(one for one in beside if one.name not in known)])


async def test_names_follow_the_rules(families: dict[str, Family]) -> None:
    assert len(families) > 60
    for name, one in families.items():
        assert re.fullmatch(r"flopex(_[a-z][a-z0-9]*)+", name), name
        assert name.endswith("_total") == (one.kind == "counter"), name
        assert not name.endswith(("_count", "_sum", "_bucket")), name
        assert not UNITS_NOT_BASE.search(name), name
        assert one.text, name
        for label in one.labels:
            assert re.fullmatch(r"[a-z]+", label), (name, label)
            assert not NOT_BOUNDED.search(label), (name, label)


async def test_the_page_tells_of_each_and_of_no_other(families: dict[str, Family]) -> None:
    table = (DOCS / "reference/http.md").read_text().split("## Metrics")[1].split("## The page")[0]
    told = {name for name in re.findall(r"`(flopex_\w+)[`{]", table) if not name.endswith("_")}
    assert told == set(families)


async def test_no_page_speaks_of_a_metric_that_is_not_there(families: dict[str, Family]) -> None:
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"\bflopex_\w+", page.read_text()):
            known = families.keys() | {f"{name}_bucket" for name in families}
            assert name in known or name.startswith(NOT_OURS), (page.name, name)


async def test_where_the_limits_are_seen(site: Site, families: dict[str, Family]) -> None:
    page = (DOCS / "reference/limits.md").read_text()
    text = await site.text("/metrics")
    here = set(re.findall(r'^flopex_queue_limit{queue="(\w+)"}', text, re.MULTILINE))
    http = set(await queues(site))
    assert set(re.findall(r"\| queue `(\w+)` \|", page)) == here
    assert set(re.findall(r"\| HTTP queue `(\w+)` \|", page)) == http
    for name in re.findall(r"`(flopex_\w+)[`{]", page):
        assert name in families, name


async def test_the_queues_of_http_are_seen_as_they_fill(site: Site) -> None:
    found = await queues(site)
    assert found["connections"][0] >= 1
    assert [*found["body_bytes"]] == [0, bodies.BODIES_BYTES_MAX]
    assert [*found["stream_messages"]] == [0, UNREAD_MAX]
    whole = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"{"
        await whole.wait()

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {site.buyer}"}
    asking = asyncio.create_task(
        site.http.post("/v1/chat/completions", data=half(), headers=headers)
    )
    edges: Any = site.exchange.server.edges
    held = edges._http._bodies
    await eventually(lambda: held.held_bytes > 0)
    assert (await queues(site))["body_bytes"][0] == 1
    whole.set()
    (await asking).close()
    assert (await queues(site))["body_bytes"][0] == 0


async def test_how_full_the_store_of_prompts_is(site: Site) -> None:
    queues = site.exchange.server.services.queues
    blobs, stored = queues["stored_blobs"], queues["stored_blob_bytes"]
    assert (blobs.limit, stored.limit) == (RECORDS_MAX, STORE_BYTES_MAX)
    assert (blobs.depth(), stored.depth()) == (0, 0)
    await site.submit_job()
    assert blobs.depth() == 1
    assert stored.depth() > 0
