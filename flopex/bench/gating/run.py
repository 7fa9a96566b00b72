"""`flopex bench gating`: whether the kernels are right on this GPU, and what they cost.

Right: every function, from one row to 65,536, on fresh random and awkward inputs, into outputs full
of garbage, must give the reference's numbers to the last bit, twice. Cost: medians of CUDA events
beside eager torch, torch.compile and Triton, each alone and inside a CUDA graph, and beside two
floors: the bytes that must move at the rate of a copy, and an empty kernel.

Without a GPU nothing is measured and nothing is written.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from flopex.bench.gating import cases, checks, timing
from worker.model.gate_types import Array
from worker.model.kernels.host import Kernels, halt_counters, part_words

EAGER_RATIO_GOAL: Final = 4.0
"""Times that a kernel should be faster than eager torch."""
TRITON_RATIO_GOAL: Final = 1.0
FLOOR_RATIO_GOAL: Final = 1.5
"""Times of the larger floor that a kernel may take, from GOAL_ROWS rows on."""
GOAL_ROWS: Final = 4096
SHARE_GOAL: Final = 0.02
"""Share of a model's step that the gate may take."""
SANITIZER_TOOLS: Final = ("memcheck", "racecheck", "initcheck", "synccheck")

Report = Callable[[str], None]


class NoGpu(RuntimeError):
    """There is nothing to measure on; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run."""

    seed: int = 1
    quick: bool = False
    """Fewer and smaller cases: to see that all of it runs, not to publish."""
    weights: Path | None = None
    """Of the adaptive model; random ones without."""


def require_gpu() -> None:
    """Make sure that everything can be measured.

    Raises:
        NoGpu: something is missing; all of it is named.
    """
    from worker.model.kernels import launch

    lacks = [
        f"{name} is not installed"
        for name in ("torch", "triton")
        if importlib.util.find_spec(name) is None
    ]
    if importlib.util.find_spec("torch") is not None:
        import torch

        if not torch.cuda.is_available():
            lacks.append("torch finds no CUDA device")
    if why := launch.missing():
        lacks.append(why)
    if lacks:
        raise NoGpu("; ".join(lacks))


class TorchDevice:
    """Arrays as torch tensors on the current GPU; bf16 as its bits on this side."""

    @staticmethod
    def give(array: np.ndarray) -> Array:
        """A copy on the GPU."""
        import torch

        if array.dtype == np.uint16:
            return torch.from_numpy(array.view(np.int16)).cuda().view(torch.bfloat16)
        return torch.from_numpy(array.copy()).cuda()

    @staticmethod
    def take(array: Array) -> np.ndarray:
        """A copy here, once the GPU is done."""
        import torch

        if array.dtype == torch.bfloat16:
            bits: np.ndarray = array.view(torch.int16).cpu().numpy().view(np.uint16)
            return bits
        here: np.ndarray = array.cpu().numpy()
        return here


def correctness_cases(rng: np.random.Generator, quick: bool) -> list[cases.Case]:
    """From one row to 65,536, 8 to 64 experts, 32k to 256k classes, fp32 and bf16."""
    rows = (0, 1, 2, 31, 33, 1000, 1025) if quick else (0, 1, 2, 31, 33, 1000, 4096, 30_001, 65_536)
    found = [
        cases.route(rng, tokens, experts, width)
        for tokens in rows
        for experts, width in ((1, 1), (8, 2), (16, 4), (33, 33), (64, 8))
    ]
    found += [
        cases.sort_by_expert(rng, tokens, experts, width)
        for tokens in rows
        for experts, width in ((1, 1), (8, 2), (64, 4))
    ]
    found += [cases.halt(rng, n) for n in rows]
    classes = (4097, 32_768) if quick else (4097, 32_000, 50_257, 128_256, 262_144)
    found += [
        cases.exit_confidence(rng, n, v, kind)
        for kind in ("fp32", "bf16")
        for n, v in (*((1, v) for v in classes), *((9, v) for v in classes))
    ]
    found += [
        cases.exit_confidence(rng, n, v, kind)
        for kind in ("fp32", "bf16")
        for n in rows
        for v in (1, 10, 256)
    ]
    # Short of a tile, yet a block each: few rows, because the reference pads them to whole tiles.
    found += [cases.exit_confidence(rng, n, 300, "bf16") for n in rows if n <= GOAL_ROWS]
    sizes = ((1, 1), (3, 1000)) if quick else ((1, 1), (64, 100), (256, 500), (4, 50_000))
    found += [cases.select_within_budget(rng, requests, items) for requests, items in sizes]
    return found


def timing_cases(rng: np.random.Generator, quick: bool) -> list[tuple[int, cases.Case]]:
    """(rows, case): plain inputs of the sizes that are published."""
    plain = cases.plain
    found = []
    for rows in (1, 64, 4096) if quick else (1, 64, 1024, 4096, 16_384, 65_536):
        for experts in (8,) if quick else (8, 64):
            found.append((rows, cases.route(rng, rows, experts, 2, plain)))
            found.append((rows, cases.sort_by_expert(rng, rows, experts, 2)))
        found.append((rows, cases.exit_confidence(rng, rows, 32, "fp32", plain)))
        found.append((rows, cases.halt(rng, rows, plain)))
    for rows, classes in ((1, 32_768),) if quick else ((1, 32_768), (64, 131_072), (64, 262_144)):
        found += [
            (rows, cases.exit_confidence(rng, rows, classes, kind, plain))
            for kind in ("fp32", "bf16")
        ]
    if not quick:
        found.append((4096, cases.exit_confidence(rng, 4096, 32_768, "bf16", plain)))
    for requests, items in ((8, 100),) if quick else ((1, 64), (64, 128), (256, 512), (64, 16_384)):
        found.append((requests, cases.select_within_budget(rng, requests, items, plain)))
    return found


def check_all(kernels: Kernels, device: checks.Device, settings: Settings) -> dict[str, Any]:
    """The correctness sweep: how many cases, and all that is wrong."""
    rng = np.random.default_rng(settings.seed)
    wrong: list[str] = []
    swept = correctness_cases(rng, settings.quick)
    for case in swept:
        wrong += checks.problems(kernels, device, case)
    return {"cases": len(swept), "problems": wrong}


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Check and measure everything.

    Raises:
        NoGpu: there is nothing to measure on.
    """
    require_gpu()
    from worker.model.kernels import launch

    kernels = launch.kernels()
    report("correctness")
    checked = check_all(kernels, TorchDevice(), settings)
    report("compute-sanitizer")
    sanitizer = sanitize()
    report("floors")
    copy_rate = timing.copy_bytes_per_s()
    nothing = _empty_kernel(kernels)
    floors = {"alone": timing.alone(nothing).median_us, "graph": timing.in_graph(nothing).median_us}
    modelled = _end_to_end(kernels, settings, report)
    rng = np.random.default_rng(settings.seed)
    rows = []
    for size, case in timing_cases(rng, settings.quick):
        report(f"{case.function} {case.label}")
        rows.append(compare(kernels, case, size, copy_rate, floors))
    return {
        "machine": machine(),
        "settings": {"seed": settings.seed, "quick": settings.quick},
        "correctness": checked,
        "sanitizer": sanitizer,
        "copy_gb_per_s": round(copy_rate / 1e9, 1),
        "launch_floor_us": {kind: round(us, 2) for kind, us in floors.items()},
        "model": modelled,
        "rows": rows,
        "goals": {**verdicts(rows), **share_verdict(modelled)},
    }


def _end_to_end(kernels: Kernels, settings: Settings, report: Report) -> dict[str, Any]:
    from flopex.bench.gating import model
    from worker.model.batched import BatchedForm

    weights = model.chosen_weights(settings.weights, settings.seed, settings.quick)
    measured = model.measure(weights, "cuda", settings.seed, settings.quick, report)
    form = BatchedForm(weights, "cuda")
    measured["gate"] = model.gate_share(kernels, TorchDevice(), form, settings.seed)
    measured["random"] = settings.weights is None
    return measured


def share_verdict(modelled: dict[str, Any]) -> dict[str, Any]:
    """Whether the gate is a small enough part of a step."""
    share = modelled["gate"]["share"]
    name = f"gate below {SHARE_GOAL:.0%} of a step of {modelled['size']}"
    where = f"{modelled['gate']['rows']} requests"
    return {name: {"met": int(share < SHARE_GOAL), "of": 1, "worst": share, "where": where}}


def compare(
    kernels: Kernels, case: cases.Case, size: int, copy_rate: float, floors: dict[str, float]
) -> dict[str, Any]:
    """One line of the table: the kernel and its rivals, alone and in a graph."""
    times: dict[str, dict[str, timing.Times | str]] = {}
    for name, call in _contestants(kernels, case).items():
        times[name] = {}
        for kind, measure in (("alone", timing.alone), ("graph", timing.in_graph)):
            try:
                times[name][kind] = measure(call)
            except RuntimeError as error:  # some rivals cannot be captured
                times[name][kind] = f"failed: {str(error).splitlines()[0][:80]}"
    bandwidth_us = 1e6 * case.moved_bytes / copy_rate
    return line(case, size, times, bandwidth_us, floors)


def line(
    case: cases.Case,
    size: int,
    times: dict[str, dict[str, timing.Times | str]],
    bandwidth_us: float,
    floors: dict[str, float],
) -> dict[str, Any]:
    """A line of the table out of what was measured."""
    ratios: dict[str, Any] = {}
    for kind in ("alone", "graph"):
        mine = times["kernel"][kind]
        assert isinstance(mine, timing.Times)
        floor = max(bandwidth_us, floors[kind])
        ratios[kind] = {"floor": round(mine.median_us / floor, 2)}
        for rival in ("eager", "compile", "triton"):
            theirs = times[rival][kind]
            ratios[kind][rival] = (
                round(theirs.median_us / mine.median_us, 2)
                if isinstance(theirs, timing.Times)
                else None
            )
    return {
        "function": case.function,
        "case": case.label,
        "rows": size,
        "bandwidth_floor_us": round(bandwidth_us, 2),
        "times": {
            name: {k: t if isinstance(t, str) else asdict(t) for k, t in kinds.items()}
            for name, kinds in times.items()
        },
        "ratios": ratios,
    }


def verdicts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each goal, in how many lines it is met, and the worst line."""

    def judged(name: str, figures: list[tuple[float, str]], good: Callable[[float], bool]) -> None:
        met = [figure for figure, _ in figures if good(figure)]
        # Where 0 is good, more is worse.
        worst = (max if good(0.0) else min)(figures, default=(None, ""))
        goals[name] = {"met": len(met), "of": len(figures), "worst": worst[0], "where": worst[1]}

    goals: dict[str, Any] = {}
    for kind in ("alone", "graph"):
        lines = [(row["ratios"][kind], f"{row['function']} {row['case']}", row) for row in rows]
        eager = [(r["eager"], where) for r, where, _ in lines if r["eager"] is not None]
        triton = [(r["triton"], where) for r, where, _ in lines if r["triton"] is not None]
        floor = [(r["floor"], where) for r, where, row in lines if row["rows"] >= GOAL_ROWS]
        judged(f"{kind}: {EAGER_RATIO_GOAL} x eager", eager, lambda x: x >= EAGER_RATIO_GOAL)
        judged(f"{kind}: no slower than Triton", triton, lambda x: x >= TRITON_RATIO_GOAL)
        judged(f"{kind}: {FLOOR_RATIO_GOAL} x floor", floor, lambda x: x <= FLOOR_RATIO_GOAL)
    return goals


def _contestants(kernels: Kernels, case: cases.Case) -> dict[str, Callable[[], Any]]:
    import torch

    from flopex.bench.gating import rivals, triton_twins

    inputs = [TorchDevice.give(array) for array in case.arrays]
    extra: dict[str, Any] = {}
    if case.function in {"halt", "exit_confidence"}:
        extra["scratch"] = _scratch(case)
    eager = rivals.EAGER[case.function]
    compiler: Any = torch.compile
    # Each case is compiled for its own shapes; without this the eighth would run eagerly.
    torch.compiler.reset()
    compiled = compiler(eager, dynamic=False)
    twin = triton_twins.TWINS[case.function]
    kernel = getattr(kernels, case.function)
    outputs = kernel(*inputs, *case.numbers)
    return {
        "kernel": lambda: kernel(*inputs, *case.numbers, out=outputs, **extra),
        "eager": lambda: eager(*inputs, *case.numbers),
        "compile": lambda: compiled(*inputs, *case.numbers),
        "triton": lambda: twin(*inputs, *case.numbers, out=outputs),
    }


def _scratch(case: cases.Case) -> Any:
    import torch

    rows = case.arrays[0].shape[0]
    if case.function == "halt":
        return torch.zeros(halt_counters(rows), dtype=torch.int32, device="cuda")
    words = part_words(rows, case.arrays[0].shape[1])
    return tuple(torch.zeros(n, dtype=torch.int32, device="cuda") for n in (rows, words))


def _empty_kernel(kernels: Kernels) -> Callable[[], Any]:
    """A launch that does next to nothing: the smallest case there is."""
    import torch

    logits = torch.zeros((1, 1), device="cuda")
    top_ps, limits = logits[0], torch.ones(1, dtype=torch.int32, device="cuda")
    out = kernels.route(logits, top_ps, limits, 1)
    return lambda: kernels.route(logits, top_ps, limits, 1, out=out)


def sanitize() -> dict[str, str]:
    """What compute-sanitizer says of a small sweep, tool by tool."""
    path = shutil.which("compute-sanitizer")
    if path is None:
        return dict.fromkeys(SANITIZER_TOOLS, "skipped: compute-sanitizer is not installed")
    found = {}
    for tool in SANITIZER_TOOLS:
        ours = [sys.executable, "-P", "-m", __package__]
        command = [path, "--tool", tool, "--error-exitcode", "9", *ours]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        found[tool] = "clean" if done.returncode == 0 else f"status {done.returncode}: {last}"
    return found


def machine() -> dict[str, Any]:
    """Device, driver and versions."""
    import cupy
    import torch
    import triton

    cuda: Any = torch.cuda
    properties = cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "cuda": torch.version.cuda,
        "nvrtc": list(cupy.cuda.nvrtc.getVersion()),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cupy": cupy.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
