"""The instant engine: a fixed stream with a true integer meter, for kill, load and HTTP tests.

It reads a prompt by counting its bytes and gives as many pieces as it may. Its FLOPs follow from a
card of the family "instant", so budgets, escrow and receipts behave as with a real model.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from exchange.metering.cards import INSTANT, ModelCard
from exchange.metering.traces import DenseTrace, tokens_affordable
from exchange.v1.job_service_pb2 import StopCause
from worker.engines.base import (
    NOTHING_DONE,
    EngineJob,
    EngineResult,
    Piece,
    StopSignal,
)

PIECE_TEXT: Final = "token "
YIELD_EVERY: Final = 64
"""Pieces between two turns for others where there is no delay."""


class InstantEngine:
    """Gives `tokens` pieces (as many as the job allows by default), `delay_s` seconds apart.

    Args:
        card: A card of the family "instant".
        tokens: Length of the answer; None for the job's own limit.
        delay_s: Pause before each piece, seconds.
        prompt_delay_s: Pause that stands for reading the prompt, seconds; below zero it makes up
            for the time that messages take, as far as `prompt_tokens_per_s` leaves any.
        prompt_tokens_per_s: Reads so many tokens of a prompt in a second; 0 for at once.
    """

    def __init__(
        self,
        card: ModelCard = INSTANT,
        *,
        tokens: int | None = None,
        delay_s: float = 0.0,
        prompt_delay_s: float = 0.0,
        prompt_tokens_per_s: float = 0.0,
    ) -> None:
        self._card = card
        self._tokens = tokens
        self._delay_s = delay_s
        self._prompt_delay_s = prompt_delay_s
        self._prompt_tokens_per_s = prompt_tokens_per_s

    @property
    def card(self) -> ModelCard:
        """The card by which it meters."""
        return self._card

    @property
    def loaded(self) -> bool:
        """Always: there is nothing to load."""
        return True

    async def ready(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to give back."""

    async def run(
        self, job: EngineJob, budget_flops: int, stop: StopSignal
    ) -> AsyncGenerator[Piece | EngineResult, None]:
        """Run the job; yields pieces, and last the result."""
        text_bytes = sum(len(text.encode()) for _, text in job.messages) or len(job.prompt.encode())
        prompt_tokens = max(self._card.prompt_tokens_usual(text_bytes, 0), 1)
        affordable = tokens_affordable(self._card, prompt_tokens, budget_flops)
        if not affordable:
            yield EngineResult(StopCause.STOP_CAUSE_BUDGET, NOTHING_DONE)
            return
        await _pause(self._reading_s(prompt_tokens), stop)
        if stop:
            yield EngineResult(stop.cause, NOTHING_DONE)
            return
        limit, cause = self._limit(job, affordable)
        given = 0
        while given < limit and not stop:
            if self._delay_s or given % YIELD_EVERY == YIELD_EVERY - 1:
                await _pause(self._delay_s, stop)
                if stop:
                    break
            given += 1
            yield Piece(PIECE_TEXT, 1)
        trace = DenseTrace(prompt_tokens, given - 1) if given else NOTHING_DONE
        yield EngineResult(stop.cause if given < limit else cause, trace)

    def _reading_s(self, prompt_tokens: int) -> float:
        """How long the prompt takes, seconds."""
        rate = self._prompt_tokens_per_s
        return max(0.0, self._prompt_delay_s + (prompt_tokens / rate if rate else 0.0))

    def _limit(self, job: EngineJob, affordable: int) -> tuple[int, StopCause.ValueType]:
        limits = [
            (job.output_tokens_max or affordable, StopCause.STOP_CAUSE_LENGTH),
            (affordable, StopCause.STOP_CAUSE_BUDGET),
        ]
        if self._tokens is not None:
            limits.insert(0, (self._tokens, StopCause.STOP_CAUSE_FINISHED))
        return min(limits, key=lambda limit: limit[0])


async def _pause(seconds: float, stop: StopSignal) -> None:
    if not seconds:
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
