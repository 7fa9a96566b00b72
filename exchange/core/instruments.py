"""Models, instruments and clearing groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exchange.core.commands import (
    AddInstrument,
    ClearingMode,
    SetProtections,
    Settlement,
    TradingState,
    decode,
)
from exchange.core.guards import Guards
from exchange.core.limits import (
    NAME_BYTES_MAX,
    NS_PER_S,
    OUTPUT_TOKENS_MAX,
    PRICE_MAX_NANOS,
    QUANTITY_MAX_MFLOP,
)
from exchange.core.reasons import Reason
from matching.protection import CallPhase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.metering.cards import ModelCard
    from matching.book import Book


# Members stand here by themselves: looking one up in its enum costs a tenth of an order's entry.
_NONE: Final = Reason.NONE
_OPEN: Final = TradingState.OPEN
_AUCTION: Final = TradingState.AUCTION


class Model:
    """A model card as the operator entered it."""

    __slots__ = ("card", "card_bytes", "digest", "model_id")

    def __init__(self, model_id: int, card: ModelCard, card_bytes: bytes) -> None:
        self.model_id = model_id
        self.card = card
        self.card_bytes = card_bytes
        self.digest = card.digest()


class Instrument:
    """What is traded, with its hardware class's promises per slot."""

    __slots__ = (
        "book",
        "call",
        "clearing_group_id",
        "guards",
        "hardware_class",
        "instrument_id",
        "is_continuous",
        "last_price_nanos",
        "lot_mflop",
        "model_name",
        "price_max_nanos",
        "price_min_nanos",
        "quantity_max_mflop",
        "state",
        "terms",
        "tick_nanos",
        "tier",
    )

    def __init__(self, instrument_id: int, terms: AddInstrument, clearing_group_id: int) -> None:
        self.instrument_id = instrument_id
        self.terms = terms
        # What every order is checked against: a slot is read much faster than a record's attribute.
        self.is_continuous = terms.mode == ClearingMode.CONTINUOUS
        self.tick_nanos = terms.tick_nanos
        self.lot_mflop = terms.lot_mflop
        self.price_min_nanos = terms.price_min_nanos
        self.price_max_nanos = terms.price_max_nanos
        self.quantity_max_mflop = terms.quantity_max_mflop
        self.clearing_group_id = clearing_group_id  # 0 for a continuous book
        self.book: Book | None = None  # of a continuous one
        self.state = TradingState.OPEN
        self.last_price_nanos = 0
        self.guards: Guards | None = None  # what keeps a continuous book orderly
        self.call: CallPhase | None = None  # of the auction under way, if it ends by itself
        parts = terms.name.split("/")
        leased = terms.settlement == Settlement.LEASE
        self.model_name, self.hardware_class, self.tier = parts if leased else ("", "", "")

    @property
    def name(self) -> str:
        """model/class/tier, or a paper instrument's free name."""
        return self.terms.name

    @property
    def is_open(self) -> bool:
        """Whether it trades now."""
        return self.state == _OPEN

    @property
    def takes_orders(self) -> bool:
        """Whether orders may come in: it trades, or it is in an auction."""
        state = self.state
        return state is _OPEN or state is _AUCTION

    @property
    def protections(self) -> SetProtections:
        """What the operator set; all zero by default."""
        return self.guards.terms if self.guards else SetProtections(self.instrument_id)

    @property
    def reference_nanos(self) -> int:
        """The last price traded; before the first the lowest there is."""
        return self.last_price_nanos or self.terms.price_min_nanos

    def run_time_ns(self, input_tokens: int, output_tokens: int) -> int:
        """How long the class promises to take for such a job, rounded up."""
        scale = 1_000 * NS_PER_S
        prefill = -(-input_tokens * scale // self.terms.prefill_millitokens_per_s)
        decode = -(-output_tokens * scale // self.terms.decode_millitokens_per_s)
        return prefill + decode

    def price_refusal(self, price_nanos: int) -> Reason:
        """Why a limit price cannot stand here, or NONE."""
        if not self.price_min_nanos <= price_nanos <= self.price_max_nanos:
            return Reason.PRICE_OUT_OF_BAND
        if price_nanos % self.tick_nanos:
            return Reason.PRICE_OFF_TICK
        return _NONE

    def quantity_refusal(self, quantity_mflop: int) -> Reason:
        """Why an order's quantity cannot stand here, or NONE."""
        if quantity_mflop <= 0:
            return Reason.QUANTITY_NOT_POSITIVE
        if quantity_mflop > self.quantity_max_mflop:
            return Reason.QUANTITY_TOO_LARGE
        if quantity_mflop % self.lot_mflop:
            return Reason.QUANTITY_OFF_LOT
        return _NONE

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return (
            self.instrument_id,
            self.terms.encode(),
            self.clearing_group_id,
            int(self.state),
            self.last_price_nanos,
            self.guards.state() if self.guards else (),
            self.call.state() if self.call else (),
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Instrument:
        """The instrument whose state it was."""
        instrument_id, record, group_id, trading, last_price, guards, call = state
        (terms,) = decode(record)
        assert isinstance(terms, AddInstrument)
        instrument = cls(instrument_id, terms, group_id)
        instrument.state = TradingState(trading)
        instrument.last_price_nanos = last_price
        instrument.guards = Guards.restored(guards) if guards else None
        instrument.call = CallPhase.restored(call) if call else None
        return instrument


def terms_refusal(terms: AddInstrument) -> Reason:
    """Why an instrument with these terms cannot be entered, or NONE."""
    if not 0 < len(terms.name.encode()) <= NAME_BYTES_MAX:
        return Reason.FIELD_INVALID
    lease = (terms.settlement, terms.mode) == (Settlement.LEASE, ClearingMode.BATCH)
    paper = (terms.settlement, terms.mode) == (Settlement.PAPER, ClearingMode.CONTINUOUS)
    ordered = 0 < terms.tick_nanos <= terms.price_min_nanos <= terms.price_max_nanos
    sized = 0 < terms.lot_mflop <= terms.quantity_max_mflop <= QUANTITY_MAX_MFLOP
    if not (lease or paper) or not ordered or not sized:
        return Reason.FIELD_INVALID
    if terms.price_min_nanos % terms.tick_nanos or terms.price_max_nanos % terms.tick_nanos:
        return Reason.FIELD_INVALID
    if terms.price_max_nanos > PRICE_MAX_NANOS:
        return Reason.FIELD_INVALID
    rates = terms.prefill_millitokens_per_s > 0 and terms.decode_millitokens_per_s > 0
    context = 0 < terms.context_tokens_max <= OUTPUT_TOKENS_MAX
    if lease and not (rates and context and terms.latest_start_ns > 0):
        return Reason.FIELD_INVALID
    if lease and (len(parts := terms.name.split("/")) != 3 or not all(parts)):
        return Reason.FIELD_INVALID
    return _NONE
