"""The adaptive engine: questions of all slots think together, each inside its own budget.

It runs one step of all live questions at a time, between which new ones come in and finished ones
leave: by the NumPy form of the model, or on a GPU by the batched one. What one of them is answered
and billed does not depend on the others (`worker.model.thinking`; on a GPU up to rounding).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from exchange.metering.adaptive import ANSWER_TOKENS_MAX, BUDGET_FLOPS_MAX, Decision
from exchange.metering.cards import ModelCard
from exchange.v1.job_service_pb2 import StopCause
from worker.engines.base import (
    NOTHING_DONE,
    EngineError,
    EngineJob,
    EngineResult,
    Piece,
    StopSignal,
)
from worker.model.sizes import DEFAULT_SIZE

if TYPE_CHECKING:
    from exchange.metering.adaptive import Policy
    from worker.model.forms import Form
    from worker.model.thinking import Batch, Thinking

log: Final = logging.getLogger("flopex.worker")

_CAUSES: Final = {
    Decision.ANSWER: StopCause.STOP_CAUSE_FINISHED,
    Decision.HOPELESS: StopCause.STOP_CAUSE_FINISHED,
    Decision.STEPS: StopCause.STOP_CAUSE_LENGTH,
    Decision.BUDGET: StopCause.STOP_CAUSE_BUDGET,
}


class ThinkingRoom:
    """Where the questions of one worker's slots think together.

    Args:
        form: The model; None for the one that the package ships, loaded when it is first needed.
        policy: When to stop; None for the shipped thresholds.
        device: Where the shipped model runs: see `worker.model.shipped.load_for`.
        size: Which of the shipped models it is.
    """

    def __init__(
        self,
        form: Form | None = None,
        policy: Policy | None = None,
        device: str = "cpu",
        size: str = DEFAULT_SIZE,
    ) -> None:
        self._device = device
        self._size = size
        self._form = form
        self._policy = policy
        self._batch: Batch | None = None
        self._loop: asyncio.Task[None] | None = None
        self._stepped = asyncio.Event()
        self._loading = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether questions can be taken at once."""
        return self._batch is not None

    async def load(self) -> None:
        """Load and check the weights.

        Raises:
            EngineError: they are missing, damaged, or not those of the record; or there is no such
                device.
        """
        async with self._loading:
            if self._batch is None:
                form, self._policy = await asyncio.to_thread(self._shipped)
                # NumPy is loaded only where an adaptive engine runs.
                from worker.model.thinking import Batch

                self._batch = Batch(form)

    def _shipped(self) -> tuple[Form, Policy]:
        try:
            from worker.model.errors import DeviceError, WeightsError
            from worker.model.shipped import load_for, shipped_policy
        except ImportError as error:
            raise EngineError(f"the adaptive engine needs the extra worker: {error}") from error
        try:
            form = self._form or load_for(self._device, self._size)
            return form, self._policy or shipped_policy(self._size)
        except (DeviceError, WeightsError) as error:
            raise EngineError(str(error)) from error

    def shipped_card(self) -> ModelCard:
        """The card of the shipped model of the room's size.

        Raises:
            EngineError: no weights of that size are shipped.
        """
        from worker.model.errors import WeightsError
        from worker.model.shipped import shipped_card

        try:
            return shipped_card(self._size)
        except WeightsError as error:
            raise EngineError(str(error)) from error

    def admit(self, question: tuple[int, ...], budget_flops: int, job: EngineJob) -> Thinking:
        """Let a question think from the next step on, by the job's terms.

        Where the buyer said what a right answer is worth, thinking also ends once going on costs
        more, at the price of the lease, than it is expected to gain.
        """
        from worker.model.thinking import Request

        assert self._batch is not None, "load() comes first"
        assert self._policy is not None, "load() comes first"
        policy = self._policy._replace(
            value_nanos=job.answer_value_nanos, price_nanos=job.price_nanos
        )
        tokens_max = min(job.output_tokens_max or ANSWER_TOKENS_MAX, ANSWER_TOKENS_MAX)
        request = Request(question, min(budget_flops, BUDGET_FLOPS_MAX), policy, tokens_max)
        thinking = self._batch.admit(request)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._think(self._batch))
        return thinking

    async def _think(self, batch: Batch) -> None:
        try:
            while batch.live:
                batch.advance()
                self._wake()
                await asyncio.sleep(0)
        except Exception:
            log.exception("the adaptive model broke")
            for thinking in list(batch.live):
                thinking.failed = True
                batch.stop(thinking)
            self._wake()

    def _wake(self) -> None:
        """Wake all who wait for the present step; later ones wait for the next."""
        self._stepped.set()
        self._stepped = asyncio.Event()

    async def step(self) -> None:
        """Return after the next step of the live questions."""
        await self._stepped.wait()

    def stop(self, thinking: Thinking) -> None:
        """Take a question out; what it did stays on its bill."""
        assert self._batch is not None, "it was admitted"
        self._batch.stop(thinking)


class AdaptiveEngine:
    """One slot.

    Args:
        room: Shared by the slots of a worker.
        card: Card of the room's model; None for the shipped one.
    """

    def __init__(self, room: ThinkingRoom, card: ModelCard | None = None) -> None:
        self._room = room
        self._card = card
        self._closed = False

    @property
    def card(self) -> ModelCard:
        """The card by which it meters.

        Raises:
            EngineError: it is a shipped one, of a size that is not shipped.
        """
        if self._card is None:
            self._card = self._room.shipped_card()
        return self._card

    @property
    def loaded(self) -> bool:
        """Whether a run could begin at once."""
        return self._room.loaded

    async def ready(self) -> None:
        """Return once the model is loaded.

        Raises:
            EngineError: the weights are missing or wrong.
        """
        await self._room.load()

    async def close(self) -> None:
        """No further run begins; one that is under way ends with an EngineError."""
        self._closed = True

    async def run(
        self, job: EngineJob, budget_flops: int, stop: StopSignal
    ) -> AsyncGenerator[Piece | EngineResult, None]:
        """Answer the job's question (its prompt, or its last message by a user).

        A question that is too long is the buyer's mistake: it ends at once with cause LENGTH and
        nothing done. One whose first step the budget does not cover ends with cause BUDGET.

        Raises:
            EngineError: the question holds nothing to read, or more unknown words than can be
                told apart; the weights are missing; or the engine was closed.
        """
        await self.ready()
        from worker.model.vocabulary import PromptError, PromptTooLong, read, write

        text = job.prompt or next((t for role, t in job.messages[::-1] if role == "user"), "")
        try:
            reading = read(text)
        except PromptTooLong:
            yield EngineResult(StopCause.STOP_CAUSE_LENGTH, NOTHING_DONE)
            return
        except PromptError as error:
            raise EngineError(str(error)) from error
        thinking = self._room.admit(reading.tokens, budget_flops, job)
        given, said = 0, ""
        try:
            while True:
                if len(thinking.answer) > given:
                    spelled = write(tuple(thinking.answer), reading.aliases)
                    yield Piece(spelled[len(said) :], len(thinking.answer) - given)
                    given, said = len(thinking.answer), spelled
                if thinking.ended is not None:
                    break
                if self._closed:
                    raise EngineError("the engine is closed")
                if stop:
                    self._room.stop(thinking)
                    break
                await self._room.step()
        finally:
            self._room.stop(thinking)
        if thinking.failed:
            raise EngineError("the adaptive model broke")
        assert thinking.ended is not None, "it was ended above"
        cause = _CAUSES.get(thinking.ended, stop.cause)
        yield EngineResult(cause, thinking.trace() if thinking.thoughts else NOTHING_DONE)
