"""`flopex receipt`: what a worker signed, and whether it is true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.output import plain
from flopex.interrupts import interruptible
from flopex.render.format import PRICE_UNIT, grouped, money, price, words
from flopex.render.tables import findings_table

if TYPE_CHECKING:
    from exchange.client import Job, Receipt
    from flopex.receipts import Finding, ReceiptFacts

app = typer.Typer(
    no_args_is_help=True, help="Receipts: what a worker signed, and whether it holds."
)

_JOB = typer.Argument(min=1, help="The job whose last receipt is meant.")
_LEASE = typer.Option(min=1, help="The lease, in place of a job.")


@command(app, "show", example="flopex receipt show 17 --json > receipt-17.json")
async def show(
    session: Session,
    job: Annotated[int | None, _JOB] = None,
    lease: Annotated[int | None, _LEASE] = None,
) -> None:
    """Show a receipt that you bought or sold. Its --json form can be verified anywhere."""
    async with session.connect() as client:
        job_id, lease_id = _which(job, lease)
        receipt = await client.account.receipt(job_id=job_id, lease_id=lease_id)
    session.output.answer(receipt, _shown(receipt))


@command(
    app,
    "verify",
    example="flopex receipt verify 17\n"
    "flopex receipt verify --file receipt-17.json --public-key 5d3f...",
)
async def verify(
    session: Session,
    job: Annotated[int | None, _JOB] = None,
    lease: Annotated[int | None, _LEASE] = None,
    file: Annotated[
        Path | None, typer.Option(help="A receipt as `receipt show --json` printed it.")
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The worker's key, as you know it from elsewhere."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The answer as you received it, to compare its digest.")
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(help="The question, to run the adaptive model again and compare."),
    ] = None,
) -> None:
    """Check a receipt on this machine, without trusting the exchange.

    The signature is checked, the FLOPs are computed again from the decision trace and the model
    card, and the bill from the FLOPs and the price. With a job, its answer is compared as well.
    For the adaptive model, every decision has to follow from its policy and budget; with
    --question the model is run again here, and has to decide the same.
    Exit code 1 if anything is wrong.
    """
    from flopex.receipts import (
        ReceiptUnreadable,
        check_receipt,
        check_replay,
        read_receipt,
        verdict,
    )

    pinned = _key(public_key)
    answer = None
    try:
        if file is not None:
            facts = read_receipt(file)
        else:
            facts, answer = await _fetch(session, job, lease)
        if output is not None:
            answer = output.read_bytes().decode()
    except ReceiptUnreadable as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="RECEIPT") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {output}: {error}", code=ExitCode.USAGE) from error
    findings = check_receipt(facts, answer, pinned)
    if question is not None:
        findings.append(await interruptible(check_replay, facts, question))
    good = verdict(findings)
    session.output.answer(_summary(facts, findings, good), _verdict(facts, findings, good))
    if not good:
        raise CommandError(
            "the receipt does not hold", "see the lines marked WRONG", reason="RECEIPT_WRONG"
        )


def _which(job: int | None, lease: int | None) -> tuple[int, int]:
    if (job is None) == (lease is None):
        raise CommandError(
            "name a job or a lease", "flopex jobs lists your jobs", ExitCode.USAGE, "WHICH"
        )
    return job or 0, lease or 0


def _key(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise CommandError(
            "--public-key must be 64 hexadecimal digits", code=ExitCode.USAGE, reason="KEY"
        )
    return key


async def _fetch(
    session: Session, job: int | None, lease: int | None
) -> tuple[ReceiptFacts, str | None]:
    """The receipt, and the answer if its job is the caller's and it is still there."""
    from exchange.client import NotFound, PermissionDenied
    from flopex.receipts import facts_of

    job_id, lease_id = _which(job, lease)
    async with session.connect() as client:
        receipt = await client.account.receipt(job_id=job_id, lease_id=lease_id)
        try:
            bought = await client.jobs.get(receipt.job_id)
            answer = await client.jobs.output(receipt.job_id)
        except (NotFound, PermissionDenied):
            return facts_of(receipt), None
    same = bought.lease_id == receipt.lease_id and bought.output_counts
    return facts_of(receipt), answer if same and _is_kept(bought, answer) else None


def _is_kept(job: Job, answer: str) -> bool:
    """Whether the exchange still has a job's answer: it erases outputs, and tells then none."""
    return bool(answer) or not job.output_tokens


def _shown(receipt: Receipt) -> str:
    state = "accepted" if receipt.accepted else f"refused: {words(receipt.reason)}"
    return "\n".join(
        (
            f"lease {receipt.lease_id} of job {receipt.job_id}, worker {receipt.worker}: {state}",
            f"FLOPs       {grouped(receipt.flops)} ({words(receipt.stop_cause.name)})",
            f"price       {price(receipt.price_nanos)} {PRICE_UNIT}",
            f"billed      {money(receipt.billed_nanos)}",
            f"public key  {receipt.public_key.hex()}",
            f"signature   {receipt.signature.hex()}",
        )
    )


def _summary(facts: ReceiptFacts, findings: list[Finding], good: bool) -> dict[str, object]:
    return {
        "lease_id": facts.lease_id,
        "job_id": facts.job_id,
        "worker": facts.worker,
        "valid": good,
        "checks": plain(findings),
    }


def _verdict(facts: ReceiptFacts, findings: list[Finding], good: bool) -> Group:
    text = Text(f"lease {facts.lease_id} of job {facts.job_id}, worker {facts.worker}: ")
    text.append("the receipt holds" if good else "THE RECEIPT DOES NOT HOLD", "bold")
    return Group(findings_table(findings), text)
