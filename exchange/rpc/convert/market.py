"""Instruments, levels and books as the API has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from exchange.core.commands import AddInstrument, ClearingMode, SetProtections, Settlement
from exchange.core.exchange import Exchange
from exchange.core.instruments import Instrument
from exchange.core.reasons import Reason
from exchange.rpc.convert import enums
from exchange.rpc.errors import invalid, refusal
from exchange.v1 import market_pb2 as pb

Levels = Iterable[tuple[int, int, int]]

PROTECTIONS: Final = SetProtections.__struct_fields__[1:]
"""The API's message has fields of the same names (a test holds them equal)."""


def instrument(found: Instrument) -> pb.Instrument:
    """One instrument."""
    terms = found.terms
    return pb.Instrument(
        instrument_id=found.instrument_id,
        name=terms.name,
        model=found.model_name,
        hardware_class=found.hardware_class,
        tier=found.tier,
        settlement=enums.settlement(terms.settlement),
        clearing_mode=enums.clearing_mode(terms.mode),
        state=enums.trading_state(found.state),
        tick_nanos=terms.tick_nanos,
        lot_mflop=terms.lot_mflop,
        price_min_nanos=terms.price_min_nanos,
        price_max_nanos=terms.price_max_nanos,
        quantity_max_mflop=terms.quantity_max_mflop,
        prefill_millitokens_per_s=terms.prefill_millitokens_per_s,
        decode_millitokens_per_s=terms.decode_millitokens_per_s,
        context_tokens_max=terms.context_tokens_max,
        latest_start_ns=terms.latest_start_ns,
        protections=_protections(found.protections),
    )


def _protections(found: SetProtections) -> pb.Protections | None:
    """What is set; None where nothing is."""
    if found == SetProtections(found.instrument_id):
        return None
    return pb.Protections(**{name: getattr(found, name) for name in PROTECTIONS})


def set_protections(instrument_id: int, message: pb.Protections) -> SetProtections:
    """The command that sets an instrument's protections."""
    return SetProtections(instrument_id, *(getattr(message, name) for name in PROTECTIONS))


def add_instrument(core: Exchange, message: pb.Instrument) -> AddInstrument:
    """The command that enters an instrument.

    Raises:
        RpcError: a field is out of range, or the model is unknown.
    """
    settlement = enums.from_proto(Settlement, message.settlement, "settlement")
    mode = enums.from_proto(ClearingMode, message.clearing_mode, "clearing_mode")
    model_id = 0
    if settlement is Settlement.LEASE:
        name = message.model or message.name.split("/")[0]
        found = core.model_by_name.get(name)
        if found is None:
            raise refusal(Reason.UNKNOWN_MODEL, f"no model {name!r} was entered", {"model": name})
        model_id = found
        if message.name.count("/") != 2:
            raise invalid("name", "must read model/class/tier")
    return AddInstrument(
        settlement=settlement,
        mode=mode,
        model_id=model_id,
        tick_nanos=message.tick_nanos,
        lot_mflop=message.lot_mflop,
        price_min_nanos=message.price_min_nanos,
        price_max_nanos=message.price_max_nanos,
        quantity_max_mflop=message.quantity_max_mflop,
        prefill_millitokens_per_s=message.prefill_millitokens_per_s,
        decode_millitokens_per_s=message.decode_millitokens_per_s,
        context_tokens_max=message.context_tokens_max,
        latest_start_ns=message.latest_start_ns,
        name=message.name,
    )


def find_instrument(core: Exchange, name: str) -> Instrument:
    """The instrument of this name.

    Raises:
        RpcError: NOT_FOUND, reason UNKNOWN_INSTRUMENT.
    """
    found = core.instrument_by_name.get(name)
    if found is None:
        raise refusal(Reason.UNKNOWN_INSTRUMENT, f"no instrument {name!r}", {"instrument": name})
    return core.instruments[found]


def levels(side: Levels) -> list[pb.Level]:
    """Price levels."""
    return [pb.Level(price_nanos=p, quantity=q, orders=n) for p, q, n in side]
