"""A stream of orders that batches by itself and survives broken connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import Final, NamedTuple, Self, Unpack

import grpc

from exchange.client import packed_orders
from exchange.client.connection import Connection, Reconnector, ended_early
from exchange.client.enums import Side
from exchange.client.errors import (
    Backpressure,
    CallFailed,
    ClientClosed,
    FlopexError,
    ServerFailed,
    SlowReader,
)
from exchange.client.instruments import InstrumentLike, Instruments, LegTerms
from exchange.client.order_types import (
    OrderEvent,
    OrderResult,
    OrderTerms,
    Reconnected,
    Report,
    accepted,
    multi_leg_order,
    new_order,
    order_reference,
    order_replacement,
    order_selection,
    result_from,
)
from exchange.v1 import order_service_pb2 as pb
from exchange.v1.order_service_pb2_grpc import OrderServiceStub

FLUSH_AT: Final = 128
"""A batch leaves as soon as so many instructions wait,"""
LINGER_S: Final = 0.001
"""or after this time, or at once where no other batch is under way."""
BATCH_MAX: Final = 1_024
"""Instructions of one message; more than FLUSH_AT wait where the exchange is the slower side."""
BATCHES_MAX: Final = 32
"""Batches under way; the exchange takes 64 of one stream."""
WAITING_MAX: Final = 65_536
"""Instructions that may wait for their answer; more raise `Backpressure`."""
REPORTS_MAX: Final = 10_000
"""Unasked reports that may wait to be read; newer ones are lost then, and the reader is told."""
CLOSE_S: Final = 10.0
"""How long `close` waits for answers."""

Call = grpc.aio.StreamStreamCall[pb.TradeRequest, pb.TradeResponse]


class Waiting(NamedTuple):
    """An instruction on its way."""

    instruction: pb.Instruction
    client_order_id: bytes
    order_id: int
    future: asyncio.Future[OrderResult]


class AsyncOrderStream:
    """Places, cancels and replaces without waiting: each returns a future of its result.

    Instructions are carried out in the order in which they were given. When the connection breaks,
    those without an answer are sent again with their own ids, so that none is carried out twice; a
    placement that had arrived gives a result with `repeated`. A cancel or replacement that had
    arrived may then be refused with UNKNOWN_ORDER.

    Opened by `client.orders.stream()`. It belongs to one event loop.
    """

    def __init__(
        self, connection: Connection, instruments: Instruments, cancel_on_disconnect: bool
    ) -> None:
        self._connection = connection
        self._cancel_on_disconnect = cancel_on_disconnect
        self._instruments = instruments
        self._buffer: deque[Waiting] = deque()
        self._under_way: dict[int, list[Waiting]] = {}
        self._waiting = 0
        self._request_ids = itertools.count(1)
        self._news = asyncio.Event()  # something to write, or room to write it
        self._answered = asyncio.Event()
        self._reports: deque[OrderEvent] = deque()
        self._report_came = asyncio.Event()
        self._reports_lost = False
        self._failure: FlopexError | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect; `client.orders.stream()` has done it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(wait=error is None)

    # ---- instructions ----

    def place(
        self,
        instrument: InstrumentLike,
        side: Side,
        price: int | str,
        quantity: int | str,
        **terms: Unpack[OrderTerms],
    ) -> asyncio.Future[OrderResult]:
        """Place an order; the arguments are those of `client.orders.place`.

        Raises:
            Backpressure: too many instructions wait for their answer; await `room()`.
            NotFound: no instrument had this name when the stream was opened.
            ClientClosed: the stream is closed; or what made it fail for good.
        """
        instrument_id = self._instruments.known_id(instrument)
        order = new_order(instrument_id, side, price, quantity, terms)
        return self._enqueue(pb.Instruction(place=order), order.client_order_id, 0)

    def place_legs(
        self, legs: Iterable[LegTerms], **terms: Unpack[OrderTerms]
    ) -> asyncio.Future[OrderResult]:
        """Place a multi-leg bid, as `client.orders.place_legs`; raises as `place`."""
        known = [(self._instruments.known_id(i), p, q) for i, p, q in legs]
        order = multi_leg_order(known, terms)
        return self._enqueue(pb.Instruction(place=order), order.client_order_id, 0)

    def cancel(
        self, *, order_id: int = 0, client_order_id: bytes = b""
    ) -> asyncio.Future[OrderResult]:
        """Cancel an order by either id; raises as `place`."""
        order = order_reference(order_id, client_order_id)
        return self._enqueue(pb.Instruction(cancel=order), client_order_id, order_id)

    def replace(
        self, order_id: int, price: int | str, quantity: int | str, *, stop_price: int | str = 0
    ) -> asyncio.Future[OrderResult]:
        """Change an open order's price or total quantity; raises as `place`."""
        terms = order_replacement(order_id, price, quantity, stop_price)
        return self._enqueue(pb.Instruction(replace=terms), b"", order_id)

    def cancel_all(
        self, instrument: InstrumentLike = 0, side: Side = Side.UNSPECIFIED
    ) -> asyncio.Future[OrderResult]:
        """Cancel all of the account's open orders, of one instrument or side if given.

        The result's `affected_orders` says how many; each end comes through `reports()`. Raises as
        `place`, and ValueError for an instrument without an id.
        """
        instrument_id = self._instruments.known_selected(instrument)
        orders = order_selection(instrument_id, side)
        return self._enqueue(pb.Instruction(mass_cancel=orders), b"", 0)

    async def room(self) -> None:
        """Return once at most half of the permitted instructions wait for their answer."""
        while self._waiting > WAITING_MAX // 2:
            await self._wait_for_answer()

    async def flush(self) -> None:
        """Return once every instruction given so far has its answer.

        Raises:
            FlopexError: the stream failed for good.
        """
        if self._failure is not None:
            raise self._failure
        while self._waiting:
            await self._wait_for_answer()

    async def reports(self) -> AsyncGenerator[OrderEvent, None]:
        """What others did to the account's orders (fills, expiries), as it happens.

        Reports that answer one's own instructions come with their results instead. Ends when the
        stream is closed. Read by one task.

        Raises:
            SlowReader: over 10,000 reports waited; newer ones are lost.
            FlopexError: the stream failed for good.
        """
        while True:
            while self._reports:
                yield self._reports.popleft()
            if self._reports_lost:
                self._reports_lost = False
                raise SlowReader(
                    grpc.StatusCode.OUT_OF_RANGE,
                    "SLOW_READER",
                    "reports were read too slowly and some are lost; list the open orders",
                )
            if self._closing:
                return
            if self._failure is not None:
                raise self._failure
            self._report_came.clear()
            await self._report_came.wait()

    async def close(self, *, wait: bool = True) -> None:
        """End the stream. A second call does nothing.

        Args:
            wait: Whether to send what waits and to take its answers first, for 10 s at most.

        Raises:
            FlopexError: instructions are left without an answer.
        """
        if self._closing:
            return
        failure: BaseException | None = None
        try:
            if wait and self._task is not None:
                async with asyncio.timeout(CLOSE_S):
                    await self.flush()
        except (FlopexError, TimeoutError) as error:
            failure = error
        finally:
            self._closing = True
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            left = self._waiting
            self._fail(ClientClosed("the order stream is closed"))
        if wait and left:
            raise ClientClosed(f"closed while {left} instructions had no answer") from failure
        if failure is not None:
            raise failure

    def _enqueue(
        self, instruction: pb.Instruction, client_order_id: bytes, order_id: int
    ) -> asyncio.Future[OrderResult]:
        if self._failure is not None:
            raise self._failure
        if self._waiting >= WAITING_MAX:
            raise Backpressure(f"{self._waiting} instructions wait for their answer")
        future = asyncio.get_running_loop().create_future()
        self._buffer.append(Waiting(instruction, client_order_id, order_id, future))
        self._waiting += 1
        self._news.set()
        return future

    async def _wait_for_answer(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._answered.clear()
        await self._answered.wait()

    # ---- the connection ----

    async def _run(self) -> None:
        """Keep a stream open until closed or failed for good."""
        reconnector = Reconnector(self._connection.retry)
        try:
            while True:
                try:
                    await self._converse(reconnector)
                except CallFailed as error:
                    await reconnector.failed(error)
                # What has no answer goes again, before what was never sent, in its old order.
                unanswered = itertools.chain.from_iterable(self._under_way.values())
                self._buffer.extendleft(reversed(list(unanswered)))
                self._under_way.clear()
                if not self._reports or not isinstance(self._reports[-1], Reconnected):
                    self._report(Reconnected())
        except FlopexError as error:
            self._fail(error)
        except Exception as error:
            self._fail(FlopexError(f"the order stream failed: {error!r}"))
            raise

    async def _converse(self, reconnector: Reconnector) -> None:
        """One stream: write batches and read answers until it breaks."""
        call: Call = self._connection.stub(OrderServiceStub).Trade()
        writing = asyncio.create_task(self._write(call))
        try:
            async with contextlib.aclosing(self._connection.messages(call)) as messages:
                async for response in messages:
                    self._take(response)
                    for following in response.following:
                        self._take(following)
                    reconnector.alive()
            raise ended_early("orders")
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, call: Call) -> None:
        # The reader learns why a stream broke; a failed write only ends the writing.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            cancel_on_disconnect = self._cancel_on_disconnect  # only the first message says it
            while True:
                await self._until_due()
                count = min(len(self._buffer), BATCH_MAX)
                batch = [self._buffer.popleft() for _ in range(count)]
                request_id = next(self._request_ids)
                self._under_way[request_id] = batch
                request = pb.TradeRequest(
                    request_id=request_id,
                    cancel_on_disconnect=cancel_on_disconnect,
                    bundle_responses=True,
                )
                packed_orders.put(request, [waiting.instruction for waiting in batch])
                await call.write(request)
                cancel_on_disconnect = False

    async def _until_due(self) -> None:
        """Return when the next batch should leave."""
        loop = asyncio.get_running_loop()
        leave_at: float | None = None
        while True:
            self._news.clear()
            count = len(self._buffer)
            if count and len(self._under_way) < BATCHES_MAX:
                if count >= FLUSH_AT:
                    return
                if not self._under_way:
                    # Nothing to wait for but what this turn of the loop still brings.
                    await asyncio.sleep(0)
                    return
                leave_at = leave_at or loop.time() + LINGER_S
                if loop.time() >= leave_at:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(leave_at):
                        await self._news.wait()
            else:
                await self._news.wait()

    def _take(self, response: pb.TradeResponse) -> None:
        """Give answers to their futures, and the rest to the readers of reports."""
        batch = self._under_way.pop(response.request_id, None)
        if batch is None:
            for _, report in packed_orders.reports_in(response):
                self._report(report)
            return
        by_index: dict[int, list[Report]] = {}
        for index, report in packed_orders.reports_in(response):
            by_index.setdefault(index, []).append(report)
        order_ids: dict[int, int] = {}
        for span in response.accepted:
            order_ids |= {span.first_index + i: span.first_order_id + i for i in range(span.count)}
        for index, waiting in enumerate(batch):
            if waiting.future.done():
                continue  # its owner cancelled the future
            reports = by_index.get(index, ())
            order_id = order_ids.get(index, waiting.order_id)
            ids = waiting.client_order_id, order_id
            if reports:
                waiting.future.set_result(result_from(reports, *ids, response.sequence))
            elif index in order_ids:
                waiting.future.set_result(
                    accepted(order_id, waiting.client_order_id, response.sequence)
                )
            else:
                _fail_one(waiting, _unanswered())
        self._waiting -= len(batch)
        self._answered.set()
        self._news.set()

    def _report(self, event: OrderEvent) -> None:
        if len(self._reports) >= REPORTS_MAX:
            self._reports_lost = True
        else:
            self._reports.append(event)
        self._report_came.set()

    def _fail(self, error: FlopexError) -> None:
        """Nothing more will be answered."""
        if self._failure is None:
            self._failure = error
        left: Iterable[Waiting] = (*itertools.chain(*self._under_way.values()), *self._buffer)
        for waiting in left:
            if not waiting.future.done():
                _fail_one(waiting, error)
        self._under_way.clear()
        self._buffer.clear()
        self._waiting = 0
        self._answered.set()
        self._report_came.set()


def _fail_one(waiting: Waiting, error: FlopexError) -> None:
    waiting.future.set_exception(error)
    # Who gave the instruction may never look; `close` and `flush` tell of the failure, too.
    waiting.future.exception()


def _unanswered() -> ServerFailed:
    message = "the answer to a batch says nothing about this instruction"
    return ServerFailed(grpc.StatusCode.INTERNAL, "", message)
