"""The work of played workers: what a lease takes, and the receipt that it ends with."""

from __future__ import annotations

import hashlib
import statistics
from typing import Final, NamedTuple

from exchange.core import commands as c
from exchange.core.events import LeaseOffered
from exchange.core.exchange import Exchange
from exchange.core.jobs import Job
from exchange.core.limits import FLOPS_PER_MFLOP
from exchange.core.planning import LEG_NUMBERS
from exchange.metering.adaptive import BUDGET_FLOPS_MAX, AdaptiveTrace, follows
from exchange.metering.cards import ModelCard
from exchange.metering.traces import DenseTrace, decode_trace, flops, tokens_affordable
from sim.recording import Done, Recording

_NOTHING: Final = DenseTrace(0, 0).encode()
_DIGEST: Final = bytes(32)


class Work(NamedTuple):
    """What a lease takes.

    Attributes:
        takes_ns: From the offer to the receipt.
        trace: What the worker then has done, encoded.
        tokens_received: Of the answer, as the gateway counts them.
        cause: Why it stops.
        guessed: Whether no receipt of this job told it.
    """

    takes_ns: int
    trace: bytes
    tokens_received: int
    cause: int
    guessed: bool = False


class StandIns:
    """Work by job: the recorded one, or the typical one of its model."""

    def __init__(self, recording: Recording) -> None:
        self._done = recording.done
        by_model: dict[int, list[Done]] = {}
        for done in recording.done.values():
            by_model.setdefault(done.model_id, []).append(done)
        self._by_model = by_model
        self._typical = {
            model_id: (
                statistics.median(done.pace for done in known),
                statistics.median(done.share for done in known),
            )
            for model_id, known in by_model.items()
        }

    def knows(self, core: Exchange, terms: c.SubmitJob) -> bool:
        """Whether there is a trace, or a model of one, for whatever the job may be sold as."""
        done = self._done.get((terms.account_id, terms.client_job_id))
        instruments = [core.instruments.get(i) for i in terms.legs[::LEG_NUMBERS]]
        models = {i.terms.model_id for i in instruments if i} or {terms.model_id}
        return all(
            (done is not None and done.model_id == model_id)
            or model_id in self._by_model
            or (model_id in core.models and core.models[model_id].card.family != "adaptive")
            or model_id not in core.models  # refused in any case
            for model_id in models
        )

    def work(self, core: Exchange, offered: LeaseOffered) -> Work:
        """What a lease that was just offered will take."""
        job = core.jobs[offered.job_id]
        work = job.work
        assert work is not None, "a lease is for no leg"
        instrument = core.instruments[offered.instrument_id]
        tokens_max = job.terms.output_tokens_max
        promised_ns = instrument.run_time_ns(work.input_tokens, tokens_max)
        done = self._done.get((job.account_id, job.terms.client_job_id))
        card = core.models[work.model_id].card
        budget_flops = work.quantity_mflop * FLOPS_PER_MFLOP
        if done is not None and done.model_id == work.model_id:
            takes_ns = max(1, round(promised_ns * done.pace))
            trace = _under(done.trace, card, budget_flops)
            if trace is not None:
                return Work(takes_ns, trace, done.tokens_received, done.cause)
        pace, share = self._typical.get(work.model_id, (1.0, 1.0))
        takes_ns = max(1, round(promised_ns * pace))
        if card.family == "adaptive":
            trace, tokens, cause = self._borrowed(job, card)
        else:
            wanted = max(1, round(share * tokens_max))
            trace, tokens, cause = _dense(card, work.input_tokens, wanted, budget_flops, tokens_max)
        return Work(takes_ns, trace, tokens, cause, guessed=True)

    def _borrowed(self, job: Job, card: ModelCard) -> tuple[bytes, int, int]:
        """The dearest recorded trace of the model that fits the job; nothing done where none does.

        An adaptive model's decisions cannot be made up.
        """
        work = job.work
        assert work is not None, "a lease is for no leg"
        budget_flops = work.quantity_mflop * FLOPS_PER_MFLOP
        best, best_trace, best_flops = None, b"", 0
        for done in self._by_model.get(work.model_id, []):
            under = _under(done.trace, card, budget_flops)
            if under is None:
                continue
            trace = decode_trace(under)
            cost = flops(card, trace)
            fits = (
                cost <= budget_flops
                and trace.prompt_tokens <= work.input_tokens_max
                and done.tokens_given <= job.terms.output_tokens_max
                and done.cause != c.StopCause.BUDGET
            )
            if fits and cost > best_flops:
                best, best_trace, best_flops = done, under, cost
        if best is None:
            return _NOTHING, 0, c.StopCause.TIME
        return best_trace, best.tokens_received, best.cause


def _under(trace: bytes, card: ModelCard, budget_flops: int) -> bytes | None:
    """A recorded trace as it would be under another budget; None where it would not be the same."""
    read = decode_trace(trace)
    if not isinstance(read, AdaptiveTrace) or not read.thoughts:
        return trace
    under = read._replace(budget_flops=min(budget_flops, BUDGET_FLOPS_MAX))
    return under.encode() if follows(card.shape, under, budget_flops) else None


def stopped(work: Work, after_ns: int, cause: c.StopCause) -> Work:
    """The work, stopped early: a dense model has given its share of the tokens by then."""
    trace = decode_trace(work.trace)
    share = min(1.0, after_ns / work.takes_ns)
    given = int(trace.tokens_given * share)
    if not isinstance(trace, DenseTrace) or not given:
        return Work(after_ns, _NOTHING, 0, cause, work.guessed)
    shorter = DenseTrace(trace.prompt_tokens, given - 1)
    return Work(after_ns, shorter.encode(), given, cause, work.guessed)


def receipt(core: Exchange, offered: LeaseOffered, work: Work) -> c.SettleLease:
    """What the worker of a lease sends, as the gateway hands it on."""
    job = core.jobs[offered.job_id]
    assert job.work is not None, "a lease is for no leg"
    model = core.models[job.work.model_id]
    return c.SettleLease(
        worker_id=offered.worker_id,
        lease_id=offered.lease_id,
        fence_epoch=offered.fence_epoch,
        fence_sequence=offered.fence_sequence,
        cause=work.cause,
        signature_valid=1,
        flops=flops(model.card, decode_trace(work.trace)),
        tokens_received=work.tokens_received,
        model_digest=model.digest,
        input_digest=job.terms.payload_digest,
        output_digest=_DIGEST,
        output_digest_received=_DIGEST,
        receipt_digest=hashlib.sha256(offered.lease_id.to_bytes(8, "big")).digest(),
        trace=work.trace,
    )


def _dense(
    card: ModelCard, prompt: int, wanted: int, budget_flops: int, tokens_max: int
) -> tuple[bytes, int, int]:
    """A dense model's trace of so many tokens, or of as many as the budget allows."""
    affordable = tokens_affordable(card, prompt, budget_flops)
    if not affordable:
        return _NOTHING, 0, c.StopCause.BUDGET
    given = min(wanted, affordable)
    cause = c.StopCause.FINISHED
    if given == tokens_max:
        cause = c.StopCause.LENGTH
    elif given < wanted:
        cause = c.StopCause.BUDGET
    return DenseTrace(prompt, given - 1).encode(), given, cause
