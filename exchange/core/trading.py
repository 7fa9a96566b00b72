"""When a continuous book trades: halts, call auctions, and what stops trading by itself.

A book that is opened, or opened again, always uncrosses first: in an auction orders may have come
to cross, and where none did nothing happens. See docs/reference/matching-rules-auctions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.commands import SetProtections, TradingState
from exchange.core.events import (
    AuctionCalled,
    AuctionUncrossed,
    InstrumentStateChanged,
    ProtectionsSet,
)
from exchange.core.guards import guards_for
from exchange.core.reasons import Reason
from exchange.core.timers import TimerKind
from matching import auction
from matching.events import Fill, Rejected
from matching.protection import PHASE_MAX_NS, CallPhase, CallTerms, Decision
from matching.types import BookState, Side

if TYPE_CHECKING:
    from exchange.core.instruments import Instrument
    from exchange.core.order_fills import FillDesk
    from exchange.core.state import State
    from matching.auction import Clearing
    from matching.book_legs import Step
    from matching.events import BookEvent

BOOK_STATE: Final = {
    TradingState.OPEN: BookState.OPEN,
    TradingState.HALTED: BookState.HALTED,
    TradingState.CLOSED: BookState.HALTED,
    TradingState.AUCTION: BookState.AUCTION,
}


class TradingDesk:
    """Opens and stops books, and runs their auctions."""

    def __init__(self, state: State, fills: FillDesk) -> None:
        self._state = state
        self._fills = fills

    def set_protections(self, command: SetProtections) -> Reason:
        """What keeps a book orderly from now on; a call under way goes on by its own terms."""
        instrument = self._state.instruments.get(command.instrument_id)
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        if instrument.instrument_id not in self._state.books:
            return Reason.ORDER_TYPE_UNSUPPORTED
        guards = guards_for(command, instrument.last_price_nanos)
        if isinstance(guards, Reason):
            return guards
        instrument.guards = guards if command != SetProtections(command.instrument_id) else None
        self._state.emit(ProtectionsSet(instrument.instrument_id))
        return Reason.NONE

    def set_state(self, instrument: Instrument, wanted: TradingState, call_ns: int) -> Reason:
        """What the operator says. Opening after a halt begins the re-opening call, if any."""
        if not 0 <= call_ns <= PHASE_MAX_NS or (call_ns and wanted != TradingState.AUCTION):
            return Reason.FIELD_INVALID
        guards = instrument.guards
        if wanted == TradingState.AUCTION:
            self._call(instrument, call_ns, Reason.NONE)
        elif wanted != TradingState.OPEN:
            self._fills.settle(instrument, self._move(instrument, wanted, Reason.NONE))
        elif instrument.state == TradingState.HALTED and guards and guards.terms.reopening_call_ns:
            self._call(instrument, guards.terms.reopening_call_ns, Reason.NONE)
        elif instrument.state == TradingState.OPEN:
            state = self._state
            state.emit(InstrumentStateChanged(instrument.instrument_id, wanted, Reason.NONE))
        else:
            self._open(instrument)
        return Reason.NONE

    def settle(self, instrument: Instrument, events: list[BookEvent]) -> None:
        """Carry out what a book says of a command, and stop trading where it went too far.

        What it leads to in other books, where multi-leg bids end by it, is carried out, too.
        """
        self._settle_one(instrument, events)
        if len(self._state.legs):
            self.carry_out(self._state.legs.follow(events))

    def carry_out(self, steps: list[Step]) -> None:
        """Settle what happened in several books; it was followed to its end."""
        for step in steps:
            self._settle_one(self._state.instruments[step.instrument_id], step.events)

    def _settle_one(self, instrument: Instrument, events: list[BookEvent]) -> None:
        self._fills.settle(instrument, events)
        guards = instrument.guards
        if guards is None:
            return
        fills = [event for event in events if isinstance(event, Fill)]
        if fills and guards.traded(fills, instrument.instrument_id, self._state.now_ns):
            self.stop(instrument, Reason.VOLATILITY)

    def stop(self, instrument: Instrument, reason: Reason) -> None:
        """Trading gives way to an auction, where it goes on."""
        if instrument.state == TradingState.OPEN and instrument.guards is not None:
            self._call(instrument, instrument.guards.terms.reopening_call_ns, reason)

    def auction_due(self, instrument_id: int) -> None:
        """Timer: the call phase of an auction is over, unless its price is too far away."""
        state = self._state
        instrument, call = state.instruments[instrument_id], None
        call = instrument.call
        assert call is not None, "an auction ends that was not called"
        clearing = self.indicative(instrument)
        decision = call.decide(clearing.price if clearing else None, state.now_ns)
        if decision == Decision.UNCROSS:
            self._open(instrument)
        else:
            self._await(instrument, call)

    def extend_calls(self, by_ns: int) -> None:
        """The exchange was away: nobody could take part meanwhile. The timers moved already."""
        for instrument in self._state.instruments.values():
            if instrument.call is not None:
                instrument.call.ends_ns += by_ns

    def indicative(self, instrument: Instrument) -> Clearing | None:
        """How the auction would end now, self-trade prevention gone through; None: no trade."""
        book = self._state.books[instrument.instrument_id]
        return book.foresee(instrument.reference_nanos)

    def _call(self, instrument: Instrument, call_ns: int, reason: Reason) -> None:
        """Begin an auction; without a length it lasts until the operator opens the book."""
        state = self._state
        events = self._move(instrument, TradingState.AUCTION, reason)
        self._fills.settle(instrument, events)
        if not call_ns:
            state.emit(AuctionCalled(instrument.instrument_id, 0))
            return
        guards = instrument.guards
        terms = guards.call_terms(call_ns) if guards else CallTerms(call_ns, 1, 0, 0)
        call = CallPhase(terms, instrument.last_price_nanos, state.now_ns)
        self._await(instrument, call)

    def _await(self, instrument: Instrument, call: CallPhase) -> None:
        instrument.call = call
        ident = instrument.instrument_id
        self._state.timers.set(TimerKind.AUCTION_END, ident, call.ends_ns)
        self._state.emit(AuctionCalled(ident, call.ends_ns))

    def _open(self, instrument: Instrument) -> None:
        """Trade what crosses at one price, then trade continuously."""
        if instrument.state != TradingState.AUCTION:
            self._set_book(instrument, BookState.AUCTION)
        price, quantity = self._uncross(instrument)
        if price and instrument.guards is not None:
            instrument.guards.uncrossed(price)
        self._state.emit(AuctionUncrossed(instrument.instrument_id, price, quantity))
        # Minimums, and stops that the auction's price triggers, trade at once, and may stop trading
        # again.
        self.settle(instrument, self._move(instrument, TradingState.OPEN, Reason.NONE))

    def _uncross(self, instrument: Instrument) -> tuple[int, int]:
        """Trade what crosses, all at one price; that price (0: none) and the quantity.

        While an account stands on both sides of the price, the book only separates its orders, and
        the price is found anew for what is left. IOC orders end here, or as the book opens.
        """
        book = self._state.books[instrument.instrument_id]
        price = quantity = 0
        while (clearing := self._clearing(instrument)) is not None:
            assert price == 0, "an auction has one price"
            events = book.uncross(clearing.price)
            assert events, "an uncross separates accounts or trades"
            self._state.hear(instrument.instrument_id)
            self._fills.settle(instrument, events)
            quantity = sum(event.quantity for event in events if isinstance(event, Fill))
            if quantity:
                price = clearing.price
        return price, quantity

    def _clearing(self, instrument: Instrument) -> Clearing | None:
        """Price and quantity of the book as it stands, whosever the orders are. O(levels)."""
        book = self._state.books[instrument.instrument_id]
        return auction.clear(
            book.interest(Side.BID),
            book.interest(Side.ASK),
            instrument.reference_nanos,
            instrument.terms.tick_nanos,
        )

    def _move(self, instrument: Instrument, state: TradingState, reason: Reason) -> list[BookEvent]:
        """Another trading state; what the book did on the way is still to be settled."""
        ident = instrument.instrument_id
        instrument.state = state
        instrument.call = None
        self._state.timers.cancel(TimerKind.AUCTION_END, ident)
        events = self._set_book(instrument, BOOK_STATE[state])
        self._state.emit(InstrumentStateChanged(ident, state, reason))
        return events

    def _set_book(self, instrument: Instrument, state: BookState) -> list[BookEvent]:
        book = self._state.books[instrument.instrument_id]
        if book.state_now == state:
            return []
        events = book.set_state(state)
        assert not isinstance(events[0], Rejected), "an uncrossed book does not open"
        self._state.hear(instrument.instrument_id)
        return events
