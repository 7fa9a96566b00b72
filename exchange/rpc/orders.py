"""OrderService: explicit orders on continuous instruments."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from exchange.core.commands import Role
from exchange.core.events import OrdersCancelled
from exchange.core.exchange import Exchange
from exchange.core.open_orders import OpenOrder
from exchange.core.reasons import Reason
from exchange.engine import EngineBusy, EngineStopped, Outcome
from exchange.readmodel import queries
from exchange.readmodel.queries import NEWEST
from exchange.rpc import auth, bundles
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.calls import PromptCall
from exchange.rpc.convert import market, orders, packed, paging, past
from exchange.rpc.errors import busy, draining, invalid, refusal, slow_reader
from exchange.rpc.order_feed import BEHIND_MAX, Answer, OrderFeed, TradeStream
from exchange.rpc.pushes import Push
from exchange.rpc.services import Intent, Services
from exchange.rpc.streams import Queue
from exchange.v1 import order_service_pb2 as pb

INSTRUCTIONS_MAX: Final = 4_096
"""Instructions of one TradeRequest (the engine's GROUP_COMMANDS_MAX)."""
IN_FLIGHT_MAX: Final = 64
"""Batches of one stream that may wait for their answer; then the stream is not read."""
INSTRUCTIONS_IN_FLIGHT_MAX: Final = 16_384
"""Instructions in those batches, after which the stream is not read either: this bounds the memory
that a client can hold which sends and never reads."""
STREAMS_PER_ACCOUNT_MAX: Final = 64
"""Trade streams of one account; one more is refused with OVERLOADED."""
BUSY_WAIT_MAX_S: Final = 5.0
"""How long a batch waits for room in the engine before its stream ends with OVERLOADED."""
BUSY_RETRY_S: Final = 0.002
MESSAGE_REPORTS_MAX: Final = packed.RESPONSE_ROWS_MAX
"""Unasked reports sent in one message."""


class OrderServicer:
    """Explicit orders. Refusals are execution reports; only malformed use is an RPC error."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._feed = feed = OrderFeed(services.engine)
        services.queues["order_reports"] = Queue(feed.deepest, BEHIND_MAX)
        services.queues["order_batches"] = Queue(feed.most_in_flight, IN_FLIGHT_MAX)
        services.queues["order_instructions"] = Queue(
            feed.most_instructions_in_flight, INSTRUCTIONS_IN_FLIGHT_MAX
        )

    async def Trade(
        self, request_iterator: AsyncIterator[pb.TradeRequest], context: Context
    ) -> AsyncIterator[Encoded]:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.TRADER)
        self._services.refuse_new_work()
        if self._feed.streams_of(caller.account_id) >= STREAMS_PER_ACCOUNT_MAX:
            raise busy(f"the account has {STREAMS_PER_ACCOUNT_MAX} order streams open")
        stream = self._feed.open(caller.account_id)
        reader = _Reader(self._services, self._feed, stream, caller)
        reading = asyncio.create_task(reader.run(request_iterator))
        writer = _Writer(self._services, stream, reader, reading)
        if isinstance(context, PromptCall):
            context.offer(reader.take)
            stream.tell_now = functools.partial(writer.write_now, context)
        # The reader ends by itself, by an error, or with the stream: the writer looks each time.
        reading.add_done_callback(lambda _: stream.wake())
        try:
            with self._services.drain.calls(reading.cancel):
                responses = writer.responses()
                async with contextlib.aclosing(responses):
                    async for response in responses:
                        yield response
        finally:
            self._feed.close(stream)
            stream.tell_now = None
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await reading

    async def PlaceOrder(
        self, request: pb.PlaceOrderRequest, context: Context
    ) -> pb.PlaceOrderResponse:
        """See the service's definition."""
        placed: pb.PlaceOrderResponse = await self._services.carry_out(
            self.place(auth.caller(context), request)
        )
        return placed

    async def CancelOrder(
        self, request: pb.CancelOrderRequest, context: Context
    ) -> pb.CancelOrderResponse:
        """See the service's definition. Works while the exchange drains, too."""
        cancelled: pb.CancelOrderResponse = await self._services.carry_out(
            self.cancel(auth.caller(context), request)
        )
        return cancelled

    async def ReplaceOrder(
        self, request: pb.ReplaceOrderRequest, context: Context
    ) -> pb.ReplaceOrderResponse:
        """See the service's definition."""
        replaced: pb.ReplaceOrderResponse = await self._services.carry_out(
            self.replace(auth.caller(context), request)
        )
        return replaced

    async def CancelOrders(
        self, request: pb.CancelOrdersRequest, context: Context
    ) -> pb.CancelOrdersResponse:
        """See the service's definition. Works while the exchange drains, too."""
        caller = auth.caller(context)
        caller.require(Role.TRADER)
        command = orders.mass_cancel(caller.account_id, request.orders)
        if isinstance(command, Reason):
            raise refusal(command)
        outcome = await self._services.execute(command)
        assert isinstance(outcome.first, OrdersCancelled)
        return pb.CancelOrdersResponse(cancelled=outcome.first.orders, sequence=outcome.sequence)

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.TRADER, Role.READER)
        core = self._services.core
        order_id = request.order.order_id or core.order_by_client_id(
            caller.account_id, request.order.client_order_id
        )
        found = core.orders.get(order_id or 0)
        if found is None or found.account_id != caller.account_id:
            raise refusal(Reason.UNKNOWN_ORDER, "no open order of yours has this id")
        return pb.GetOrderResponse(order=orders.order(found))

    async def ListOrderHistory(
        self, request: pb.ListOrderHistoryRequest, context: Context
    ) -> pb.ListOrderHistoryResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.TRADER, Role.READER)
        size = paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token) or NEWEST
        answer = await self._services.ask(
            lambda database: queries.account_orders(database, caller.account_id, size + 1, before)
        )
        page, last = paging.cut(answer.found, size)
        return pb.ListOrderHistoryResponse(
            orders=[past.order(order) for order in page],
            next_page_token=paging.encode_token(last.order_id if last else 0),
            sequence=answer.sequence,
        )

    async def ListOrders(
        self, request: pb.ListOrdersRequest, context: Context
    ) -> pb.ListOrdersResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.TRADER, Role.READER)
        core = self._services.core
        wanted = 0
        if request.instrument:
            wanted = market.find_instrument(core, request.instrument).instrument_id
        first = paging.decode_token(request.page_token)
        size = paging.page_size(request.page_size)
        found: list[OpenOrder] = sorted(
            (
                order
                for order in core.open_orders_of(caller.account_id)
                if order.order_id >= first and order.is_on(wanted)
            ),
            key=lambda order: order.order_id,
        )
        following = found[size].order_id if len(found) > size else 0
        return pb.ListOrdersResponse(
            orders=[orders.order(order) for order in found[:size]],
            next_page_token=paging.encode_token(following),
        )

    def intents(self) -> Mapping[str, Callable[[auth.Caller, Any], Intent | Message]]:
        """Methods that are one command each, by their names."""
        return {"PlaceOrder": self.place, "CancelOrder": self.cancel, "ReplaceOrder": self.replace}

    def place(
        self, caller: auth.Caller, request: pb.PlaceOrderRequest
    ) -> Intent | pb.PlaceOrderResponse:
        """What PlaceOrder does; raises `RpcError` as it does."""
        caller.require(Role.TRADER)
        self._services.refuse_new_work()
        command = orders.place_order(caller.account_id, request.order)
        if isinstance(command, Reason):
            reject = orders.Reject(0, command, request.order.client_order_id, 0)
            return pb.PlaceOrderResponse(reports=[orders.rejection(reject)])
        return Intent(
            command,
            lambda outcome: pb.PlaceOrderResponse(reports=self._reports(command, outcome)),
        )

    def cancel(self, caller: auth.Caller, request: pb.CancelOrderRequest) -> Intent:
        """What CancelOrder does; raises `RpcError` as it does."""
        caller.require(Role.TRADER)
        command = orders.cancel_order(caller.account_id, request.order)
        if isinstance(command, Reason):
            raise invalid("order", "must have an order_id or a client_order_id of 16 bytes")
        return Intent(
            command,
            lambda outcome: pb.CancelOrderResponse(report=self._reports(command, outcome)[0]),
        )

    def replace(self, caller: auth.Caller, request: pb.ReplaceOrderRequest) -> Intent:
        """What ReplaceOrder does; raises `RpcError` as it does."""
        caller.require(Role.TRADER)
        self._services.refuse_new_work()
        command = orders.replace_order(caller.account_id, request.replacement)
        return Intent(
            command,
            lambda outcome: pb.ReplaceOrderResponse(reports=self._reports(command, outcome)),
        )

    def _reports(self, command: orders.OrderCommand, outcome: Outcome) -> list[pb.ExecutionReport]:
        return orders.reports_of(
            self._services.core, outcome.sequence, outcome.now_ns, command, outcome.events, 0
        )


class _Reader:
    """Takes a client's batches in, as long as not too many of them wait for their answer."""

    def __init__(
        self, services: Services, feed: OrderFeed, stream: TradeStream, caller: auth.Caller
    ) -> None:
        self._services = services
        self._feed = feed
        self._stream = stream
        self._caller = caller
        self._room = asyncio.Event()
        self._room.set()
        self._begun = False

    def answered(self, answer: Answer) -> None:
        """One batch's answer is on its way to the client."""
        self._stream.in_flight -= 1
        self._stream.instructions_in_flight -= answer.batch.size
        if not self._is_full():
            self._room.set()

    def _is_full(self) -> bool:
        stream = self._stream
        return (
            stream.in_flight >= IN_FLIGHT_MAX
            or stream.instructions_in_flight >= INSTRUCTIONS_IN_FLIGHT_MAX
        )

    def take(self, message: bytes) -> bool:
        """Take a message in as it comes, without a task; whether it was taken.

        What is out of the ordinary is left to `run`: a first message, one for which there is no
        room, and whatever is wrong with it.
        """
        if not self._begun or self._is_full():
            return False
        began_ns = time.perf_counter_ns()
        try:
            request = pb.TradeRequest.FromString(message)
            made = self._batch(request)
            self._services.engine.stats.decode_ns += time.perf_counter_ns() - began_ns
            self._feed.submit(self._stream, request.request_id, made)
        except Exception:
            return False
        if self._is_full():
            self._room.clear()
        return True

    async def run(self, requests: AsyncIterator[pb.TradeRequest]) -> None:
        """Read until the client ends its side.

        Raises:
            RpcError: malformed use, a revoked key, or too much load for too long.
        """
        async for request in requests:
            await self._room.wait()  # `take` may have filled it meanwhile
            made = self._batch(request)
            await self._submit(request.request_id, made)
            await self._room.wait()

    def _batch(self, request: pb.TradeRequest) -> orders.Batch:
        if self._caller.key_hash not in self._services.core.keys:
            raise auth.key_unknown()
        stream = self._stream
        instructions = request.instructions
        if request.cancel_on_disconnect:
            if self._begun:
                raise invalid("cancel_on_disconnect", "belongs into a stream's first message")
            stream.stream_id = self._feed.new_stream_id()
        rows = request.packed
        count, odd = divmod(len(rows), packed.ROW_BYTES)
        if odd or (rows and instructions):
            raise invalid("packed", f"must be whole rows of {packed.ROW_BYTES} bytes, alone")
        least = 0 if request.cancel_on_disconnect else 1
        if not least <= count + len(instructions) <= INSTRUCTIONS_MAX:
            raise invalid("instructions", f"must hold 1 to {INSTRUCTIONS_MAX} instructions")
        if not request.request_id:
            raise invalid("request_id", "must not be 0, which marks unasked reports")
        self._begun = True
        stream.packed = bool(rows)
        stream.bundles = request.bundle_responses
        if rows:
            return packed.batch(self._caller.account_id, rows, stream.stream_id)
        return orders.batch(self._caller.account_id, instructions, stream.stream_id)

    async def _submit(self, request_id: int, made: orders.Batch) -> None:
        give_up = time.monotonic() + BUSY_WAIT_MAX_S
        while True:
            try:
                self._feed.submit(self._stream, request_id, made)
                break
            except EngineBusy as error:
                # Not reading on pushes back on the client, which is better than cutting it off.
                if time.monotonic() > give_up:
                    raise busy(str(error)) from error
                await asyncio.sleep(BUSY_RETRY_S)
            except EngineStopped as error:
                raise draining() from error
        if self._is_full():
            self._room.clear()


class Encoded(NamedTuple):
    """A response that was made as bytes."""

    message: bytes

    def SerializeToString(self) -> bytes:
        """See protobuf's `Message`."""
        return self.message


class _Writer:
    """Tells a client what became of its batches, and what others did to its orders."""

    def __init__(
        self,
        services: Services,
        stream: TradeStream,
        reader: _Reader,
        reading: asyncio.Task[None],
    ) -> None:
        self._services = services
        self._stream = stream
        self._reader = reader
        self._reading = reading
        self._ready: deque[tuple[bytes, Answer | None]] = deque()
        self._failure: Exception | None = None

    def write_now(self, call: PromptCall) -> bool:
        """Tell what waits without the task that runs `responses`, which waits; whether all is done.

        Where it is not, the task must be woken: there is no room, or it has the last word.
        """
        self._make_ready()
        try:
            while self._ready:
                message, count = self._next()
                if not call.write_now(message):
                    return False
                self._sent(count)
        except Exception as error:
            self._failure = error  # of this stream alone: its task raises it
        return self._failure is None and not self._stream and not self._reading.done()

    async def responses(self) -> AsyncGenerator[Encoded, None]:
        """All responses to the end of the stream; raises what ends it otherwise."""
        stream, reading = self._stream, self._reading
        while True:
            self._make_ready()
            while self._ready:
                message, count = self._next()
                yield Encoded(message)
                self._sent(count)
            if self._failure is not None:
                raise self._failure
            if stream:
                continue
            if stream.overflowed:
                raise slow_reader(
                    "this stream's reports were read too slowly; list the open orders and go on",
                    {"last_sequence": stream.last_sequence},
                )
            if stream.failure is not None:
                raise draining() from stream.failure
            if reading.done() and not stream.in_flight:
                if self._services.drain.active:
                    raise draining()
                reading.result()  # raises what the reader raised
                return
            await stream.wait()

    def _next(self) -> tuple[bytes, int]:
        """The next message, and how many of the responses that are ready are in it."""
        if self._stream.bundles:
            return bundles.bundle(response for response, _ in self._ready)
        return self._ready[0][0], 1

    def _sent(self, count: int) -> None:
        """So many responses are on their way."""
        for _ in range(count):
            _, answer = self._ready.popleft()
            if answer is not None:
                self._reader.answered(answer)

    def _make_ready(self) -> None:
        """Make responses of what waits in the mailbox, up to one that cannot be made."""
        if self._failure is not None:
            return  # Nothing may follow what could not be said.
        stream = self._stream
        try:
            for item in _runs(stream.take(MESSAGE_REPORTS_MAX)):
                if isinstance(item, Answer):
                    response = _answer(self._services.core, stream, item)
                    self._ready.append((response.SerializeToString(), item))
                else:
                    for response in unasked(stream, item):
                        self._ready.append((response.SerializeToString(), None))
        except Exception as error:
            self._failure = error  # of this stream alone, so for its task to raise


def _answer(core: Exchange, stream: TradeStream, answer: Answer) -> pb.TradeResponse | Encoded:
    request_id, made, outcomes = answer
    if made.packed:
        return Encoded(packed.answer(core, request_id, stream.account_id, made, outcomes))
    return orders.answer(core, request_id, made, outcomes)


def _runs(items: list[Answer | Push]) -> list[Answer | list[Push]]:
    """Neighbouring pushes become one message."""
    runs: list[Answer | list[Push]] = []
    for item in items:
        if isinstance(item, Answer):
            runs.append(item)
        elif runs and isinstance(runs[-1], list):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def unasked(stream: TradeStream, pushes: list[Push]) -> Iterable[pb.TradeResponse | Encoded]:
    """Reports of what others did, in messages of bounded size."""
    if stream.packed:
        return map(Encoded, packed.unasked(stream.account_id, pushes))
    return _unasked_messages(stream.account_id, pushes)


def _unasked_messages(account_id: int, pushes: list[Push]) -> Iterator[pb.TradeResponse]:
    told = [(push, event) for push in pushes for event in push.events]
    for first in range(0, len(told), MESSAGE_REPORTS_MAX):
        part = told[first : first + MESSAGE_REPORTS_MAX]
        response = pb.TradeResponse(request_id=0, sequence=part[-1][0].sequence)
        for push, event in part:
            report = orders.report_to(account_id, event)
            if report is not None:
                report.sequence = push.sequence
                report.event_time_ns = push.now_ns
                response.reports.append(report)
        if response.reports:
            yield response
