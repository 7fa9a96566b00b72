"""A real exchange, those who use it, and JSON to and from them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from exchange.core.commands import Role
from tests.exchange.http.site import Site, open_site

BATCH = "instant/cpu/interactive"


class Desk:
    """A site, the keys of those who use it, and JSON to and fro."""

    def __init__(self, site: Site, http: aiohttp.ClientSession, keys: dict[str, str]) -> None:
        self.site = site
        self.http = http
        self.keys = keys

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"} if who else {}

    async def ask(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        who: str = "buyer",
        headers: dict[str, str] | None = None,
        status: int = 200,
    ) -> Any:
        """The JSON that comes back, with this status."""
        sent = self.headers(who) | (headers or {})
        async with self.http.request(verb, path, json=body, headers=sent) as response:
            found = await response.json()
            assert response.status == status, found
            return found

    async def refused(self, verb: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """The error that comes back, by default with the status 400."""
        found = await self.ask(verb, path, body, **({"status": 400} | more))
        assert set(found) == {"error"}
        error: dict[str, Any] = found["error"]
        assert set(error) == {"message", "type", "code", "param"}
        return error


@contextlib.asynccontextmanager
async def open_desk(directory: Any) -> AsyncIterator[Desk]:
    async with open_site(directory, within_s=None) as site:
        exchange = site.exchange
        keys = {
            "buyer": site.buyer,
            "paper": await exchange.trader("hidden-paper-account"),
            "other": await exchange.trader("another-paper-account"),
            "seller": await exchange.key("hidden-seller", Role.WORKER),
            "operator": exchange.operator_key,
        }
        async with aiohttp.ClientSession(site.url) as http:
            yield Desk(site, http, keys)
