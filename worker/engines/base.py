"""What every engine promises: run a job inside a budget, stop when told, meter what was done."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from exchange.metering.cards import ModelCard
from exchange.metering.traces import DenseTrace, Trace
from exchange.v1.job_service_pb2 import JobInput, StopCause

NOTHING_DONE: Final = DenseTrace(0, 0)
"""The trace of a run that did no work that can be billed."""


class EngineError(Exception):
    """The engine could not do the job; nothing is billed. The text is for people."""


@dataclasses.dataclass(frozen=True, slots=True)
class EngineJob:
    """The work, as the buyer wrote it. Either `messages` (role, content) or `prompt` is set.

    `answer_value_nanos`: what a right answer is worth to the buyer, 0 where he does not say;
    `price_nanos`: what he pays for a CU.
    """

    messages: tuple[tuple[str, str], ...] = ()
    prompt: str = ""
    output_tokens_max: int = 1
    seed: int = 0
    temperature_milli: int = 0
    answer_value_nanos: int = 0
    price_nanos: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Output as it comes: whole characters, and the tokens that they (and silent ones) took."""

    text: str
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class EngineResult:
    """The end of a run: why it stopped, and what was done.

    `surcharge_flops`: at most so much was computed beside the need, to be faster. It is the
    seller's cost: a trace holds what the answer needs, and only that is billed.
    """

    cause: StopCause.ValueType
    trace: Trace
    surcharge_flops: int = 0


class StopSignal:
    """Tells an engine to stop; the first cause wins."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._cause: StopCause.ValueType = StopCause.STOP_CAUSE_UNSPECIFIED

    @property
    def cause(self) -> StopCause.ValueType:
        """Why to stop; STOP_CAUSE_UNSPECIFIED while nobody wants it."""
        return self._cause

    def stop(self, cause: StopCause.ValueType) -> None:
        """Ask for the stop."""
        if not self._event.is_set():
            self._cause = cause
            self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> StopCause.ValueType:
        """Return the cause once there is one."""
        await self._event.wait()
        return self._cause


class Engine(Protocol):
    """One slot's engine: it runs one job at a time."""

    @property
    def card(self) -> ModelCard:
        """The card by which it meters."""
        ...

    @property
    def loaded(self) -> bool:
        """Whether a run could begin at once."""
        ...

    async def ready(self) -> None:
        """Return once the model is loaded.

        Raises:
            EngineError: it cannot be loaded.
        """
        ...

    def run(
        self, job: EngineJob, budget_flops: int, stop: StopSignal
    ) -> AsyncGenerator[Piece | EngineResult, None]:
        """Run the job; yields pieces, and last the result.

        The work never costs more than `budget_flops` by the card. The computation ends within
        250 ms of a stop, also while the prompt is read.

        Raises:
            EngineError: the job cannot be run, or the engine broke.
        """
        ...

    async def close(self) -> None:
        """Give everything back; a run that is under way ends with an EngineError."""
        ...


def parse_job(payload: bytes, price_nanos: int = 0) -> EngineJob:
    """The job in a lease's payload (a serialized JobInput), leased at `price_nanos` per CU.

    Raises:
        EngineError: the payload is no JobInput, or holds no text.
    """
    message = JobInput()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise EngineError("the payload is not a JobInput") from error
    if not message.messages and not message.prompt:
        raise EngineError("the payload holds neither messages nor a prompt")
    return EngineJob(
        messages=tuple((m.role, m.content) for m in message.messages),
        prompt=message.prompt,
        output_tokens_max=message.output_tokens_max,
        seed=message.seed,
        temperature_milli=message.temperature_milli,
        answer_value_nanos=message.answer_value_nanos,
        price_nanos=price_nanos,
    )
