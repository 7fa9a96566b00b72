"""An endpoint as an account would write one: it checks signatures and keeps what it was told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from exchange.core.commands import CancelJob
from exchange.testing import InProcessExchange
from tests.exchange.http.site import Site
from tests.waiting import WITHIN_S


class Endpoint:
    """Listens on this machine.

    Attributes:
        status: What it answers from now on.
        secret: Of the webhook; what is signed otherwise fails the test.
        told: Events, in the order in which they were taken.
        refused: Those that were answered with an error.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.secret = ""
        self.told: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self._news = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.told]

    async def wait(self, count: int) -> list[dict[str, Any]]:
        """Return once so many events were taken."""
        async with asyncio.timeout(WITHIN_S):
            while len(self.told) < count:
                await self.news()
        assert not self.faults
        return self.told

    async def wait_refused(self, count: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.refused) < count:
                await self.news()

    async def news(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def hear(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = json.loads(body)
        self._check(request, body, event)
        (self.told if self.status < 300 else self.refused).append(event)
        self._news.set()
        return web.Response(status=self.status, headers=self.headers)

    def _check(self, request: web.Request, body: bytes, event: dict[str, Any]) -> None:
        sent = request.headers
        signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        if sent["webhook-signature"] != f"v1,{right}":
            self.faults.append("signature")
        if abs(int(sent["webhook-timestamp"]) - time.time()) > 60:
            self.faults.append("timestamp")
        if sent["webhook-id"] != event["id"]:
            self.faults.append("id")
        if not sent["Content-Type"].startswith("application/cloudevents+json"):
            self.faults.append("content type")


@contextlib.asynccontextmanager
async def open_endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/hook", endpoint.hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        endpoint.url = f"http://{host}:{port}/hook"
        yield endpoint
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def open_exchange(directory: Path, buyer: str = "", **settings: Any) -> AsyncIterator[Site]:
    """An exchange whose webhooks may lead to this machine; with a buyer, one that goes on."""
    settings = {"webhooks_private": True, **settings}
    async with InProcessExchange(directory, http=True, **settings) as exchange:
        base = f"http://{exchange.http_address}"
        async with aiohttp.ClientSession(base) as http:
            site = Site(exchange, http)
            if not buyer:
                await site.open_market()
            else:
                site.buyer = buyer
                site.paper_id = exchange.core.instrument_by_name["paper/compute"]
            yield site


async def ask(
    site: Site, verb: str, path: str, status: int, key: str = "", **said: Any
) -> dict[str, Any]:
    """One request, with the buyer's key by default."""
    headers = {"Authorization": f"Bearer {key or site.buyer}"}
    body = said if verb == "POST" else None
    async with site.http.request(verb, path, json=body, headers=headers) as response:
        found: dict[str, Any] = await response.json()
        assert response.status == status, found
        return found


async def register(site: Site, endpoint: Endpoint, key: str = "") -> dict[str, Any]:
    """A webhook that leads to an endpoint."""
    found = await ask(site, "POST", "/v1/webhooks", 200, key, url=endpoint.url)
    endpoint.secret = found["secret"]
    made: dict[str, Any] = found["webhook"]
    return made


async def end_jobs(site: Site, count: int) -> list[str]:
    """So many jobs that are submitted and cancelled; the ids of their events."""
    core = site.exchange.core
    account_id = core.account_by_name["hidden-buyer"]
    ids = []
    for _ in range(count):
        await site.submit_job()
        job_id = core.counters.job
        await site.exchange.submit(CancelJob(account_id, job_id))
        ids.append(f"job-{job_id}-ended")
    return ids
