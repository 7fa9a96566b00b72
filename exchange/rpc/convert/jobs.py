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
from exchange.core.planning import LEG_NUMBERS, Work
from exchange.core.reasons import Reason
from exchange.metering.traces import flops_worst
from exchange.rpc.convert import enums
from exchange.rpc.convert.market import find_instrument
from exchange.rpc.errors import invalid, reason_text, refusal
from exchange.v1 import job_service_pb2 as pb
from matching.types import LEGS_MAX

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
    text_bytes = _check_input(request.input)
    payload = request.input.SerializeToString(deterministic=True)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise refusal(
            Reason.PAYLOAD_TOO_LARGE,
            f"the input has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are taken",
            {"bytes": len(payload), "bytes_max": PAYLOAD_BYTES_MAX},
        )
    work = Work(0, "", 0, 0, 0, 0, 0) if request.legs else _work(core, request, text_bytes)
    command = SubmitJob(
        account_id=account_id,
        client_job_id=request.client_job_id,
        model_id=work.model_id,
        instrument_id=work.instrument_id,
        quantity_mflop=work.quantity_mflop,
        value_nanos=request.value_nanos,
        limit_nanos=work.limit_nanos,
        max_cost_nanos=request.max_cost_nanos,
        deadline_within_ns=request.deadline_ns or DEADLINE_DEFAULT_NS,
        payload_digest=hashlib.sha256(payload).digest(),
        payload_bytes=len(payload),
        input_tokens=work.input_tokens,
        input_tokens_max=work.input_tokens_max,
        output_tokens_max=request.input.output_tokens_max,
        tier=work.tier,
        legs=_legs(core, request, text_bytes),
    )
    return Submission(command, payload)


def _work(core: Exchange, request: pb.SubmitJobRequest, text_bytes: int) -> Work:
    """The one way to run a job without legs."""
    model_id = core.model_by_name.get(request.model)
    if model_id is None:
        raise refusal(Reason.UNKNOWN_MODEL, f"no model {request.model!r}", {"model": request.model})
    tier = request.tier or TIER_DEFAULT
    if not TIER_PATTERN.fullmatch(tier):
        raise invalid("tier", f"must match {TIER_PATTERN.pattern}")
    named = request.instrument
    model = core.models[model_id]
    return Work(
        model_id,
        tier,
        find_instrument(core, named).instrument_id if named else 0,
        request.limit_nanos,
        request.quantity_mflop or _quantity_mflop(model, request.input, text_bytes),
        *_prompt_tokens(model, request.input, text_bytes),
    )


def _legs(core: Exchange, request: pb.SubmitJobRequest, text_bytes: int) -> tuple[int, ...]:
    """The numbers of all legs: see `SubmitJob`."""
    if len(request.legs) > LEGS_MAX:
        raise refusal(
            Reason.LEGS_INVALID, f"a job has at most {LEGS_MAX} legs, not {len(request.legs)}"
        )
    for field in ("model", "tier", "instrument", "quantity_mflop", "limit_nanos"):
        if request.legs and getattr(request, field):
            raise invalid(field, "is each leg's own: leave it out beside legs")
    numbers: list[int] = []
    for leg in request.legs:
        instrument = find_instrument(core, leg.instrument)
        model = core.models.get(instrument.terms.model_id)
        if model is None:
            raise refusal(
                Reason.ORDER_TYPE_UNSUPPORTED,
                f"{leg.instrument} sells no leases",
                {"instrument": leg.instrument},
            )
        numbers += (
            instrument.instrument_id,
            leg.limit_nanos,
            leg.quantity_mflop or _quantity_mflop(model, request.input, text_bytes),
            *_prompt_tokens(model, request.input, text_bytes),
        )
    return tuple(numbers)


def _prompt_tokens(model: Model, job_input: pb.JobInput, text_bytes: int) -> tuple[int, int]:
    """How many tokens a prompt usually has, and at most."""
    messages = max(len(job_input.messages), 1)
    return (
        model.card.prompt_tokens_usual(text_bytes, messages),
        model.card.prompt_tokens_max(text_bytes, messages),
    )


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


def _quantity_mflop(model: Model, job_input: pb.JobInput, text_bytes: int) -> int:
    """The compute budget where none is asked for: enough for the longest answer."""
    _, prompt = _prompt_tokens(model, job_input, text_bytes)
    worst = flops_worst(model.card, prompt, job_input.output_tokens_max)
    # What exceeds the limit is the core's to refuse; it only has to fit the field.
    return min(-(-worst // FLOPS_PER_MFLOP), JOB_QUANTITY_MAX_MFLOP + 1)


def job(core: Exchange, found: Job, output_tokens: int, waiting: bool = False) -> pb.Job:
    """A job; `waiting` adds why its bid does not trade now."""
    terms, work = found.terms, found.work
    lease = core.leases.get(found.lease_id)
    message = pb.Job(
        job_id=found.job_id,
        client_job_id=terms.client_job_id,
        state=enums.job_state(found.state),
        value_nanos=terms.value_nanos,
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
    if work is not None:
        message.model = core.models[work.model_id].card.name
        message.tier = work.tier
        message.quantity_mflop = work.quantity_mflop
        message.limit_nanos = work.limit_nanos
    if lease is not None:
        message.instrument = core.instruments[lease.instrument_id].name
        message.worker = core.workers[lease.worker_id].name
        message.price_nanos = lease.price_nanos
    if waiting and found.state.name == "QUEUED":
        message.waiting_for = reason_text(core.why_waiting(found.job_id))
    if terms.legs:
        message.legs.extend(_leg_states(core, found, waiting))
    return message


def _leg_states(core: Exchange, found: Job, waiting: bool) -> list[pb.JobLegState]:
    """Every leg of a job, as it was given, and what has become of it."""
    waits = core.why_legs_wait(found.job_id) if waiting else {}
    states = []
    for number, at in enumerate(range(0, len(found.terms.legs), LEG_NUMBERS)):
        instrument_id, limit, quantity = found.terms.legs[at : at + 3]
        states.append(
            pb.JobLegState(
                instrument=core.instruments[instrument_id].name,
                limit_nanos=limit,
                quantity_mflop=quantity,
                reason=enums.reason(found.dropped.get(number, Reason.NONE)),
                waiting_for=reason_text(waits[number]) if number in waits else "",
            )
        )
    return states
