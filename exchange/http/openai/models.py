"""/v1/models: the models that jobs can be run on, from the instruments that trade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1.market_pb2 import Instrument, Settlement, TradingState

_LIST: Final = "/exchange.v1.MarketDataService/ListInstruments"


async def list_models(calls: Calls, metadata: Mapping[str, str]) -> dict[str, Any]:
    """All models, by name.

    Raises:
        RpcError: the call was refused.
    """
    found = await _models(calls, metadata)
    return {"object": "list", "data": [found[name] for name in sorted(found)]}


async def get_model(calls: Calls, metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """One model.

    Raises:
        RpcError: the call was refused.
        ApiError: 404: there is no such model.
    """
    found = (await _models(calls, metadata)).get(name)
    if found is None:
        raise ApiError(404, "UNKNOWN_MODEL", f"no model {name!r}: GET /v1/models lists them")
    return found


async def _models(calls: Calls, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    answer = await calls.unary(_LIST, pb.ListInstrumentsRequest(), metadata)
    by_model: dict[str, list[Instrument]] = {}
    for instrument in answer.instruments:
        leased = instrument.settlement == Settlement.SETTLEMENT_LEASE
        if leased and instrument.state != TradingState.TRADING_STATE_CLOSED:
            by_model.setdefault(instrument.model, []).append(instrument)
    return {name: _model(name, instruments) for name, instruments in by_model.items()}


def _model(name: str, instruments: Iterable[Instrument]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        # When a model was entered is not told; the shape wants a number.
        "created": 0,
        "owned_by": "flopex",
        "exchange": {"instruments": [instrument.name for instrument in instruments]},
    }
