"""How a job ended, in OpenAI's words: a finish reason, a usage, a bill; or an error."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from exchange.http.calls import Calls
from exchange.http.errors import ApiError, of_rpc
from exchange.http.openai.runs import Run
from exchange.metering.adaptive import AdaptiveTrace
from exchange.metering.receipts import ReceiptError, parse_signed_bytes
from exchange.metering.traces import Trace, TraceError, decode_trace
from exchange.rpc.errors import Code, RpcError
from exchange.units import format_compute, format_flops, format_money, format_price
from exchange.v1 import account_service_pb2 as accounts_pb
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason

_GET_RECEIPT: Final = "/exchange.v1.AccountService/GetReceipt"
RETRY_AFTER_MS: Final = 1_000
"""Where there is no capacity now: workers come and go, and prices with them."""
NO_CAPACITY: Final = frozenset(
    {
        "DEADLINE_INFEASIBLE",
        "INSTRUMENT_HALTED",
        "NO_CAPABLE_CLASS",
        "NO_FREE_SLOT",
        "NO_LIQUIDITY",
        "NO_QUOTES",
    }
)
"""Refusals of a job that OpenAI's clients know as 429: nobody can run it in the time given."""
_KNOWN_REFUSED: Final = frozenset({"DRAINING", "STORAGE_FAILED"})
"""Where the exchange could not take a job, and took none."""
_STOPPED: Final = {pb.STOP_CAUSE_FINISHED: "stop"}
"""Finish reasons; every other cause cut the answer short."""
WHY_WORKER: Final = (
    "the batch gave your job the cheapest ask among the workers that can finish it in time (among "
    "equals, the slower hardware class, then the older quote)"
)


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a prompt and of its answer."""

    prompt_tokens: int
    completion_tokens: int


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A settled job.

    Attributes:
        finish_reason: "stop", or "length" where something cut the answer short.
        usage: Tokens, by the worker's receipt; None where it cannot be read.
        exchange: What it cost and who ran it, as the answer tells it.
    """

    finish_reason: str
    usage: Usage | None
    exchange: dict[str, object]


async def ending(calls: Calls, run: Run) -> Ending:
    """How a run ended that was followed to its end.

    Raises:
        ApiError: its job ended without an answer.
    """
    job = run.job
    if job.state != pb.JOB_STATE_SETTLED:
        raise failure(job)
    if job.output_tokens and not run.has_text:
        raise lost(job)
    trace = await _trace(calls, run)
    usage = None if trace is None else Usage(trace.prompt_tokens, job.output_tokens)
    return Ending(
        finish_reason=_STOPPED.get(job.stop_cause, "length"),
        usage=usage,
        exchange=_bill(run, trace),
    )


def headers(job: pb.Job) -> dict[str, str]:
    """What is known of a job once its answer begins."""
    return {
        "X-Request-Id": f"job-{job.job_id}",
        "X-Flopex-Job-Id": str(job.job_id),
        "X-Flopex-Receipt-Id": str(job.lease_id),
        "X-Flopex-Instrument": job.instrument,
        "X-Flopex-Worker": job.worker,
        "X-Flopex-Price": format_price(job.price_nanos),
    }


def failure(job: pb.Job) -> ApiError:
    """The error of a job that ended without an answer."""
    reason = Reason.Name(job.reason).removeprefix("REASON_")
    words = reason.replace("_", " ").lower()
    paid = f"; it paid {format_money(job.paid_nanos)}" if job.paid_nanos else "; nothing was billed"
    if job.state == pb.JOB_STATE_EXPIRED:
        text = f"no worker could finish job {job.job_id} in the time given ({words}){paid}; "
        text += "offer more, or give it more time"
        # Without a time to come back: another job has another deadline, which the buyer chooses.
        return ApiError(429, reason, text)
    if job.state == pb.JOB_STATE_CANCELLED:
        return ApiError(409, reason, f"job {job.job_id} was cancelled ({words}){paid}")
    return ApiError(502, reason, f"job {job.job_id} failed ({words}){paid}")


def refusal(error: RpcError) -> ApiError:
    """A refusal of a job as OpenAI's clients know it."""
    known = of_rpc(error)
    if error.reason in NO_CAPACITY:
        text = f"nobody can run this job in the time given: {error.message}"
        return ApiError(429, error.reason, text, known.param, RETRY_AFTER_MS)
    return known


def may_have_bought(error: Exception) -> bool:
    """Whether a submission that ended so may have become a job all the same."""
    if not isinstance(error, RpcError):
        return True
    unknown = error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL)
    return unknown and error.reason not in _KNOWN_REFUSED


def lost(job: pb.Job) -> ApiError:
    """The job was settled, and what it put out is kept no more: no answer is not an empty one."""
    text = (
        f"the output of job {job.job_id}, which paid {format_money(job.paid_nanos)}, is not kept "
        "any more; another Idempotency-Key makes a new job"
    )
    return ApiError(410, "OUTPUT_GONE", text)


def voided(job: pb.Job) -> ApiError:
    """The attempt failed whose output was sent on already."""
    text = (
        f"the worker of job {job.job_id} failed after its output had begun: what came is void, and "
        "nothing is billed for it; send the request again"
    )
    return ApiError(502, "ATTEMPT_FAILED", text)


async def _trace(calls: Calls, run: Run) -> Trace | None:
    """What the worker did, by its receipt; None where that cannot be read."""
    request = accounts_pb.GetReceiptRequest(lease_id=run.job.lease_id)
    try:
        found: Any = await calls.unary(_GET_RECEIPT, request, run.metadata)
        return decode_trace(parse_signed_bytes(found.receipt.signed_bytes).trace)
    except (RpcError, ReceiptError, TraceError):
        return None


def _bill(run: Run, trace: Trace | None) -> dict[str, object]:
    """The `exchange` object of an answer. 64-bit numbers are strings."""
    job = run.job
    refunded = None if run.held_nanos is None else run.held_nanos - job.paid_nanos
    return {
        "job_id": str(job.job_id),
        "receipt_id": str(job.lease_id),
        "instrument": job.instrument,
        "worker": job.worker,
        "why_worker": WHY_WORKER,
        "why": f"/v1/jobs/{job.job_id}/why",
        "attempt": job.attempt,
        "stop_cause": pb.StopCause.Name(job.stop_cause).removeprefix("STOP_CAUSE_").lower(),
        "price": format_price(job.price_nanos),
        "price_nanos": str(job.price_nanos),
        "compute": format_flops(job.flops),
        "flops": str(job.flops),
        "compute_budget": format_compute(job.quantity_mflop),
        "steps": trace.steps if isinstance(trace, AdaptiveTrace) else None,
        "paid": format_money(job.paid_nanos),
        "paid_nanos": str(job.paid_nanos),
        "refunded": None if refunded is None else format_money(refunded),
        "refunded_nanos": None if refunded is None else str(refunded),
        "repeated": run.repeated,
    }
