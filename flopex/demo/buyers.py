"""The demo's buyers: each submits its jobs, follows them to their end and checks their receipts."""

from __future__ import annotations

import asyncio
from typing import Final

from exchange.client import (
    AsyncClient,
    FlopexError,
    Job,
    JobChanged,
    NotFound,
    Output,
    OutputVoided,
    RetryPolicy,
)
from exchange.metering.adaptive import AdaptiveTrace
from exchange.metering.cards import ModelCard
from exchange.metering.costs import FLOPS_PER_MFLOP
from exchange.metering.receipts import parse_signed_bytes
from exchange.metering.traces import decode_trace, flops_worst
from flopex.demo.scenario import NS_PER_S, BuyerPart, JobPart
from flopex.demo.stage import JobRow, Kind, Stage
from flopex.receipts import check_receipt, facts_of, verdict
from flopex.render.format import PRICE_UNIT, compute, flops, money, price, words

AWAY_MAX_S: Final = 120.0
"""An exchange that died is started again; so long it is waited for, on a busy machine too."""
PATIENT: Final = RetryPolicy(attempts=1_000, longest_s=1.0, reconnect_s=AWAY_MAX_S)


async def play_buyer(stage: Stage, target: str, key: str, card: ModelCard, part: BuyerPart) -> None:
    """Submit a buyer's jobs at their times and see all of them through."""
    rows = [row for row in stage.jobs if row.buyer == part.name]
    client = AsyncClient(target, key, timeout_s=AWAY_MAX_S, retry=PATIENT)
    async with client, asyncio.TaskGroup() as tasks:
        for row in rows:
            tasks.create_task(_play_job(stage, client, card, row))


async def _play_job(stage: Stage, client: AsyncClient, card: ModelCard, row: JobRow) -> None:
    await asyncio.sleep(row.part.after_s)
    part = row.part
    try:
        job = await client.jobs.submit(
            part.prompt,
            model=card.name,
            tier=part.tier,
            value=part.value_nanos or None,
            max_cost=part.max_cost_nanos or None,
            budget=budget_mflop(card, part) or None,
            deadline=part.deadline_s * NS_PER_S,
            output_tokens_max=part.output_tokens_max,
        )
        _submitted(stage, row, job)
        async for update in client.jobs.watch(job.job_id):
            _follow(stage, row, update)
        await _check(stage, client, row)
    except FlopexError as error:
        # One job that goes wrong is told and counted; the others go on.
        row.state, row.reason = "failed", str(error)
        stage.say(Kind.TROUBLE, f"{row.buyer}: {error}")


def budget_mflop(card: ModelCard, part: JobPart) -> int:
    """A job's compute budget by the model's card, MFLOP; 0 for the worst case."""
    if not part.budget_tokens:
        return 0
    prompt_tokens = card.prompt_tokens_usual(len(part.prompt.encode()))
    return -(-flops_worst(card, prompt_tokens, part.budget_tokens) // FLOPS_PER_MFLOP)


def _submitted(stage: Stage, row: JobRow, job: Job) -> None:
    row.job_id, row.state, row.escrow_nanos = job.job_id, "queued", job.escrow_nanos
    part = row.part
    limits = [f"worth {money(part.value_nanos)}", f"within {part.deadline_s} s"]
    if part.max_cost_nanos:
        limits.append(f"at most {money(part.max_cost_nanos)}")
    if part.budget_tokens:
        limits.append(f"budget {compute(job.quantity_mflop)}")
    stage.say(Kind.BID, f"job {job.job_id} {row.buyer}: {', '.join(limits)}: {part.prompt}")


def _follow(stage: Stage, row: JobRow, update: JobChanged | Output | OutputVoided) -> None:
    if isinstance(update, Output):
        row.text += update.text
        row.tokens += update.tokens
    elif isinstance(update, OutputVoided):
        row.text, row.tokens = "", 0
        stage.say(
            Kind.TROUBLE,
            f"job {row.job_id} {row.buyer}: attempt {update.attempt} failed and costs nothing; "
            "back into the book with its whole budget",
        )
    else:
        _changed(stage, row, update.job)


def _changed(stage: Stage, row: JobRow, job: Job) -> None:
    before, row.state = row.state, job.state.name.lower()
    row.attempt, row.worker, row.price_nanos = job.attempt, job.worker, job.price_nanos
    if row.state in ("leased", "running") and before not in ("leased", "running"):
        text = (
            f"job {job.job_id} {row.buyer} -> {job.worker} at {price(job.price_nanos)} {PRICE_UNIT}"
        )
        stage.say(Kind.FILL, text)
    if not job.is_open:
        row.flops, row.paid_nanos = job.flops, job.paid_nanos
        row.cause = words(job.stop_cause.name) if job.stop_cause else ""
        row.reason = words(job.reason)
        row.tokens = job.output_tokens or row.tokens


async def _check(stage: Stage, client: AsyncClient, row: JobRow) -> None:
    """Verify the job's receipt here, as any buyer can."""
    if row.state != "settled":
        stage.say(Kind.TROUBLE, f"job {row.job_id} {row.buyer} ended {row.state}: {row.reason}")
        return
    try:
        receipt = await client.account.receipt(job_id=row.job_id)
    except NotFound as error:
        stage.say(Kind.TROUBLE, f"job {row.job_id} {row.buyer}: {error}")
        return
    row.receipt_good = verdict(check_receipt(facts_of(receipt), row.text))
    trace = decode_trace(parse_signed_bytes(receipt.signed_bytes).trace)
    row.steps = trace.steps if isinstance(trace, AdaptiveTrace) else 0
    state = "signature and FLOPs verified" if row.receipt_good else "THE RECEIPT DOES NOT HOLD"
    kind = Kind.RECEIPT if row.receipt_good else Kind.TROUBLE
    stage.say(
        kind,
        f"job {row.job_id} {row.buyer}: {row.tokens} tokens, {flops(row.flops)}, "
        f"paid {money(row.paid_nanos)}, {row.cause}; {state}",
    )
