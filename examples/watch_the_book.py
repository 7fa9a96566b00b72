"""Watch a book: its best prices each time that they change.

FLOPEX_TARGET=127.0.0.1:7411 FLOPEX_KEY=flx_... python examples/watch_the_book.py INSTRUMENT [TIMES]
"""

import itertools
import sys

from exchange.client import Client, Level, format_price


def side(level: Level | None) -> str:
    """A side's best level for people."""
    return f"{level.quantity} at {format_price(level.price_nanos)}" if level else "nothing"


def main() -> None:
    """Watch until interrupted, or so many times."""
    with Client.from_env() as client:
        if len(sys.argv) < 2:
            names = [instrument.name for instrument in client.market.instruments()]
            sys.exit(f"name an instrument: {', '.join(names)}")
        times = int(sys.argv[2]) if len(sys.argv) > 2 else None
        # Each book is whole and has the exchange's own checksum, also after a lost connection.
        for book in itertools.islice(client.market.watch_book(sys.argv[1], depth=5), times):
            print(f"bid {side(book.best_bid)} | ask {side(book.best_ask)}", flush=True)


if __name__ == "__main__":
    main()
