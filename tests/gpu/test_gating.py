"""What only a GPU can show of the gate's kernels. `flopex bench gating` measures what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flopex.bench.gating import cases, run
from flopex.cli import app
from worker.model import gate_reference, gating
from worker.model.kernels import launch
from worker.model.kernels.host import halt_counters, part_words

torch: Any = pytest.importorskip("torch", reason="torch is not installed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(launch.missing()), reason=f"no kernels: {launch.missing()}"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


@pytest.fixture
def device() -> run.TorchDevice:
    return run.TorchDevice()


def test_every_result_equals_the_reference(device: run.TorchDevice) -> None:
    found = run.check_all(launch.kernels(), device, run.Settings(seed=11))
    assert found["problems"] == []


def test_the_gate_uses_them() -> None:
    logits = torch.randn(100, 8, device="cuda")
    assert gating.backend(logits) == ("cuda-kernels", "")
    routing = gating.route(logits, 0.7, 2, width=2)
    expected = gating.route(logits.cpu(), 0.7, 2, width=2)
    for mine, theirs in zip(routing, expected, strict=True):
        assert mine.is_cuda
        assert torch.equal(mine.cpu(), theirs)


def test_cupy_arrays_come_back_as_cupy_arrays() -> None:
    cupy = pytest.importorskip("cupy")
    logits = cases.awkward(np.random.default_rng(1), (30, 5000))
    confidence = gating.exit_confidence(cupy.asarray(logits))
    for mine, theirs in zip(confidence, gate_reference.exit_confidence(logits), strict=True):
        assert isinstance(mine, cupy.ndarray)
        np.testing.assert_array_equal(mine.get(), theirs)


def graphed(case: cases.Case, device: run.TorchDevice) -> tuple[Any, list[Any], tuple[Any, ...]]:
    """A CUDA graph of one call, its inputs and its outputs."""
    kernels = launch.kernels()
    inputs = [device.give(array) for array in case.arrays]
    expected = getattr(gate_reference, case.function)(*case.arrays, *case.numbers)
    out = tuple(torch.zeros_like(device.give(result)) for result in expected)
    extra: dict[str, Any] = {}
    rows = case.arrays[0].shape[0]
    if case.function == "halt":
        extra["scratch"] = torch.zeros(halt_counters(rows), dtype=torch.int32, device="cuda")
    if case.function == "exit_confidence":
        words = rows, part_words(rows, case.arrays[0].shape[1])
        extra["scratch"] = tuple(torch.zeros(n, dtype=torch.int32, device="cuda") for n in words)
    launch.load()
    graph = torch.cuda.CUDAGraph()
    before = torch.cuda.memory_allocated()
    with torch.cuda.graph(graph):
        getattr(kernels, case.function)(*inputs, *case.numbers, out=out, **extra)
    assert torch.cuda.memory_allocated() == before
    return graph, inputs, out


MAKERS = [
    lambda rng: cases.route(rng, 3000, 64, 4),
    lambda rng: cases.sort_by_expert(rng, 3000, 64, 4),
    lambda rng: cases.exit_confidence(rng, 9, 50_257, "bf16"),
    lambda rng: cases.halt(rng, 9000),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_graph_replays_on_new_inputs(make: Any, device: run.TorchDevice) -> None:
    graph, inputs, out = graphed(make(np.random.default_rng(1)), device)
    for seed in (2, 3):
        case = make(np.random.default_rng(seed))
        for there, array in zip(inputs, case.arrays, strict=True):
            there.copy_(device.give(array))
        graph.replay()
        torch.cuda.synchronize()
        expected = getattr(gate_reference, case.function)(*case.arrays, *case.numbers)
        for mine, theirs in zip(out, expected, strict=True):
            np.testing.assert_array_equal(device.take(mine), theirs)


def test_they_run_on_the_current_stream(device: run.TorchDevice) -> None:
    """On another stream they would read the logits before the slow work behind them is done."""
    case = cases.route(np.random.default_rng(4), 5000, 8, 2)
    numbers, shares, most = case.arrays
    logits, top_ps, limits = map(device.give, case.arrays)
    late = torch.zeros_like(logits)
    slow = torch.randn(4096, 4096, device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(20):
            slow = slow @ slow * 1e-3
        late.copy_(logits)
        routing = gating.route(late, top_ps, limits, width=2)
        torch.cuda.current_stream().synchronize()
    for mine, theirs in zip(routing, gate_reference.route(numbers, shares, most, 2), strict=True):
        np.testing.assert_array_equal(device.take(mine), theirs)


def test_compute_sanitizer_finds_nothing() -> None:
    said = run.sanitize()
    if all(line.startswith("skipped") for line in said.values()):
        pytest.skip(next(iter(said.values())))
    assert set(said.values()) == {"clean"}


def test_the_benchmark_writes_its_page(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    said = CliRunner().invoke(app, ["bench", "gating", "--quick", "--json", "--out", str(tmp_path)])
    assert said.exit_code == 0, said.stderr
    (page,) = tmp_path.iterdir()
    assert "equal the reference's to the last bit" in page.read_text()
