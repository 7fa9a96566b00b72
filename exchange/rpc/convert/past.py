"""Rows of the read model as the API has them."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.core.exchange import Exchange
from exchange.readmodel.queries import (
    BestPricesRow,
    CandleRow,
    IndexRow,
    JobRow,
    OrderRow,
    TradeRow,
)
from exchange.rpc.convert import enums
from exchange.rpc.history import TradeRecord
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_data_service_pb2 as data_pb
from exchange.v1 import market_pb2
from exchange.v1 import order_service_pb2 as orders_pb


def trades(found: Sequence[TradeRow | TradeRecord]) -> list[market_pb2.Trade]:
    """Trades, in the order given."""
    return [
        market_pb2.Trade(
            instrument_id=trade.instrument_id,
            trade_id=trade.trade_id,
            price_nanos=trade.price_nanos,
            quantity_mflop=trade.quantity_mflop,
            event_time_ns=trade.event_time_ns,
            taker_side=enums.side(trade.taker_side),
        )
        for trade in found
    ]


def candle(found: CandleRow) -> data_pb.Candle:
    """One candle."""
    return data_pb.Candle(**found._asdict())


def best_prices(found: BestPricesRow) -> data_pb.PastBestPrices:
    """The best prices at a time."""
    return data_pb.PastBestPrices(**found._asdict())


def hour(found: IndexRow) -> data_pb.HourlyIndex:
    """One hour's index."""
    return data_pb.HourlyIndex(**found._asdict())


def order(found: OrderRow) -> orders_pb.PastOrder:
    """An order of any state."""
    return orders_pb.PastOrder(
        order_id=found.order_id,
        client_order_id=found.client_order_id,
        instrument_id=found.instrument_id,
        side=enums.side(found.side),
        state=enums.order_state(found.state),
        order_type=enums.order_type(found.order_type),
        time_in_force=enums.time_in_force(found.time_in_force),
        price_nanos=found.price_nanos,
        quantity_mflop=found.quantity_mflop,
        leaves_mflop=found.leaves_mflop,
        filled_mflop=found.filled_mflop,
        reason=enums.reason(found.reason),
        create_time_ns=found.create_time_ns,
        end_time_ns=found.end_time_ns,
    )


def job(core: Exchange, found: JobRow) -> jobs_pb.Job:
    """A job that the core has forgotten; models, instruments and workers it never forgets."""
    message = jobs_pb.Job(
        job_id=found.job_id,
        client_job_id=found.client_job_id,
        state=enums.job_state(found.state),
        value_nanos=found.value_nanos,
        escrow_nanos=0 if found.end_time_ns else found.escrow_nanos,
        deadline_time_ns=found.deadline_time_ns,
        attempt=found.attempt,
        lease_id=found.lease_id,
        flops=found.flops,
        paid_nanos=found.paid_nanos,
        reason=enums.reason(found.reason),
        fault=enums.fault(found.fault),
        stop_cause=enums.stop_cause(found.cause),
        create_time_ns=found.create_time_ns,
        end_time_ns=found.end_time_ns,
        output_tokens=found.output_tokens,
    )
    if found.model_id:
        message.model = core.models[found.model_id].card.name
        message.tier = found.tier
        message.quantity_mflop = found.quantity_mflop
        message.limit_nanos = found.limit_nanos
    for leg in found.legs:
        instrument = core.instruments[leg.instrument_id]
        message.legs.add(
            instrument=instrument.name,
            limit_nanos=leg.limit_nanos,
            quantity_mflop=leg.quantity_mflop,
            reason=enums.reason(leg.reason),
        )
        if leg.instrument_id == found.instrument_id:
            message.model = instrument.model_name
            message.tier = instrument.tier
            message.quantity_mflop = leg.quantity_mflop
            message.limit_nanos = leg.limit_nanos
    if found.lease_id:
        message.instrument = core.instruments[found.instrument_id].name
        message.worker = core.workers[found.worker_id].name
        message.price_nanos = found.price_nanos
    return message
