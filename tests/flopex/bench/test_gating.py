"""`flopex bench gating` without a GPU: what it checks, what it says, and that it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flopex.bench.gating import cases, checks, run, table, timing
from flopex.cli import app
from worker.model import gate_reference
from worker.model.kernels import launch

Times = timing.Times
PLAIN = [
    lambda rng: cases.route(rng, 37, 8, 2, cases.plain),
    lambda rng: cases.route(rng, 20, 33, 3, cases.plain),
    lambda rng: cases.sort_by_expert(rng, 300, 8, 2),
    lambda rng: cases.exit_confidence(rng, 5, 5000, "fp32", cases.plain),
    lambda rng: cases.exit_confidence(rng, 3, 100, "bf16", cases.plain),
    lambda rng: cases.halt(rng, 2500, cases.plain),
    lambda rng: cases.select_within_budget(rng, 3, 1500, cases.plain),
]
# Results that a rival leaves out, or that differ in the last unit because its exp does.
TOLERANCE = {"float32": 2e-6, "int32": 1, "int8": 0, "bool": 0, "int64": 0}


class Pretender:
    """Kernels that give what the reference gives, spoiled in one way."""

    def __init__(self, spoil: Callable[[tuple[np.ndarray, ...]], None] | None = None) -> None:
        self.spoil = spoil

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any, out: tuple[np.ndarray, ...]) -> None:
            for whole, result in zip(
                out, getattr(gate_reference, function)(*arguments), strict=True
            ):
                whole[...] = result
            if self.spoil:
                self.spoil(out)

        return call


class Here:
    @staticmethod
    def give(array: np.ndarray) -> np.ndarray:
        return array.copy()

    @staticmethod
    def take(array: np.ndarray) -> np.ndarray:
        return array


def problems(spoil: Callable[[tuple[np.ndarray, ...]], None] | None) -> list[str]:
    case = cases.exit_confidence(np.random.default_rng(1), 6, 300, "fp32")
    return checks.problems(Pretender(spoil), Here(), case)  # type: ignore[arg-type]


def one_bit(out: tuple[np.ndarray, ...]) -> None:
    out[2][0] = np.nextafter(out[2][0], np.float32(9))


def outside(out: tuple[np.ndarray, ...]) -> None:
    whole: Any = out[0].base
    while whole.base is not None:
        whole = whole.base
    whole.view(np.uint8)[4 * (checks.GUARD + 6)] ^= 1


def unwritten(out: tuple[np.ndarray, ...]) -> None:
    out[0][3] = np.frombuffer(bytes([0xA5] * 4), np.int32)[0]


def test_the_sweep_accepts_what_is_equal() -> None:
    assert problems(None) == []
    found = run.check_all(Pretender(), Here(), run.Settings(quick=True))  # type: ignore[arg-type]
    assert found["cases"] > 80
    assert found["problems"] == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(one_bit, "result 2: .* instead of"), (outside, "result 0: written outside"),
     (unwritten, "result 0: -1515870811 instead of")],
)  # fmt: skip
def test_the_sweep_finds_what_is_not(spoil: Any, message: str) -> None:
    found = problems(spoil)
    assert found
    assert any(re.search(message, problem) for problem in found), found


def test_the_sweep_finds_runs_that_differ() -> None:
    calls = iter(range(9))

    def change(out: tuple[np.ndarray, ...]) -> None:
        out[1][0] += np.float32(next(calls)) * np.float32(1e-3)

    assert any("two runs differ" in problem for problem in problems(change))


def test_the_sweep_covers_what_is_promised() -> None:
    swept = run.correctness_cases(np.random.default_rng(0), quick=False)
    shapes = [(c.function, c.arrays[0].shape, c.arrays[0].dtype.name) for c in swept]
    for tokens in (1, 65_536):
        for experts in (8, 64):
            assert ("route", (tokens, experts), "float32") in shapes
    for classes in (32_000, 262_144):
        for kind in ("float32", "uint16"):
            assert ("exit_confidence", (1, classes), kind) in shapes
    assert {c.function for c in swept} == set(cases.FUNCTIONS)


@pytest.mark.parametrize("make", PLAIN)
def test_eager_torch_decides_alike(make: Any) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from flopex.bench.gating import rivals

    case = make(np.random.default_rng(4))
    inputs = [
        torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
        if a.dtype == np.uint16
        else torch.from_numpy(a)
        for a in case.arrays
    ]
    results = rivals.EAGER[case.function](*inputs, *case.numbers)
    expected = getattr(gate_reference, case.function)(*case.arrays, *case.numbers)
    for mine, theirs in zip(results, expected, strict=False):
        assert_close(mine.numpy().reshape(theirs.shape), theirs)


def assert_close(mine: np.ndarray, theirs: np.ndarray) -> None:
    assert mine.dtype.itemsize == theirs.dtype.itemsize
    bound = TOLERANCE[theirs.dtype.name]
    np.testing.assert_allclose(mine.astype(float), theirs.astype(float), atol=bound, rtol=0)


TWINS = """
import sys, json, numpy as np, torch
from flopex.bench.gating import triton_twins
from tests.flopex.bench.test_gating import PLAIN, assert_close
from worker.model import gate_reference
for make in PLAIN:
    case = make(np.random.default_rng(4))
    inputs = [torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == np.uint16
              else torch.from_numpy(a) for a in case.arrays]
    expected = getattr(gate_reference, case.function)(*case.arrays, *case.numbers)
    out = tuple(torch.from_numpy(np.full(e.shape, 7, e.dtype)) for e in expected)
    triton_twins.TWINS[case.function](*inputs, *case.numbers, out=out)
    for mine, theirs in zip(out, expected):
        assert_close(mine.numpy(), theirs)
print("alike")
"""


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "triton"))), reason="triton is not installed"
)
def test_triton_twins_decide_alike() -> None:
    """In Triton's interpreter, which needs no GPU."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TWINS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("alike\n"), done.stderr


def test_the_model_is_measured_where_it_runs() -> None:
    """The same code as on a GPU, with the model on the CPU and few questions."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from flopex.bench.gating import model

    torch.set_num_threads(1)
    weights = model.chosen_weights(None, 3, quick=True)
    found = model.measure(weights, "cpu", 3, quick=True, report=lambda _: None)
    assert [rate["leases"] for rate in found["rates"]] == [1, 8]
    assert all(rate["tokens_per_s"] > 0 for rate in found["rates"])
    assert found["meter"]["equal"] + found["meter"]["within_noise"] == found["meter"]["requests"]
    assert found["latency_ms"]["hard"]["low"] <= found["latency_ms"]["hard"]["median"]


# ---- what it says --------------------------------------------------------------------------------


def measured(kernel: float, eager: float, triton: float | str, rows: int = 4096) -> dict[str, Any]:
    case = cases.Case("route", f"{rows} x 8", (), (2,), 1000)
    same = {
        name: {kind: Times(us, us * 0.9, us * 1.2) if not isinstance(us, str) else us
               for kind in ("alone", "graph")}
        for name, us in {"kernel": kernel, "eager": eager, "compile": 9.0, "triton": triton}.items()
    }  # fmt: skip
    return run.line(case, rows, same, 2.5, {"alone": 2.0, "graph": 1.0})


MODEL: dict[str, Any] = {
    "size": "base",
    "random": True,
    "weights_sha256": "ab" * 32,
    "rates": [{"leases": 4, "requests": 32, "tokens_per_s": 10.5, "steps_per_s": 99.0,
               "joules_per_1000_tokens": None}],
    "latency_ms": {"easy": {"median": 1.0, "low": 0.9, "high": 1.5}},
    "meter": {"requests": 8, "equal": 7, "within_noise": 1},
    "gate": {"rows": 64, "gate_us": 9.0, "step_us": 300.0, "share": 0.03},
}  # fmt: skip


def result() -> dict[str, Any]:
    rows = [measured(3.0, 15.0, 3.0), measured(5.0, 15.0, "failed: no"), measured(2.0, 6.0, 1.0, 1)]
    return {
        "machine": {"gpu": "NVIDIA Imaginary 1", "driver": 1},
        "settings": {"seed": 7, "quick": True},
        "correctness": {"cases": 3, "problems": []},
        "sanitizer": {"memcheck": "clean"},
        "copy_gb_per_s": 100.0,
        "launch_floor_us": {"alone": 2.0, "graph": 1.0},
        "model": MODEL,
        "rows": rows,
        "goals": {**run.verdicts(rows), **run.share_verdict(MODEL)},
    }


def test_figures_are_medians_with_spread() -> None:
    assert Times.of([float(x) for x in range(1, 102)]) == Times(51.0, 11.0, 91.0)
    assert Times.of([3.0]) == Times(3.0, 3.0, 3.0)


def test_goals_name_the_worst_line() -> None:
    goals = result()["goals"]
    eager = goals["alone: 4.0 x eager"]
    assert (eager["met"], eager["of"], eager["worst"]) == (1, 3, 3.0)
    triton = goals["graph: no slower than Triton"]
    assert (triton["met"], triton["of"], triton["where"]) == (1, 2, "route 1 x 8")
    floor = goals["alone: 1.5 x floor"]
    assert (floor["met"], floor["of"], floor["worst"]) == (1, 2, 2.0)
    share = goals["gate below 2% of a step of base"]
    assert (share["met"], share["worst"]) == (0, 0.03)


def test_the_page_states_machine_method_and_spread() -> None:
    page = table.page(result(), "2026-01-31")
    assert "--seed 7 --quick" in page
    assert "| gpu | NVIDIA Imaginary 1 |" in page
    assert "3.0 (2.7-3.6)" in page
    assert "| failed: no |" in page
    assert "compute-sanitizer memcheck: clean" in page
    assert "| 4 | 32 | 10.5 | 99.0 | unknown |" in page
    assert "7 of 8 requests; 1 more" in page
    assert "9.0 of the 300.0 us" in page
    assert table.file_name(result(), "2026-01-31") == "gating-2026-01-31-nvidia-imaginary-1.md"


def test_a_page_hides_no_difference() -> None:
    wrong = {**result(), "correctness": {"cases": 3, "problems": ["halt 1 rows: 2 instead of 3"]}}
    page = table.page(wrong, "2026-01-31")
    assert "**1 differences** in 3 cases" in page
    assert "2 instead of 3" in page


@pytest.mark.skipif(not launch.missing(), reason="there is a GPU")
def test_without_a_gpu_it_measures_nothing(tmp_path: Path) -> None:
    out = tmp_path / "pages"
    said = CliRunner().invoke(app, ["bench", "gating", "--json", "--out", str(out)])
    assert said.exit_code == 1
    assert said.stdout == ""
    error = json.loads(said.stderr.splitlines()[-1])["error"]
    assert error["reason"] == "NO_GPU"
    assert launch.missing() in error["message"]
    assert not out.exists()
