"""Receipts: what a worker says it did, checked by arithmetic alone.

FLOPs are a pure integer function of the decision trace, so they are re-computed here, without the
model; and each decision of an adaptive model must follow from what its trace says led to it. Token
counts are bounded by what the exchange saw itself: the prompt's bytes and the chunks that came in.
Of time only this is asked: whether a worker that says its time ran out can have seen that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from exchange.core.commands import StopCause
from exchange.core.limits import (
    ACCEPT_WITHIN_NS,
    FLOPS_PER_MFLOP,
    NS_PER_MS,
    TRACE_BYTES_MAX,
)
from exchange.core.reasons import Reason
from exchange.metering.adaptive import AdaptiveTrace, follows
from exchange.metering.traces import Trace, TraceError, decode_trace, flops, flops_worst

if TYPE_CHECKING:
    from exchange.core.commands import SettleLease
    from exchange.core.instruments import Model
    from exchange.core.jobs import Job
    from exchange.core.lease import Lease
    from exchange.core.planning import Work

UNSEEN_TOKENS_MAX: Final = 4
"""Tokens that may have been given and not seen in the output: an end-of-text token, and up to
three that end inside a UTF-8 character."""

EARLY_SHARE: Final = 3
EARLY_MAX_NS: Final = 250 * NS_PER_MS
"""A worker whose time ran out says so at most this long before the lease's end, and a third of the
lease's time more: where the clock was set back, journal time runs a quarter slower, and less what
had passed just before."""

_CAUSES: Final = frozenset(int(cause) for cause in StopCause)


class Verdict(NamedTuple):
    """NONE and the re-computed FLOPs, or why the receipt pays nothing."""

    reason: Reason
    flops: int


def ends_too_early(lease: Lease, epoch: int, now_ns: int) -> bool:
    """Whether a worker that ends now cannot have been stopped by the lease's time.

    Not told of one that lived through a restart: its time was extended, and its worker's was not.
    """
    if lease.fence_epoch != epoch:
        return False
    whole_ns = lease.stop_by_ns - (lease.accept_by_ns - ACCEPT_WITHIN_NS)
    return lease.stop_by_ns - now_ns > whole_ns // EARLY_SHARE + EARLY_MAX_NS


def judge(
    receipt: SettleLease, job: Job, model: Model, context_tokens_max: int, *, early: bool
) -> Verdict:
    """Check a receipt of the right worker for a lease that runs.

    Args:
        receipt: What the worker says.
        job: What it is for.
        model: That the job's lease runs.
        context_tokens_max: Of the lease's class.
        early: Whether it `ends_too_early`.
    """
    work = job.work
    assert work is not None, "a lease is for no leg"
    reason = _digests_refusal(receipt, job, model)
    if reason:
        return Verdict(reason, 0)
    # A worker that stops unasked has not finished, whatever it calls that.
    unasked = (
        receipt.cause == StopCause.FAILED
        or (receipt.cause == StopCause.CANCELLED and not job.cancelling)
        or (receipt.cause == StopCause.TIME and early)
    )
    if unasked:
        return Verdict(Reason.ENGINE_FAILED, 0)
    try:
        trace = decode_trace(receipt.trace)
        done = flops(model.card, trace)
    except TraceError:
        return Verdict(Reason.RECEIPT_MALFORMED, 0)
    if done != receipt.flops:
        return Verdict(Reason.RECEIPT_FLOPS_MISMATCH, 0)
    budget_flops = work.quantity_mflop * FLOPS_PER_MFLOP
    if done > budget_flops:
        return Verdict(Reason.RECEIPT_OVER_BUDGET, 0)
    if isinstance(trace, AdaptiveTrace) and not follows(model.card.shape, trace, budget_flops):
        return Verdict(Reason.RECEIPT_MALFORMED, 0)
    tokens_max = min(receipt.tokens_received, job.terms.output_tokens_max) + UNSEEN_TOKENS_MAX
    if trace.prompt_tokens > work.input_tokens_max or trace.tokens_given > tokens_max:
        return Verdict(Reason.RECEIPT_TOKENS_IMPLAUSIBLE, 0)
    too_long = work.input_tokens_max >= context_tokens_max
    if not _cause_holds(receipt.cause, trace, work, model, too_long=too_long):
        return Verdict(Reason.RECEIPT_TOKENS_IMPLAUSIBLE, 0)
    return Verdict(Reason.NONE, done)


def _cause_holds(cause: int, trace: Trace, work: Work, model: Model, *, too_long: bool) -> bool:
    """Whether the attempt can have ended for the reason that it gives.

    An answer that finished has a token; a budget that stopped it cannot pay for one more. Without
    this a worker could end a job unanswered by doing nothing. An answer that its length stopped has
    one, too, unless the prompt may be `too_long` for the context: only the worker, who tokenises
    it, can tell, and that it is is not his fault.
    """
    if cause == StopCause.FINISHED:
        # An adaptive model may say that it will never know: its steps are paid, and no more.
        return trace.tokens_given > 0 or (isinstance(trace, AdaptiveTrace) and trace.gave_up)
    if cause == StopCause.LENGTH:
        return trace.tokens_given > 0 or too_long
    if cause == StopCause.BUDGET:
        budget = work.quantity_mflop * FLOPS_PER_MFLOP
        prompt = trace.prompt_tokens or work.input_tokens_max
        return flops_worst(model.card, prompt, trace.tokens_given + 1) > budget
    return True


def _digests_refusal(receipt: SettleLease, job: Job, model: Model) -> Reason:
    if not receipt.signature_valid:
        return Reason.RECEIPT_BAD_SIGNATURE
    if receipt.cause not in _CAUSES or len(receipt.trace) > TRACE_BYTES_MAX:
        return Reason.RECEIPT_MALFORMED
    if receipt.model_digest != model.digest:
        return Reason.RECEIPT_WRONG_MODEL
    if receipt.input_digest != job.terms.payload_digest:
        return Reason.RECEIPT_WRONG_INPUT
    if receipt.output_digest != receipt.output_digest_received:
        return Reason.RECEIPT_WRONG_OUTPUT
    return Reason.NONE
