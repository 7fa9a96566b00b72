"""`flopex submit`: buys an answer and streams it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.hints import HINTS, WAITED
from flopex.cli.output import plain
from flopex.cli.units import (
    compute_option,
    duration_option,
    money_option,
    positive,
    price_option,
)
from flopex.interrupts import interruptible
from flopex.render.format import PRICE_UNIT, grouped, money, price, words
from flopex.render.tables import job_ending

if TYPE_CHECKING:
    from exchange.client import AsyncClient, Job, JobLeg, JobTerms, Message

MODEL_DEFAULT: Final = "smollm2-135m"
PROMPT_BYTES_MAX: Final = 1 << 20
"""As much as is read from stdin; the exchange takes no larger prompt."""
CANCEL_WITHIN_S: Final = 10.0
"""How long Ctrl-C waits for the bill of the work up to the stop."""

app = typer.Typer()


_Value = Annotated[
    int | None,
    typer.Option(
        parser=positive(money_option),
        metavar="MONEY",
        help="What the whole answer is worth; the exchange bids for you, from low to this.",
    ),
]
_MaxCost = Annotated[
    int | None,
    typer.Option(parser=positive(money_option), metavar="MONEY", help="Never pay more than this."),
]
_Limit = Annotated[
    int | None,
    typer.Option(
        parser=positive(price_option),
        metavar="PRICE",
        help="A limit price per CU, in place of a value.",
    ),
]
_Budget = Annotated[
    int | None,
    typer.Option(
        parser=positive(compute_option),
        metavar="COMPUTE",
        help="Compute budget; the answer is cut short there. "
        "Else the worst case of prompt and answer.",
    ),
]
_AnswerValue = Annotated[
    int | None,
    typer.Option(
        parser=positive(money_option),
        metavar="MONEY",
        help="What a right answer is worth, told to the worker: a model that thinks in steps then "
        "stops once going on costs more than it is expected to gain.",
    ),
]
_Leg = Annotated[
    list[str] | None,
    typer.Option(
        metavar="INSTRUMENT:LIMIT:QUANTITY",
        help="One of up to 16 ways to run it, of which the first to fill is used: an instrument, a "
        "limit price per CU (left out: by --value) and compute (left out: the worst case).",
    ),
]
_Deadline = Annotated[
    int,
    typer.Option(
        parser=positive(duration_option), metavar="DURATION", help="Finish within this time."
    ),
]


@command(
    app,
    "submit",
    example='flopex submit "Write one sentence about the sea." --value 0.001\n'
    "cat letter.txt | flopex submit - --max-cost 0.0005 --budget '40 GFLOP' --deadline 2m\n"
    "flopex submit \"Name a colour.\" --leg 'smollm2-135m/cpu/batch:300000 nanos:40 GFLOP' "
    "--leg 'smollm2-135m/h100/batch:1700 nanos'",
)
async def submit(
    session: Session,
    prompt: Annotated[
        str | None, typer.Argument(help="What to ask; - or nothing reads it from stdin.")
    ] = None,
    value: _Value = None,
    max_cost: _MaxCost = None,
    limit: _Limit = None,
    budget: _Budget = None,
    answer_value: _AnswerValue = None,
    deadline: _Deadline = "60s",  # type: ignore[assignment]
    leg: _Leg = None,
    model: Annotated[str, typer.Option(help="Model's name.", show_default=MODEL_DEFAULT)] = "",
    tier: Annotated[str, typer.Option(help="Service tier.", show_default="interactive")] = "",
    instrument: Annotated[
        str, typer.Option(help="Only this instrument; else every hardware class competes.")
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 128,
    system: Annotated[str, typer.Option(help="A system message before the prompt.")] = "",
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature; 0 is greedy and reproducible.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed for sampling.")] = 0,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's number and do not wait.")
    ] = False,
) -> None:
    """Buy an answer: submit a job, stream its answer, print its bill.

    The answer goes to stdout, the bill to stderr. Ctrl-C cancels the job and stops the bill. Exit
    code 0 where the job settled, also if its budget cut the answer short.
    """
    text = await _prompt(prompt)
    terms: JobTerms = {
        **_way(leg or [], model, tier, instrument, limit, budget, worth=value or max_cost),
        "value": value,
        "max_cost": max_cost,
        "answer_value": answer_value or 0,
        "deadline": deadline,
        "output_tokens_max": max_tokens,
        "temperature_milli": round(temperature * 1_000),
        "seed": seed,
    }
    async with session.connect() as client:
        job = await client.jobs.submit(_messages(system, text), **terms)
        if detach:
            session.output.answer(job, str(job.job_id))
            return
        follower = Follower(session, client, job)
        job = await follower.follow()
    session.output.summary(job=job)
    if job.state.name != "SETTLED":
        why = words(job.reason) or "no reason was given"
        raise CommandError(
            f"job {job.job_id} ended {words(job.state.name)}: {why}",
            follower.hint(),
            reason=job.reason or job.state.name,
        )


def _way(
    legs: list[str],
    model: str,
    tier: str,
    instrument: str,
    limit: int | None,
    budget: int | None,
    *,
    worth: int | None,
) -> JobTerms:
    """What runs where, for how much compute and at which limit: one way, or several legs.

    Raises:
        CommandError: nothing says what the answer is worth, or both are named.
    """
    named = [_leg(text) for text in legs]
    if named and (model or tier or instrument or limit or budget):
        raise CommandError(
            "--leg stands in place of --model, --tier, --instrument, --limit and --budget",
            "give each leg its own: --leg 'INSTRUMENT:LIMIT:QUANTITY'",
            ExitCode.USAGE,
            "LEG",
        )
    limited = all(leg.limit for leg in named) if named else limit
    if worth is None and not limited:
        raise CommandError(
            "say what the answer is worth to you",
            "--value 0.001 (dollars), or --max-cost, or --limit for a price per CU",
            ExitCode.USAGE,
            "VALUE_MISSING",
        )
    if named:
        return {"legs": named}
    return {
        "model": model or MODEL_DEFAULT,
        "tier": tier,
        "instrument": instrument,
        "limit": limit,
        "budget": budget,
    }


def _leg(text: str) -> JobLeg:
    """A leg as it is written."""
    from exchange.client import JobLeg

    name, *terms = text.split(":")
    limit, quantity = (*terms, "", "")[:2]
    try:
        if not name or len(terms) > 2:
            raise typer.BadParameter("it has not up to three parts")
        return JobLeg(
            name,
            price_option(limit) if limit else 0,
            compute_option(quantity) if quantity else 0,
        )
    except typer.BadParameter as error:
        raise CommandError(
            f"{text!r} is no leg: {error.message}",
            "--leg 'smollm2-135m/cpu/batch:300000 nanos:40 GFLOP'",
            ExitCode.USAGE,
            "LEG",
        ) from error


def _messages(system: str, text: str) -> list[Message]:
    from exchange.client import Message

    messages = [Message("user", text)]
    return [Message("system", system), *messages] if system else messages


async def _prompt(given: str | None) -> str:
    if given is not None and given != "-":
        if not given.strip():
            raise _bad_prompt("the prompt is empty")
        return given
    if sys.stdin.isatty():
        raise CommandError(
            "no prompt", 'flopex submit "..." or cat file | flopex submit', ExitCode.USAGE, "PROMPT"
        )
    raw: bytes = await interruptible(sys.stdin.buffer.read, PROMPT_BYTES_MAX + 1)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad_prompt(f"the prompt is not UTF-8 (byte {error.start})") from error
    if len(raw) > PROMPT_BYTES_MAX:
        raise _bad_prompt(f"the prompt is longer than {PROMPT_BYTES_MAX} bytes")
    if not text.strip():
        raise _bad_prompt("the prompt is empty")
    return text


def _bad_prompt(message: str) -> CommandError:
    return CommandError(message, code=ExitCode.USAGE, reason="PROMPT")


class Follower:
    """Streams a job's answer to its end; an interruption cancels the job.

    Args:
        session: Where the answer goes.
        client: Open.
        job: As it was submitted.
    """

    def __init__(self, session: Session, client: AsyncClient, job: Job) -> None:
        self._session = session
        self._client = client
        self._job = job
        self._midline = False
        self._waited_for = job.waiting_for

    def hint(self) -> str:
        """What to do about a job that ended without an answer."""
        job = self._job
        if job.state.name == "EXPIRED":
            todo = WAITED.get(words(self._waited_for), "give it more time, or offer more")
            return f"{todo}; flopex why job {job.job_id} tells more"
        return HINTS.get(job.reason, "")

    async def follow(self) -> Job:
        """The job as it ended.

        Raises:
            asyncio.CancelledError: Ctrl-C; the job was cancelled and its bill printed.
        """
        try:
            await self._watch()
        except asyncio.CancelledError:
            await self._cancel()
            raise
        self._bill()
        return self._job

    async def _cancel(self) -> None:
        from exchange.client import FlopexError

        output = self._session.output
        self._end_line()
        output.note(f"cancelling job {self._job.job_id} ...")
        try:
            async with asyncio.timeout(CANCEL_WITHIN_S):
                self._job = await self._client.jobs.cancel(self._job.job_id)
                if self._job.is_open:
                    await self._watch(quiet=True)
        except (FlopexError, TimeoutError) as error:
            output.note(
                f"no bill yet ({str(error) or 'no answer'}): flopex jobs {self._job.job_id}"
            )
            return
        self._bill()
        output.summary(job=self._job)

    async def _watch(self, quiet: bool = False) -> None:
        from exchange.client import JobChanged, Output, OutputVoided

        output = self._session.output
        async for update in self._client.jobs.watch(self._job.job_id):
            if isinstance(update, JobChanged):
                self._job = update.job
                self._waited_for = update.job.waiting_for or self._waited_for
            if quiet:
                continue
            kind = {JobChanged: "job", Output: "output", OutputVoided: "voided"}[type(update)]
            if self._session.json:
                fields = plain(update)
                output.line({"type": kind, **(fields["job"] if kind == "job" else fields)})
            elif isinstance(update, Output):
                output.text(update.text)
                self._midline = not update.text.endswith("\n") if update.text else self._midline
            elif isinstance(update, OutputVoided):
                self._end_line()
                output.note(f"attempt {update.attempt} failed: what stands above is void, and free")
            else:
                self._tell(update.job)

    def _tell(self, job: Job) -> None:
        """What waiting or being matched looks like, on stderr."""
        output = self._session.output
        if job.state.name == "QUEUED":
            why = f"; {ending}" if (ending := job_ending(job)) else ""
            output.note(f"job {job.job_id} bids, holding {money(job.escrow_nanos)}{why}")
        elif job.state.name == "LEASED":
            output.note(f"leased to {job.worker} at {price(job.price_nanos)} {PRICE_UNIT}")

    def _end_line(self) -> None:
        if self._midline:
            self._session.output.text("\n")
            self._midline = False

    def _bill(self) -> None:
        self._end_line()
        job = self._job
        cut = ""
        if job.stop_cause.name in ("BUDGET", "LENGTH", "TIME"):
            limit = {"BUDGET": "compute budget", "LENGTH": "--max-tokens", "TIME": "time"}
            cut = f"; cut short by its {limit[job.stop_cause.name]}"
        self._session.output.note(
            f"job {job.job_id} {words(job.state.name)}: {money(job.paid_nanos)} for "
            f"{grouped(job.flops)} FLOPs, {job.output_tokens} tokens{cut}"
        )
