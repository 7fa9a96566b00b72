"""The exchange that `flopex bench fanout` measures, as a process of its own, with an order flow.

Prints one JSON line when it is ready, answers each line of standard input with its CPU time and
what it counted, and ends when standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from exchange.core.commands import OrderType, PlaceOrder
from exchange.engine import SystemClock
from exchange.server.server import GC_THRESHOLDS
from exchange.testing import InProcessExchange
from flopex.logs import LogLevel, configure_logs
from matching.types import SelfTradePrevention, Side, TimeInForce

INSTRUMENT: Final = "paper/fanout"
LEVELS: Final = 50
"""Price levels on which the orders come, each on another than the one before."""


async def _flow(exchange: InProcessExchange, instrument_id: int, per_s: float) -> None:
    """One order after the other, each a change of the book that all watch."""
    account_id = exchange.core.account_by_name["watcher"]
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in itertools.count():
        await asyncio.sleep(began + number / per_s - loop.time())
        await exchange.submit(
            PlaceOrder(
                account_id=account_id,
                client_order_id=exchange.id(),
                instrument_id=instrument_id,
                side=Side.BID,
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.GTC,
                self_trade=SelfTradePrevention.CANCEL_NEWEST,
                price_nanos=1_000 + number % LEVELS,
                quantity_mflop=1,
                expire_time_ns=0,
                max_cost_nanos=0,
            )
        )


async def _serve(directory: Path, per_s: float) -> None:
    gc.set_threshold(*GC_THRESHOLDS)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with InProcessExchange(directory, SystemClock(), http=True, gateway=False) as exchange:
        instrument_id = await exchange.paper_instrument(INSTRUMENT)
        # Two accounts: each may have so many calls open.
        keys = [await exchange.trader(name) for name in ("watcher", "slow-watcher")]
        print(json.dumps({"http": exchange.http_address, "keys": keys}), flush=True)
        flow = asyncio.create_task(_flow(exchange, instrument_id, per_s))
        while await lines.readline():
            answer: dict[str, Any] = {"cpu_s": time.process_time()}
            print(json.dumps(answer), flush=True)
        flow.cancel()


def main() -> None:
    """`python -m flopex.bench.fanout_server DIRECTORY ORDERS_PER_S`."""
    configure_logs(LogLevel.WARNING, as_json=False)
    directory, per_s = sys.argv[1:]
    asyncio.run(_serve(Path(directory), float(per_s)))


if __name__ == "__main__":
    main()
