"""One delivery: a POST that is signed, short, follows nothing and reads nothing back."""

from __future__ import annotations

import errno
import socket
import time
from http import HTTPStatus
from typing import Final, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from exchange.webhooks import signing
from exchange.webhooks.errors import TargetRefused
from exchange.webhooks.events import CONTENT_TYPE, Event
from exchange.webhooks.store import Webhook
from exchange.webhooks.targets import check_url, is_public

WITHIN_S: Final = 10
"""An endpoint must have answered by then, connecting included."""
STATUS_CHARS_MAX: Final = 200


class Answer(NamedTuple):
    """How it went.

    Attributes:
        taken: Whether the endpoint has it.
        gone: Whether it wants no more, ever (410).
        status: "200", or what was wrong.
    """

    taken: bool
    gone: bool
    status: str


class Sender:
    """Tells endpoints; use as a context.

    Args:
        allow_private: The operator lets webhooks lead anywhere, by http, too.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            # `exchange.webhooks.deliveries` bounds them: who waits here for others is late.
            limit=0,
            resolver=None if self._allow_private else PublicResolver(),
            # An address that was judged is used at once, and the name asked for again next time.
            use_dns_cache=False,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=WITHIN_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "flopex-webhooks"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, webhook: Webhook, event: Event) -> Answer:
        """Tell one endpoint one event, once."""
        headers = signing.headers(webhook.secret, event.event_id, int(time.time()), event.body)
        try:
            url = check_url(webhook.url, allow_private=self._allow_private)
            async with self._session.post(
                url,
                data=event.body,
                headers={**headers, "Content-Type": CONTENT_TYPE},
                allow_redirects=False,
            ) as response:
                status = response.status
                # What it says is not for us: it is not read, and its connection closed.
                response.close()
        except TimeoutError:
            return Answer(taken=False, gone=False, status=f"no answer within {WITHIN_S} s")
        except (aiohttp.ClientError, OSError, TargetRefused, ValueError) as error:
            # On one line, as it stands in lists.
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return Answer(taken=False, gone=False, status=text[:STATUS_CHARS_MAX])
        return Answer(
            taken=HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES,
            gone=status == HTTPStatus.GONE,
            status=str(status),
        )


class PublicResolver(AbstractResolver):
    """Finds the public addresses of a name; where it has none, there is no such name."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See aiohttp.

        Raises:
            OSError: The name has no public address.
        """
        found = await self._resolver.resolve(host, port, family)
        public = [address for address in found if is_public(address["host"])]
        if not public:
            raise OSError(errno.EHOSTUNREACH, f"{host} has no public address")
        return public

    async def close(self) -> None:
        """See aiohttp."""
        await self._resolver.close()
