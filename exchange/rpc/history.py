"""The latest trades, as they happen: a reader of the event feed, in memory.

It is what `WatchTrades` and the page show before the read model has caught up. At each start it is
filled by what is replayed of the journal (`on_group` is given to `Engine.open`, and subscribed
afterwards), and with what came before that by the read model (`fill`). What lies further back is
in `exchange.readmodel`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from exchange.core.event_rows import event_of
from exchange.core.events import LeaseOffered, OrderFilled
from exchange.core.notable import trades_in
from exchange.engine import Group
from exchange.rpc.streams import Mailbox

RECENT_TRADES_MAX: Final = 1_000
"""Trades remembered per instrument, and over all of them."""
TRADES_BEHIND_MAX: Final = 10_000
"""Trades that a watcher may be behind before it is cut off."""


class TradeRecord(NamedTuple):
    """A fill on a continuous book, or a lease granted by a batch (`taker_side` 0).

    Attributes:
        trade_id: Of the trade, or of the lease.
        price_nanos: Nano-dollars per CU.
        quantity_mflop: MFLOP.
        event_time_ns: Journal time, nanoseconds since the epoch.
        sequence: Journal sequence of the command that caused it.
    """

    instrument_id: int
    trade_id: int
    price_nanos: int
    quantity_mflop: int
    event_time_ns: int
    taker_side: int
    sequence: int


_Traded = tuple[bytes | LeaseOffered, int, int]
"""A fill's row, or a lease; the command's sequence; and when: a record for who asks."""


class TradeWatcher(Mailbox[TradeRecord]):
    """A reader of trades. `instrument_id` 0 wants all."""

    def __init__(self, instrument_id: int) -> None:
        super().__init__(TRADES_BEHIND_MAX)
        self.instrument_id = instrument_id


class History:
    """Recent trades, and those who watch them."""

    def __init__(self) -> None:
        self._all_trades: deque[_Traded | TradeRecord] = deque(maxlen=RECENT_TRADES_MAX)
        self._trades: dict[int, deque[_Traded | TradeRecord]] = {}
        self._watchers: dict[TradeWatcher, None] = {}  # told in order of arrival

    def on_group(self, group: Group) -> None:
        """Take in one durable group. O(events)."""
        happened = trades_in(group.outcomes.events)
        if not happened:
            return
        first_sequence, now_ns = group.first_sequence, group.now_ns
        trades_of, traded = self._trades, []
        for place, instrument_id, what in happened:
            trade = what, first_sequence + place, now_ns
            traded.append(trade)
            try:
                trades_of[instrument_id].append(trade)
            except KeyError:
                trades_of[instrument_id] = deque((trade,), maxlen=RECENT_TRADES_MAX)
        self._all_trades.extend(traded)
        if self._watchers:
            self._tell([_record(trade) for trade in traded])

    def trades(self, instrument_id: int, count: int) -> list[TradeRecord]:
        """The last trades, oldest first.

        Args:
            instrument_id: 0 for all.
            count: At most this many.
        """
        found = self._trades.get(instrument_id, ()) if instrument_id else self._all_trades
        return [_record(trade) for trade in list(found)[-count:]] if count else []

    def fill(self, instrument_id: int, earlier: Sequence[TradeRecord]) -> None:
        """Put trades before those that are here.

        Args:
            instrument_id: Whose they are; 0 for all instruments'.
            earlier: Oldest first; all of them before the first one here.
        """
        here = self._trades.get(instrument_id, ()) if instrument_id else self._all_trades
        filled = deque((*earlier, *here), maxlen=RECENT_TRADES_MAX)
        if instrument_id:
            self._trades[instrument_id] = filled
        else:
            self._all_trades = filled

    def watch_trades(self, instrument_id: int) -> TradeWatcher:
        """Collect trades from now on; give the watcher back with `unwatch`."""
        watcher = TradeWatcher(instrument_id)
        self._watchers[watcher] = None
        return watcher

    def deepest(self) -> int:
        """What the watcher has not taken who is furthest behind. O(watchers)."""
        return max(map(len, self._watchers), default=0)

    def unwatch(self, watcher: TradeWatcher) -> None:
        """The watcher is not read any more."""
        self._watchers.pop(watcher, None)

    def _tell(self, trades: list[TradeRecord]) -> None:
        for trade in trades:
            for watcher in self._watchers:
                if watcher.instrument_id in (0, trade.instrument_id):
                    watcher.put(trade)


def _record(trade: _Traded | TradeRecord) -> TradeRecord:
    if isinstance(trade, TradeRecord):
        return trade
    what, sequence, now_ns = trade
    event = event_of(what) if isinstance(what, bytes) else what
    if isinstance(event, OrderFilled):
        trade_id, taker_side = event.trade_id, event.taker_side
    else:
        assert isinstance(event, LeaseOffered)
        trade_id, taker_side = event.lease_id, 0
    return TradeRecord(
        event.instrument_id,
        trade_id,
        event.price_nanos,
        event.quantity_mflop,
        now_ns,
        taker_side,
        sequence,
    )
