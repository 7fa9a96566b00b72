"""Workers, quotes, leases and receipts as the API has them."""

from __future__ import annotations

import json
import re
from typing import Final

from exchange.core.commands import (
    RegisterWorker,
    SetQuote,
    SettleLease,
    StopCause,
    WithdrawQuote,
)
from exchange.core.events import AnyEvent, ReceiptRefused, ReceiptSettled, Refused
from exchange.core.exchange import Exchange
from exchange.core.lease import Lease
from exchange.core.limits import (
    FACTS_BYTES_MAX,
    FLOPS_PER_MFLOP,
    NS_PER_S,
    POOLS_PER_WORKER_MAX,
    SLOTS_PER_POOL_MAX,
    TRACE_BYTES_MAX,
)
from exchange.core.reasons import Reason
from exchange.core.workers import Worker
from exchange.metering import signing
from exchange.metering.receipts import ReceiptBody, register_bytes
from exchange.rpc.convert import enums
from exchange.rpc.errors import RpcError, invalid
from exchange.v1 import worker_service_pb2 as pb

WORKER_NAME_PATTERN: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
QUOTE_TTL_DEFAULT_NS: Final = 60 * NS_PER_S
DIGEST_BYTES: Final = 32
NO_DIGEST: Final = bytes(DIGEST_BYTES)
"""Stands where nothing was received or what came is no digest."""


def register_worker(account_id: int, message: pb.Register) -> RegisterWorker:
    """The command that opens a session; leases that the worker holds stay until looked at.

    Raises:
        RpcError: a field is out of range, or the signature is not by the key.
    """
    if not WORKER_NAME_PATTERN.fullmatch(message.name):
        raise invalid("name", f"must match {WORKER_NAME_PATTERN.pattern}")
    if len(message.public_key) != DIGEST_BYTES:
        raise invalid("public_key", f"must have {DIGEST_BYTES} bytes")
    signed = register_bytes(message.name, message.public_key)
    if not signing.verify(message.public_key, message.signature, signed):
        raise invalid(
            "signature", "does not verify: sign register_bytes with the key's private part"
        )
    if not 0 < len(message.slots) <= POOLS_PER_WORKER_MAX:
        raise invalid("slots", f"must name 1 to {POOLS_PER_WORKER_MAX} pools")
    facts = json.dumps(dict(message.facts), sort_keys=True, separators=(",", ":")).encode()
    if len(facts) > FACTS_BYTES_MAX:
        raise invalid("facts", f"must be at most {FACTS_BYTES_MAX} bytes as JSON")
    return RegisterWorker(
        account_id=account_id,
        resume=1,
        public_key=message.public_key,
        name=message.name,
        slots=tuple(message.slots),
        facts=facts,
    )


def quote(core: Exchange, worker_id: int, message: pb.Quote) -> SetQuote | WithdrawQuote | Reason:
    """The command of a quote, or why there is none. No prices withdraw it."""
    instrument_id = core.instrument_by_name.get(message.instrument)
    if instrument_id is None:
        return Reason.UNKNOWN_INSTRUMENT
    if message.pool >= POOLS_PER_WORKER_MAX:
        return Reason.UNKNOWN_POOL
    if not message.prices_nanos:
        return WithdrawQuote(worker_id, instrument_id, message.pool)
    if len(message.prices_nanos) > SLOTS_PER_POOL_MAX:
        return Reason.PRICES_INVALID
    return SetQuote(
        worker_id=worker_id,
        instrument_id=instrument_id,
        pool=message.pool,
        ttl_ns=message.ttl_ns or QUOTE_TTL_DEFAULT_NS,
        prices_nanos=tuple(message.prices_nanos),
    )


def receipt_body(message: pb.Receipt) -> tuple[ReceiptBody, bool]:
    """What a receipt states, and whether it can have been signed so.

    Parts that do not fit a receipt are left out: then no signature covers it.
    """
    digests = [message.model_digest, message.input_digest, message.output_digest]
    fits = [len(digest) == DIGEST_BYTES for digest in digests]
    trace_fits = len(message.trace) <= TRACE_BYTES_MAX
    cause_fits = int(message.cause) in tuple(StopCause)
    model, given, put_out = (d if fit else NO_DIGEST for d, fit in zip(digests, fits, strict=True))
    body = ReceiptBody(
        lease_id=message.lease_id,
        fence_epoch=message.fence.epoch,
        fence_sequence=message.fence.sequence,
        cause=message.cause if cause_fits else 0,
        flops=message.flops,
        seed=message.seed,
        model_digest=model,
        input_digest=given,
        output_digest=put_out,
        trace=message.trace if trace_fits else b"",
    )
    return body, all(fits) and trace_fits and cause_fits


def settle_lease(
    worker_id: int, body: ReceiptBody, valid: bool, tokens: int, output_digest: bytes
) -> SettleLease:
    """The command of a receipt, with what the gateway found of it."""
    return SettleLease(
        worker_id=worker_id,
        lease_id=body.lease_id,
        fence_epoch=body.fence_epoch,
        fence_sequence=body.fence_sequence,
        cause=body.cause,
        signature_valid=int(valid),
        flops=body.flops,
        tokens_received=tokens,
        model_digest=body.model_digest,
        input_digest=body.input_digest,
        output_digest=body.output_digest,
        output_digest_received=output_digest,
        receipt_digest=body.digest(),
        trace=body.trace,
    )


def receipt_result(lease_id: int, event: AnyEvent) -> pb.SessionResponse:
    """What became of a receipt, from its command's first event."""
    result = pb.ReceiptResult(lease_id=lease_id)
    if isinstance(event, ReceiptSettled):
        result.accepted = True
        result.paid_nanos = event.billed_nanos
    elif isinstance(event, ReceiptRefused | Refused):
        result.reason = enums.reason(event.reason)
    return pb.SessionResponse(receipt_result=result)


def fence(lease: Lease) -> pb.Fence:
    """A lease's fencing token."""
    return pb.Fence(epoch=lease.fence_epoch, sequence=lease.fence_sequence)


def lease_offer(core: Exchange, lease: Lease, payload: bytes, now_ns: int) -> pb.SessionResponse:
    """An offer; its times are durations from `now_ns`, nanoseconds since the epoch."""
    instrument = core.instruments[lease.instrument_id]
    offer = pb.LeaseOffer(
        lease_id=lease.lease_id,
        fence=fence(lease),
        instrument=instrument.name,
        model=instrument.model_name,
        pool=lease.pool,
        quantity_mflop=lease.quantity_mflop,
        price_nanos=lease.price_nanos,
        payload=payload,
        accept_within_ns=max(0, lease.accept_by_ns - now_ns),
        stop_within_ns=max(0, lease.stop_by_ns - now_ns),
        attempt=lease.attempt,
    )
    return pb.SessionResponse(offer=offer)


def refused(
    reason: Reason, lease_id: int = 0, instrument: str = "", pool: int = 0
) -> pb.SessionResponse:
    """Answers a step or a quote that was refused."""
    return pb.SessionResponse(
        refusal=pb.Refusal(
            lease_id=lease_id, instrument=instrument, pool=pool, reason=enums.reason(reason)
        )
    )


def goodbye(error: RpcError | None) -> pb.SessionResponse:
    """The last message of a session that the exchange ends."""
    return pb.SessionResponse(goodbye=pb.Goodbye(detail=error.message if error else ""))


def worker(core: Exchange, found: Worker, connected: bool) -> pb.Worker:
    """A worker, for its owner."""
    return pb.Worker(
        worker_id=found.worker_id,
        account_id=found.account_id,
        name=found.name,
        state=enums.worker_state(found.state),
        slots=found.slots,
        slots_in_use=found.in_use,
        facts=json.loads(found.facts or b"{}"),
        quotes=[
            pb.Quote(
                instrument=core.instruments[q.instrument_id].name,
                pool=q.pool,
                prices_nanos=q.prices_nanos,
            )
            for q in found.quotes.values()
        ],
        lease_ids=sorted(found.lease_ids),
        leases_settled=found.leases_settled,
        leases_failed=found.leases_failed,
        earned_mflop=found.earned_flops // FLOPS_PER_MFLOP,
        earned_nanos=found.earned_nanos,
        connected=connected,
    )
