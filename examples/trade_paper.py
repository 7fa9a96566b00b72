"""Make a market in a paper instrument for a moment, over an order stream.

FLOPEX_TARGET=127.0.0.1:7411 FLOPEX_KEY=flx_... python examples/trade_paper.py INSTRUMENT

The key must be a paper account's.
"""

import asyncio
import sys

from exchange.client import AsyncClient, Side, TimeInForce, format_compute, format_price

LEVELS = 5


async def main() -> None:
    """Place orders on both sides, look, and cancel them."""
    async with AsyncClient.from_env() as client:
        instrument = await client.market.instrument(sys.argv[1])
        tick, lot = instrument.tick_nanos, instrument.lot_mflop
        book = await client.market.book(instrument.name)
        middle = book.last_price_nanos or (instrument.price_min_nanos + 100 * tick)
        middle -= middle % tick

        async with await client.orders.stream() as stream:
            # None of these waits: they leave together in one message.
            placed = [
                stream.place(instrument, side, middle + distance * step * tick, 10 * lot)
                for side, step in ((Side.BID, -1), (Side.ASK, +1))
                for distance in range(1, LEVELS + 1)
            ]
            results = await asyncio.gather(*placed)
            for result in results:
                if result.rejected:
                    print(f"refused: {result.reason}")
            resting = [result.order_id for result in results if not result.rejected]
            print(f"{len(resting)} orders rest around {format_price(middle)}")

            # An immediate-or-cancel order below the best ask finds nothing to trade with.
            nothing = await stream.place(
                instrument, Side.BID, middle - tick, lot, time_in_force=TimeInForce.IOC
            )
            print(f"immediate or cancel: {nothing.state.name}, {nothing.reason}")

            await asyncio.gather(*(stream.cancel(order_id=order_id) for order_id in resting))

        account = await client.account.get()
        for position in account.positions:
            held = format_compute(abs(position.quantity_mflop))
            sign = "-" if position.quantity_mflop < 0 else ""
            print(f"position in instrument {position.instrument_id}: {sign}{held}")
        print(f"{account.open_orders} orders left open")


if __name__ == "__main__":
    asyncio.run(main())
