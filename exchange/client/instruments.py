"""The instruments that a client knows: names to ids."""

from __future__ import annotations

import grpc

from exchange.client.connection import Connection
from exchange.client.errors import NotFound
from exchange.client.market_types import Instrument, instrument_from
from exchange.v1.market_data_service_pb2 import ListInstrumentsRequest
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub

InstrumentLike = Instrument | str | int
"""An instrument, its name, or its id."""
LegTerms = tuple[InstrumentLike, int | str, int | str]
"""One leg of a multi-leg bid: instrument, limit price and quantity."""


class Instruments:
    """A directory that is read once, and again for a name that it does not know."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_name: dict[str, Instrument] = {}

    async def load(self, timeout_s: float | None = None) -> tuple[Instrument, ...]:
        """All instruments, fresh from the exchange."""
        stub = self._connection.stub(MarketDataServiceStub)
        request = ListInstrumentsRequest()
        answer = await self._connection.call(stub.ListInstruments, request, timeout_s=timeout_s)
        found = tuple(instrument_from(i) for i in answer.instruments)
        self._by_name = {i.name: i for i in found}
        return found

    async def id_of(self, instrument: InstrumentLike, timeout_s: float | None = None) -> int:
        """An instrument's id.

        Raises:
            NotFound: there is no such name.
        """
        if isinstance(instrument, str) and instrument not in self._by_name:
            await self.load(timeout_s)
        return self.known_id(instrument)

    def known_id(self, instrument: InstrumentLike) -> int:
        """An instrument's id, without asking the exchange.

        Raises:
            NotFound: the name was not there when the directory was read.
        """
        if isinstance(instrument, str):
            instrument = self.known(instrument)
        return instrument.instrument_id if isinstance(instrument, Instrument) else instrument

    async def selected(self, instrument: InstrumentLike, timeout_s: float | None = None) -> int:
        """The id for a selection of orders, in which 0 stands for all instruments.

        Raises:
            NotFound: there is no such name.
            ValueError: it has no id, and is not the 0 that asks for all.
        """
        return _selected(instrument, await self.id_of(instrument, timeout_s))

    def known_selected(self, instrument: InstrumentLike) -> int:
        """As `selected`, without asking the exchange.

        Raises:
            NotFound: the name was not there when the directory was read.
            ValueError: it has no id, and is not the 0 that asks for all.
        """
        return _selected(instrument, self.known_id(instrument))

    def known(self, name: str) -> Instrument:
        """An instrument by its name, without asking the exchange.

        Raises:
            NotFound: the name was not there when the directory was read.
        """
        found = self._by_name.get(name)
        if found is None:
            raise NotFound(
                grpc.StatusCode.NOT_FOUND,
                "UNKNOWN_INSTRUMENT",
                f"no instrument {name!r}",
                {"instrument": name},
            )
        return found


def _selected(instrument: InstrumentLike, instrument_id: int) -> int:
    # None from a program's settings, or an instrument that was never created, must not mean all.
    if not instrument_id and instrument != 0:
        raise ValueError("not an instrument of the exchange; 0 stands for all")
    return instrument_id
