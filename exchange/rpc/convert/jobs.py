"""Jobs and their input as the API has them."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from exchange.core.commands import SubmitJob
from exchange.core.exchange import Exchange
from exchange.core.instruments import Model
from exchange.core.jobs import Job
from exchange.core.limits import (
    COST_MAX_NANOS,
    FLOPS_PER_MFLOP,
    JOB_QUANTITY_MAX_MFLOP,
    NS_PER_S,
    OUTPUT_TOKENS_MAX,
    PAYLOAD_BYTES_MAX,
)
from exchange.core.reasons import Reason
from exchange.metering.traces import flops_worst
from exchange.rpc.convert import enums
from exchange.rpc.convert.market import find_instrument
from exchange.rpc.errors import invalid, reason_text, refusal
from exchange.v1 import job_service_pb2 as pb

DEADLINE_DEFAULT_NS: Final = 60 * NS_PER_S
TIER_DEFAULT: Final = "interactive"
TIER_PATTERN: Final = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
ROLES: Final = ("system", "user", "assistant")
MESSAGES_MAX: Final = 1_000
TEMPERATURE_MAX_MILLI: Final = 10_000


class Submission(NamedTuple):
    """A job's command, and the payload whose digest it names."""

    command: SubmitJob
    payload: bytes


def submission(core: Exchange, account_id: int, request: pb.SubmitJobRequest) -> Submission:
    """The command and the payload of a request.

    The payload is the deterministic serialization of `JobInput`, so that a repeat of the request
    has the same digest.

    Raises:
        RpcError: a field is out of range or names what does not exist. The core refuses the rest.
    """
    if len(request.client_job_id) != 16:
        raise refusal(
            Reason.CLIENT_ID_INVALID,
            f"client_job_id must be a UUIDv7 of 16 bytes, not {len(request.client_job_id)}",
        )
    model_id = core.model_by_name.get(request.model)
    if model_id is None:
        raise refusal(Reason.UNKNOWN_MODEL, f"no model {request.model!r}", {"model": request.model})
    tier = request.tier or TIER_DEFAULT
    if not TIER_PATTERN.fullmatch(tier):
        raise invalid("tier", f"must match {TIER_PATTERN.pattern}")
    text_bytes = _check_input(request.input)
    payload = request.input.SerializeToString(deterministic=True)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise refusal(
            Reason.PAYLOAD_TOO_LARGE,
            f"the input has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are taken",
            {"bytes": len(payload), "bytes_max": PAYLOAD_BYTES_MAX},
        )
    card = core.models[model_id].card
    messages = max(len(request.input.messages), 1)
    named = request.instrument
    command = SubmitJob(
        account_id=account_id,
        client_job_id=request.client_job_id,
        model_id=model_id,
        instrument_id=find_instrument(core, named).instrument_id if named else 0,
        quantity_mflop=_quantity_mflop(core.models[model_id], request, text_bytes),
        value_nanos=request.value_nanos,
        limit_nanos=request.limit_nanos,
        max_cost_nanos=request.max_cost_nanos,
        deadline_within_ns=request.deadline_ns or DEADLINE_DEFAULT_NS,
        payload_digest=hashlib.sha256(payload).digest(),
        payload_bytes=len(payload),
        input_tokens=card.prompt_tokens_usual(text_bytes, messages),
        input_tokens_max=card.prompt_tokens_max(text_bytes, messages),
        output_tokens_max=request.input.output_tokens_max,
        tier=tier,
    )
    return Submission(command, payload)


def _check_input(job_input: pb.JobInput) -> int:
    """Bytes of the prompt's text.

    Raises:
        RpcError: INVALID_ARGUMENT, reason FIELD_INVALID.
    """
    if bool(job_input.messages) == bool(job_input.prompt):
        raise invalid("input", "must hold either messages or a prompt, and not both")
    if len(job_input.messages) > MESSAGES_MAX:
        raise invalid("input.messages", f"must be at most {MESSAGES_MAX}")
    for position, message in enumerate(job_input.messages):
        if message.role not in ROLES:
            raise invalid(f"input.messages[{position}].role", f"must be one of {', '.join(ROLES)}")
    if not 0 < job_input.output_tokens_max <= OUTPUT_TOKENS_MAX:
        raise invalid("input.output_tokens_max", f"must lie between 1 and {OUTPUT_TOKENS_MAX}")
    if job_input.temperature_milli > TEMPERATURE_MAX_MILLI:
        raise invalid("input.temperature_milli", f"must be at most {TEMPERATURE_MAX_MILLI}")
    if not 0 <= job_input.answer_value_nanos <= COST_MAX_NANOS:
        raise invalid("input.answer_value_nanos", f"must lie between 0 and {COST_MAX_NANOS}")
    return len(job_input.prompt.encode()) + sum(
        len(message.content.encode()) for message in job_input.messages
    )


def _quantity_mflop(model: Model, request: pb.SubmitJobRequest, text_bytes: int) -> int:
    """The compute budget: as asked for, or by default enough for the longest answer."""
    if request.quantity_mflop:
        return request.quantity_mflop
    messages = max(len(request.input.messages), 1)
    prompt = model.card.prompt_tokens_max(text_bytes, messages)
    worst = flops_worst(model.card, prompt, request.input.output_tokens_max)
    # What exceeds the limit is the core's to refuse; it only has to fit the field.
    return min(-(-worst // FLOPS_PER_MFLOP), JOB_QUANTITY_MAX_MFLOP + 1)


def job(core: Exchange, found: Job, output_tokens: int, waiting: bool = False) -> pb.Job:
    """A job; `waiting` adds why its bid does not trade now."""
    terms = found.terms
    lease = core.leases.get(found.lease_id)
    message = pb.Job(
        job_id=found.job_id,
        client_job_id=terms.client_job_id,
        state=enums.job_state(found.state),
        model=core.models[terms.model_id].card.name,
        tier=terms.tier,
        quantity_mflop=terms.quantity_mflop,
        value_nanos=terms.value_nanos,
        limit_nanos=terms.limit_nanos,
        escrow_nanos=found.escrow_nanos if found.is_open else 0,
        deadline_time_ns=found.deadline_ns,
        attempt=found.attempt,
        lease_id=found.lease_id,
        flops=found.flops,
        paid_nanos=found.paid_nanos,
        reason=enums.reason(found.reason),
        fault=enums.fault(found.fault),
        stop_cause=enums.stop_cause(found.cause),
        create_time_ns=found.created_ns,
        end_time_ns=found.ended_ns,
        output_tokens=output_tokens,
    )
    if lease is not None:
        message.instrument = core.instruments[lease.instrument_id].name
        message.worker = core.workers[lease.worker_id].name
        message.price_nanos = lease.price_nanos
    if waiting and found.state.name == "QUEUED":
        message.waiting_for = reason_text(core.why_waiting(found.job_id))
    return message
