"""Explicit orders on continuous instruments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Unpack

from exchange.client.connection import PAGE_SIZE, Connection
from exchange.client.enums import Side
from exchange.client.instruments import InstrumentLike, Instruments, LegTerms
from exchange.client.order_stream import AsyncOrderStream
from exchange.client.order_types import (
    Order,
    OrderResult,
    OrderTerms,
    PastOrder,
    multi_leg_order,
    new_order,
    order_from,
    order_reference,
    order_replacement,
    order_selection,
    past_order_from,
    report_from,
    result_from,
)
from exchange.v1 import order_service_pb2 as pb
from exchange.v1.order_service_pb2_grpc import OrderServiceStub


class AsyncOrders:
    """Orders of the caller's account. Reached as `client.orders`.

    A refused order is no exception: its `OrderResult` says so. For more than a few orders use
    `stream`, which is many times cheaper for both sides.
    """

    def __init__(self, connection: Connection, instruments: Instruments) -> None:
        self._connection = connection
        self._instruments = instruments

    async def place(
        self,
        instrument: InstrumentLike,
        side: Side,
        price: int | str,
        quantity: int | str,
        *,
        timeout_s: float | None = None,
        **terms: Unpack[OrderTerms],
    ) -> OrderResult:
        """Place an order; returns once it is durable. Safe to repeat with the same client_order_id.

        Args:
            instrument: Its name, its id, or the instrument.
            side: Side.BID or Side.ASK.
            price: Limit price, "$0.0004/CU" or nano-dollars per CU; ignored for market orders.
            quantity: "250 CU" or MFLOP.
            timeout_s: Seconds.
            terms: See `OrderTerms`.

        Raises:
            NotFound: no instrument has this name.
            CallFailed: whether it was placed is unknown; place it again with the same id to learn.
            ValueError: an amount cannot be read.
        """
        instrument_id = await self._instruments.id_of(instrument, timeout_s)
        return await self._place(new_order(instrument_id, side, price, quantity, terms), timeout_s)

    async def _place(self, order: pb.NewOrder, timeout_s: float | None) -> OrderResult:
        stub = self._connection.stub(OrderServiceStub)
        request = pb.PlaceOrderRequest(order=order)
        answer = await self._connection.call(stub.PlaceOrder, request, timeout_s=timeout_s)
        reports = [report_from(r) for r in answer.reports]
        return result_from(reports, order.client_order_id)

    async def place_legs(
        self,
        legs: Iterable[LegTerms],
        *,
        timeout_s: float | None = None,
        **terms: Unpack[OrderTerms],
    ) -> OrderResult:
        """Place a multi-leg bid: at most one leg fills, whole, and then the others are gone.

        Args:
            legs: (instrument, limit price, quantity) of each, 1 to 16 of different instruments.
            timeout_s: Seconds.
            terms: See `OrderTerms`.

        Raises:
            NotFound: no instrument has this name.
            CallFailed: whether it was placed is unknown; place it again with the same id to learn.
            ValueError: an amount cannot be read.
        """
        known = [(await self._instruments.id_of(i, timeout_s), p, q) for i, p, q in legs]
        return await self._place(multi_leg_order(known, terms), timeout_s)

    async def cancel(
        self, *, order_id: int = 0, client_order_id: bytes = b"", timeout_s: float | None = None
    ) -> OrderResult:
        """Cancel an order; what was filled stays filled.

        An order that is not open any more gives a rejected result with the reason UNKNOWN_ORDER;
        so does a cancel that was carried out, whose answer was lost, and that was sent again.

        Args:
            order_id: The exchange's id; or
            client_order_id: the client's.
            timeout_s: Seconds.

        Raises:
            ValueError: not exactly one of the two was given.
        """
        stub = self._connection.stub(OrderServiceStub)
        request = pb.CancelOrderRequest(order=order_reference(order_id, client_order_id))
        answer = await self._connection.call(stub.CancelOrder, request, timeout_s=timeout_s)
        return result_from([report_from(answer.report)], client_order_id)

    async def replace(
        self,
        order_id: int,
        price: int | str,
        quantity: int | str,
        *,
        stop_price: int | str = 0,
        timeout_s: float | None = None,
    ) -> OrderResult:
        """Change an open order's price or total quantity.

        A smaller quantity at the same price keeps the order's priority; anything else loses it.

        Args:
            order_id: The exchange's id.
            price: New price, "$0.0004/CU" or nano-dollars per CU.
            quantity: New total quantity, "250 CU" or MFLOP; what is filled counts towards it.
            stop_price: New stop price of a stop order that still waits; 0 leaves it as it is.
            timeout_s: Seconds.
        """
        stub = self._connection.stub(OrderServiceStub)
        replacement = order_replacement(order_id, price, quantity, stop_price)
        request = pb.ReplaceOrderRequest(replacement=replacement)
        answer = await self._connection.call(stub.ReplaceOrder, request, timeout_s=timeout_s)
        return result_from([report_from(r) for r in answer.reports], b"", order_id)

    async def cancel_all(
        self,
        instrument: InstrumentLike = 0,
        side: Side = Side.UNSPECIFIED,
        *,
        timeout_s: float | None = None,
    ) -> int:
        """Cancel all of the account's open orders in one step; how many there were.

        Args:
            instrument: Only this one: its name, its id, or the instrument; the number 0 for all.
            side: Only this side; UNSPECIFIED for both.
            timeout_s: Seconds.

        Raises:
            NotFound: no instrument has this name; none has an empty one.
            ValueError: the instrument has no id.
        """
        instrument_id = await self._instruments.selected(instrument, timeout_s)
        stub = self._connection.stub(OrderServiceStub)
        request = pb.CancelOrdersRequest(orders=order_selection(instrument_id, side))
        answer = await self._connection.call(stub.CancelOrders, request, timeout_s=timeout_s)
        return answer.cancelled

    async def get(
        self, *, order_id: int = 0, client_order_id: bytes = b"", timeout_s: float | None = None
    ) -> Order:
        """One order, while it is open.

        Args:
            order_id: The exchange's id; or
            client_order_id: the client's.
            timeout_s: Seconds.

        Raises:
            NotFound: no open order of the caller's has this id.
            ValueError: not exactly one of the two was given.
        """
        stub = self._connection.stub(OrderServiceStub)
        request = pb.GetOrderRequest(order=order_reference(order_id, client_order_id))
        answer = await self._connection.call(stub.GetOrder, request, timeout_s=timeout_s)
        return order_from(answer.order)

    def list(self, *, instrument: str = "", limit: int | None = None) -> AsyncIterator[Order]:
        """The caller's open orders, by id; pages are fetched as they are needed.

        Args:
            instrument: Only this one, by name; empty for all.
            limit: At most this many.
        """

        async def page(token: str) -> tuple[Sequence[Order], str]:
            request = pb.ListOrdersRequest(
                instrument=instrument,
                page_size=min(limit or PAGE_SIZE, PAGE_SIZE),
                page_token=token,
            )
            stub = self._connection.stub(OrderServiceStub)
            answer = await self._connection.call(stub.ListOrders, request)
            return [order_from(o) for o in answer.orders], answer.next_page_token

        return self._connection.walk(page, limit)

    def history(self, *, limit: int | None = None) -> AsyncIterator[PastOrder]:
        """All orders that the caller ever placed, newest first, in pages as they are needed.

        Args:
            limit: At most this many.
        """

        async def page(token: str) -> tuple[Sequence[PastOrder], str]:
            request = pb.ListOrderHistoryRequest(
                page_size=min(limit or PAGE_SIZE, PAGE_SIZE), page_token=token
            )
            stub = self._connection.stub(OrderServiceStub)
            answer = await self._connection.call(stub.ListOrderHistory, request)
            return [past_order_from(o) for o in answer.orders], answer.next_page_token

        return self._connection.walk(page, limit)

    async def stream(self, *, cancel_on_disconnect: bool = False) -> AsyncOrderStream:
        """Open an order stream, which batches by itself; use it with `async with`.

        Reads the instruments first, so that orders can be placed by name without waiting.

        Args:
            cancel_on_disconnect: Whether the exchange cancels the orders that were placed on this
                stream when it ends, or when its connection breaks.

        Example:
            async with await client.orders.stream() as stream:
                placed = [stream.place("paper", Side.BID, 100 + i, 10) for i in range(1_000)]
                results = await asyncio.gather(*placed)
        """
        await self._instruments.load()
        stream = AsyncOrderStream(self._connection, self._instruments, cancel_on_disconnect)
        stream.start()
        return stream
