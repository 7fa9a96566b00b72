"""Receipts: what a lease did, signed with the worker's key."""

from __future__ import annotations

from exchange.metering.cards import ModelCard
from exchange.metering.receipts import ReceiptBody
from exchange.metering.traces import flops
from exchange.v1 import worker_service_pb2 as pb
from worker.engines.base import EngineResult
from worker.identity import Identity


def make_receipt(
    offer: pb.LeaseOffer,
    card: ModelCard,
    result: EngineResult,
    *,
    seed: int,
    input_digest: bytes,
    output_digest: bytes,
    identity: Identity,
    detail: str = "",
) -> pb.Receipt:
    """The signed receipt of a lease; its FLOPs follow from the trace by the card."""
    body = ReceiptBody(
        lease_id=offer.lease_id,
        fence_epoch=offer.fence.epoch,
        fence_sequence=offer.fence.sequence,
        cause=result.cause,
        flops=flops(card, result.trace),
        seed=seed,
        model_digest=card.digest(),
        input_digest=input_digest,
        output_digest=output_digest,
        trace=result.trace.encode(),
    )
    return pb.Receipt(
        lease_id=body.lease_id,
        fence=offer.fence,
        cause=result.cause,
        flops=body.flops,
        model_digest=body.model_digest,
        input_digest=body.input_digest,
        output_digest=body.output_digest,
        trace=body.trace,
        seed=body.seed,
        signature=identity.sign(body.signed_bytes()),
        detail=detail,
    )
