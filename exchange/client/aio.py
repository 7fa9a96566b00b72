"""The asynchronous client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import grpc

from exchange.client.accounts import AsyncAccounts
from exchange.client.admin import AsyncAdmin
from exchange.client.channel import Tls
from exchange.client.connection import TIMEOUT_DEFAULT_S, Connection
from exchange.client.instruments import Instruments
from exchange.client.jobs import AsyncJobs
from exchange.client.market import AsyncMarket
from exchange.client.orders import AsyncOrders
from exchange.client.retry import RETRY_DEFAULT, RetryPolicy
from exchange.client.webhooks import AsyncAlerts, AsyncWebhooks
from exchange.client.workers import AsyncWorkers

TARGET_DEFAULT: Final = "127.0.0.1:7411"
"""Where an exchange on this machine listens."""


class AsyncClient:
    """A client of an exchange for programs that use asyncio.

    It dials when it is first used. It belongs to the event loop that used it first, and does not
    survive a fork: make one in each process.

    Example:
        async with AsyncClient("127.0.0.1:7411", key) as client:
            answer = await client.jobs.run("Name a colour.", model="smollm2-135m", value="$0.002")
            print(answer, answer.bill)

    Args:
        target: host:port of the exchange.
        key: API key, flx_...; white space around it, as the line end of a key file, is dropped.
        timeout_s: Seconds that each unary call gets, all its tries together; each method takes its
            own, too. Streams and whole jobs are not bounded by it.
        tls: True to encrypt and trust the system's authorities, or a `Tls`.
        retry: When to try again by itself.
        channel: A ready channel instead of target, key and tls; it is not closed here.

    Attributes:
        jobs: Submit, follow and cancel jobs.
        orders: Explicit orders on continuous instruments.
        market: Instruments, books, trades.
        account: The caller's money, receipts and keys.
        admin: The operator's commands.
        workers: The caller's workers.
        webhooks: URLs that are called when the caller's jobs end.
        alerts: Prices that the caller wants to be told of.

    Raises:
        ValueError: the key holds a character that cannot be sent.
    """

    def __init__(
        self,
        target: str = TARGET_DEFAULT,
        key: str = "",
        *,
        timeout_s: float = TIMEOUT_DEFAULT_S,
        tls: Tls | bool = False,
        retry: RetryPolicy = RETRY_DEFAULT,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        self._connection = Connection(
            target, key, timeout_s=timeout_s, tls=tls, retry=retry, channel=channel
        )
        instruments = Instruments(self._connection)
        self.jobs = AsyncJobs(self._connection)
        self.orders = AsyncOrders(self._connection, instruments)
        self.market = AsyncMarket(self._connection, instruments)
        self.account = AsyncAccounts(self._connection)
        self.admin = AsyncAdmin(self._connection)
        self.workers = AsyncWorkers(self._connection)
        self.webhooks = AsyncWebhooks(self._connection)
        self.alerts = AsyncAlerts(self._connection)

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """A client for what the environment names.

        FLOPEX_TARGET is host:port, 127.0.0.1:7411 by default; FLOPEX_KEY is the API key;
        FLOPEX_TLS=1 encrypts.

        Args:
            settings: Further arguments of the class.

        Raises:
            ValueError: FLOPEX_KEY is not set.
        """
        return cls(**(settings_from(os.environ) | settings))

    @property
    def target(self) -> str:
        """host:port of the exchange."""
        return self._connection.target

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, for stubs of exchange.v1 of one's own; it adds the key to every call."""
        return self._connection.channel

    async def close(self) -> None:
        """End every call that is under way, and the connection. A second call does nothing."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"


def settings_from(environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a client that the environment gives.

    Raises:
        ValueError: FLOPEX_KEY is not set.
    """
    key = environment.get("FLOPEX_KEY", "").strip()
    if not key:
        raise ValueError("set FLOPEX_KEY to an API key (flx_...)")
    return {
        "target": environment.get("FLOPEX_TARGET") or TARGET_DEFAULT,
        "key": key,
        "tls": environment.get("FLOPEX_TLS", "") in ("1", "true", "yes"),
    }
