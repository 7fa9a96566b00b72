"""The blocking client: the asynchronous one on a thread of its own.

Each method here is made from the asynchronous method of the same name, so the two cannot differ.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack

from exchange.client.accounts import AsyncAccounts
from exchange.client.admin import AsyncAdmin
from exchange.client.aio import TARGET_DEFAULT, AsyncClient, settings_from
from exchange.client.channel import Tls
from exchange.client.connection import TIMEOUT_DEFAULT_S
from exchange.client.enums import Side
from exchange.client.instruments import InstrumentLike, LegTerms
from exchange.client.jobs import AsyncJobs
from exchange.client.loop_thread import LoopThread
from exchange.client.market import AsyncMarket
from exchange.client.order_stream import AsyncOrderStream
from exchange.client.order_types import OrderResult, OrderTerms
from exchange.client.orders import AsyncOrders
from exchange.client.retry import RETRY_DEFAULT, RetryPolicy
from exchange.client.webhooks import AsyncAlerts, AsyncWebhooks
from exchange.client.workers import AsyncWorkers

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")


class Blocking(Generic[A]):
    """An asynchronous part of the client, and the thread on which it runs."""

    def __init__(self, thread: LoopThread, part: A) -> None:
        self._thread = thread
        self._part = part


def blocking(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Blocking[A], P], R]:
    """The blocking form of an asynchronous method."""

    @functools.wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._thread.run(method(self._part, *args, **kwargs))

    return call


def iterating(
    method: Callable[Concatenate[A, P], AsyncIterator[R]],
) -> Callable[Concatenate[Blocking[A], P], Iterator[R]]:
    """The blocking form of a method that gives an asynchronous iterator."""

    @functools.wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return self._thread.iterate(method(self._part, *args, **kwargs))

    return call


class Jobs(Blocking[AsyncJobs]):
    """Jobs of the caller's account. Reached as `client.jobs`."""

    submit = blocking(AsyncJobs.submit)
    run = blocking(AsyncJobs.run)
    follow = blocking(AsyncJobs.follow)
    watch = iterating(AsyncJobs.watch)
    cancel = blocking(AsyncJobs.cancel)
    get = blocking(AsyncJobs.get)
    output = blocking(AsyncJobs.output)
    explain = blocking(AsyncJobs.explain)
    list = iterating(AsyncJobs.list)


class Market(Blocking[AsyncMarket]):
    """Public market data. Reached as `client.market`."""

    instruments = blocking(AsyncMarket.instruments)
    instrument = blocking(AsyncMarket.instrument)
    book = blocking(AsyncMarket.book)
    watch_book = iterating(AsyncMarket.watch_book)
    watch_best_prices = iterating(AsyncMarket.watch_best_prices)
    watch_orders = iterating(AsyncMarket.watch_orders)
    watch_trades = iterating(AsyncMarket.watch_trades)
    trades = iterating(AsyncMarket.trades)
    best_prices = iterating(AsyncMarket.best_prices)
    candles = blocking(AsyncMarket.candles)
    hourly_index = blocking(AsyncMarket.hourly_index)
    explain_order = blocking(AsyncMarket.explain_order)


class Accounts(Blocking[AsyncAccounts]):
    """The caller's account. Reached as `client.account`."""

    get = blocking(AsyncAccounts.get)
    ledger = iterating(AsyncAccounts.ledger)
    receipt = blocking(AsyncAccounts.receipt)
    keys = blocking(AsyncAccounts.keys)


class Admin(Blocking[AsyncAdmin]):
    """What only the operator may do. Reached as `client.admin`."""

    create_account = blocking(AsyncAdmin.create_account)
    create_key = blocking(AsyncAdmin.create_key)
    revoke_key = blocking(AsyncAdmin.revoke_key)
    deposit = blocking(AsyncAdmin.deposit)
    withdraw = blocking(AsyncAdmin.withdraw)
    create_model = blocking(AsyncAdmin.create_model)
    create_instrument = blocking(AsyncAdmin.create_instrument)
    set_instrument_state = blocking(AsyncAdmin.set_instrument_state)
    set_protections = blocking(AsyncAdmin.set_protections)
    set_account_halted = blocking(AsyncAdmin.set_account_halted)
    set_account_limits = blocking(AsyncAdmin.set_account_limits)
    set_worker = blocking(AsyncAdmin.set_worker)
    accounts = blocking(AsyncAdmin.accounts)
    invariants = blocking(AsyncAdmin.invariants)
    export_ledger = iterating(AsyncAdmin.export_ledger)


class Workers(Blocking[AsyncWorkers]):
    """The caller's workers. Reached as `client.workers`."""

    list = blocking(AsyncWorkers.list)
    pause = blocking(AsyncWorkers.pause)
    resume = blocking(AsyncWorkers.resume)
    drain = blocking(AsyncWorkers.drain)
    explain = blocking(AsyncWorkers.explain)


class Webhooks(Blocking[AsyncWebhooks]):
    """URLs that are called when the account's jobs end. Reached as `client.webhooks`."""

    add = blocking(AsyncWebhooks.add)
    list = blocking(AsyncWebhooks.list)
    remove = blocking(AsyncWebhooks.remove)
    test = blocking(AsyncWebhooks.test)


class Alerts(Blocking[AsyncAlerts]):
    """Prices that the account wants to be told of. Reached as `client.alerts`."""

    add = blocking(AsyncAlerts.add)
    list = blocking(AsyncAlerts.list)
    remove = blocking(AsyncAlerts.remove)


class OrderStream(Blocking[AsyncOrderStream]):
    """Places, cancels and replaces without waiting; see `AsyncOrderStream`.

    Any thread may use it. Use it in a `with` block, or close it.
    """

    room = blocking(AsyncOrderStream.room)
    flush = blocking(AsyncOrderStream.flush)
    reports = iterating(AsyncOrderStream.reports)
    close = blocking(AsyncOrderStream.close)

    def place(
        self,
        instrument: InstrumentLike,
        side: Side,
        price: int | str,
        quantity: int | str,
        **terms: Unpack[OrderTerms],
    ) -> concurrent.futures.Future[OrderResult]:
        """Place an order; what `AsyncOrderStream.place` raises comes out of the future."""
        return self._hand_over(lambda: self._part.place(instrument, side, price, quantity, **terms))

    def place_legs(
        self, legs: Iterable[LegTerms], **terms: Unpack[OrderTerms]
    ) -> concurrent.futures.Future[OrderResult]:
        """Place a multi-leg bid."""
        return self._hand_over(lambda: self._part.place_legs(legs, **terms))

    def cancel(
        self, *, order_id: int = 0, client_order_id: bytes = b""
    ) -> concurrent.futures.Future[OrderResult]:
        """Cancel an order by either id."""
        return self._hand_over(
            lambda: self._part.cancel(order_id=order_id, client_order_id=client_order_id)
        )

    def replace(
        self, order_id: int, price: int | str, quantity: int | str, *, stop_price: int | str = 0
    ) -> concurrent.futures.Future[OrderResult]:
        """Change an open order's price or total quantity."""
        return self._hand_over(
            lambda: self._part.replace(order_id, price, quantity, stop_price=stop_price)
        )

    def cancel_all(
        self, instrument: InstrumentLike = 0, side: Side = Side.UNSPECIFIED
    ) -> concurrent.futures.Future[OrderResult]:
        """Cancel all of the account's open orders, of one instrument or side if given."""
        return self._hand_over(lambda: self._part.cancel_all(instrument, side))

    def _hand_over(self, give: Callable[[], Any]) -> concurrent.futures.Future[OrderResult]:
        async def wait() -> OrderResult:
            result: OrderResult = await give()
            return result

        return self._thread.start(wait())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(wait=error is None)


class Orders(Blocking[AsyncOrders]):
    """Orders of the caller's account. Reached as `client.orders`."""

    place = blocking(AsyncOrders.place)
    place_legs = blocking(AsyncOrders.place_legs)
    cancel = blocking(AsyncOrders.cancel)
    cancel_all = blocking(AsyncOrders.cancel_all)
    replace = blocking(AsyncOrders.replace)
    get = blocking(AsyncOrders.get)
    list = iterating(AsyncOrders.list)
    history = iterating(AsyncOrders.history)

    def stream(self, *, cancel_on_disconnect: bool = False) -> OrderStream:
        """Open an order stream, which batches by itself; use it with `with`.

        Args:
            cancel_on_disconnect: Whether the exchange cancels the orders that were placed on this
                stream when it ends, or when its connection breaks.
        """
        opening = self._part.stream(cancel_on_disconnect=cancel_on_disconnect)
        return OrderStream(self._thread, self._thread.run(opening))


class Client:
    """A client of an exchange for programs that wait for each answer.

    Any thread may use it. It dials when it is first used, and does not survive a fork: make one in
    each process. Everything that `AsyncClient` does is here under the same name.

    Example:
        with Client("127.0.0.1:7411", key) as client:
            answer = client.jobs.run("Name a colour.", model="smollm2-135m", value="$0.002")
            print(answer, answer.bill)

    Args:
        target: host:port of the exchange.
        key: API key, flx_...; white space around it, as the line end of a key file, is dropped.
        timeout_s: Seconds that each unary call gets, all its tries together.
        tls: True to encrypt and trust the system's authorities, or a `Tls`.
        retry: When to try again by itself.

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
    ) -> None:
        self._client = AsyncClient(target, key, timeout_s=timeout_s, tls=tls, retry=retry)
        self._thread = LoopThread()
        self.jobs = Jobs(self._thread, self._client.jobs)
        self.orders = Orders(self._thread, self._client.orders)
        self.market = Market(self._thread, self._client.market)
        self.account = Accounts(self._thread, self._client.account)
        self.admin = Admin(self._thread, self._client.admin)
        self.workers = Workers(self._thread, self._client.workers)
        self.webhooks = Webhooks(self._thread, self._client.webhooks)
        self.alerts = Alerts(self._thread, self._client.alerts)

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """A client for what the environment names; see `AsyncClient.from_env`.

        Raises:
            ValueError: FLOPEX_KEY is not set.
        """
        return cls(**(settings_from(os.environ) | settings))

    @property
    def target(self) -> str:
        """host:port of the exchange."""
        return self._client.target

    def close(self) -> None:
        """End every call that is under way, the connection and the thread."""
        if not self._thread.closed:
            self._thread.run(self._client.close())
            self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"
