"""The adaptive model end to end on one device: rates, latencies, energy, and the meter's agreement.

Without a file of weights the `small` model gets random ones: what it answers is then nonsense, and
so are the numbers of its steps, but a step costs what it costs.
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save_file

from exchange.metering.adaptive import AdaptiveShape, Policy, adaptive_flops
from flopex.bench.gating import cases, checks, timing
from worker.model.batched import BatchedForm
from worker.model.forms import Form, NumpyForm
from worker.model.kernels.host import Kernels
from worker.model.sizes import SIZES
from worker.model.tasks.draws import Drawn, draw
from worker.model.tasks.sample import DIFFICULTIES
from worker.model.thinking import Request, Thinking, think
from worker.model.weights import Weights, load_weights, shapes_of

LEASES: Final = (1, 4, 16, 64, 256)
QUESTIONS: Final = 512
LATENCIES: Final = 31
"""Questions of each difficulty whose time is taken, one at a time."""
COMPARED: Final = 64
"""Requests that the specification answers, too."""
STEP_ROWS: Final = 64
"""Requests in the step of which the gate's share is taken."""
PLENTY_FLOPS: Final = 10**12
NOISE_PPM: Final = 100
"""Decisions whose recorded margin is below this may fall otherwise on another device."""


def chosen_weights(path: Path | None, seed: int, quick: bool) -> Weights:
    """Those of a file, or random ones, of the size `base`, or `tiny` for a quick run.

    Raises:
        WeightsError: the file holds no such weights.
    """
    shape = SIZES["tiny" if quick else "base"]
    return load_weights(path, shape) if path else random_weights(shape, seed)


def measure(
    weights: Weights, device: str, seed: int, quick: bool, report: Callable[[str], None]
) -> dict[str, Any]:
    """All but the gate's share, on `cuda` or, to see that it works, on `cpu`."""
    form = BatchedForm(weights, device)
    rng = random.Random(seed)
    count, leases = (24, (1, 8)) if quick else (QUESTIONS, LEASES)
    drawn = [draw(rng, "test", "uniform") for _ in range(count)]
    requests = [_request(one) for one in drawn]
    report("model: warm-up")
    think(form, requests[:8])
    rates = []
    for at_once in leases:
        report(f"model: {at_once} leases")
        rates.append(_rate(form, device, requests[: max(8, min(count, 8 * at_once))], at_once))
    report("model: latencies")
    times = 3 if quick else LATENCIES
    latencies = {
        name: _latency(form, device, rng, difficulty, times)
        for name, difficulty in (("easy", DIFFICULTIES[0]), ("hard", DIFFICULTIES[-1]))
    }
    report("model: the meter")
    return {
        "size": "tiny" if quick else "base",
        "weights_sha256": weights.sha256,
        "rates": rates,
        "latency_ms": latencies,
        "meter": _meter(weights, form, requests[: 8 if quick else COMPARED]),
    }


def random_weights(shape: AdaptiveShape, seed: int) -> Weights:
    """Weights of the right shapes."""
    rng = np.random.default_rng(seed)
    tensors = {
        name: (rng.standard_normal(size) * size[-2 if len(size) > 1 else -1] ** -0.5).astype(
            np.float32
        )
        for name, size in shapes_of(shape).items()
    }
    with tempfile.TemporaryDirectory(prefix="flopex-bench-") as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(tensors, path)
        return load_weights(path, shape)


def gate_share(kernels: Kernels, device: checks.Device, form: Form, seed: int) -> dict[str, float]:
    """The gate's three kernels of a step, and the whole step, of STEP_ROWS requests; microseconds.

    The kernels are timed one by one, each launched alone: what they take when nothing hides it.
    """
    draws, rng = random.Random(seed), np.random.default_rng(seed)
    questions = [draw(draws, "test", "uniform").reading.tokens for _ in range(STEP_ROWS)]
    memories = [form.read(question, 0) for question in questions]
    states, steps = [m.state for m in memories], [1] * STEP_ROWS
    step_us = timing.alone(lambda: form.step(states, memories, steps, 0.6)).median_us
    shape = form.shape
    gate_us = 0.0
    for case in (
        cases.route(rng, STEP_ROWS, shape.experts, shape.experts_active, cases.plain),
        cases.halt(rng, STEP_ROWS, cases.plain),
        cases.exit_confidence(rng, STEP_ROWS, shape.answers, "fp32", cases.plain),
    ):
        inputs = [device.give(array) for array in case.arrays]
        kernel, numbers = getattr(kernels, case.function), case.numbers
        out = kernel(*inputs, *numbers)
        gate_us += timing.alone(partial(kernel, *inputs, *numbers, out=out)).median_us
    return {
        "rows": STEP_ROWS,
        "gate_us": round(gate_us, 2),
        "step_us": round(step_us, 2),
        "share": round(gate_us / step_us, 4),
    }


def _request(drawn: Drawn) -> Request:
    return Request(drawn.reading.tokens, PLENTY_FLOPS, Policy())


def _timed(device: str, work: Callable[[], list[Thinking]]) -> tuple[float, list[Thinking]]:
    """Seconds until the device is done, too."""
    import torch

    cuda: Any = torch.cuda
    wait = cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    done = work()
    wait()
    return time.perf_counter() - start, done


def _rate(form: Form, device: str, requests: list[Request], at_once: int) -> dict[str, Any]:
    before = _energy_mj(device)
    seconds, done = _timed(device, lambda: think(form, requests, at_once))
    after = _energy_mj(device)
    tokens = sum(len(thinking.answer) for thinking in done)
    steps = sum(len(thought.steps) for thinking in done for thought in thinking.thoughts)
    joules = None if before is None or after is None else (after - before) / 1e3
    return {
        "leases": at_once,
        "requests": len(done),
        "tokens_per_s": round(tokens / seconds, 1),
        "steps_per_s": round(steps / seconds, 1),
        "joules_per_1000_tokens": None if joules is None else round(1e3 * joules / tokens, 2),
    }


def _latency(
    form: Form, device: str, rng: random.Random, difficulty: int, times: int
) -> dict[str, float]:
    """Milliseconds of one request at a time, of one difficulty."""
    drawn = (draw(rng, "test", "uniform") for _ in itertools.count())
    chosen = itertools.islice((d for d in drawn if d.sample.difficulty == difficulty), times)
    taken = []
    for one in chosen:
        request = _request(one)
        seconds, _ = _timed(device, lambda request=request: think(form, [request]))  # type: ignore[misc]
        taken.append(1e3 * seconds)
    return {
        "median": round(statistics.median(taken), 2),
        "low": round(min(taken), 2),
        "high": round(max(taken), 2),
    }


def _meter(weights: Weights, form: Form, requests: list[Request]) -> dict[str, int]:
    """How many requests were metered as the specification meters them."""
    equal = excused = 0
    here = think(NumpyForm(weights), requests)
    for one, other in zip(here, think(form, requests), strict=True):
        if adaptive_flops(form.shape, one.trace()) == adaptive_flops(form.shape, other.trace()):
            equal += 1
            continue
        thoughts = one.trace().thoughts
        margins = [step.margin_ppm for thought in thoughts for step in thought.steps]
        margins += [thought.margin_ppm for thought in thoughts]
        margins += [
            abs(step.now_ppm - one.request.policy.halt_ppm)
            for thought in thoughts
            for step in thought.steps
        ]
        excused += min(margins) < NOISE_PPM
    return {"requests": len(requests), "equal": equal, "within_noise": excused}


def _energy_mj(device: str) -> int | None:
    """Millijoules that the GPU has used since its driver was loaded, if NVML says."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except pynvml.NVMLError:
        return None
