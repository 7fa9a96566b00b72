"""The kernels' own sources, run on this CPU, against the NumPy reference: equal to the last bit.

`cuda_on_cpu.hpp` runs them; the host code is that of the GPU, with another launcher.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flopex.bench.gating import cases
from flopex.bench.gating.checks import problems
from tests.worker.model.kernels import on_cpu
from worker.model import gate_reference
from worker.model.gate_types import Decision, GateError
from worker.model.kernels.host import ROWS_MAX, Kernels
from worker.model.kernels.sources import source

Libraries = dict[str, ctypes.CDLL]

# fp32 numbers at whose edges something changes: ties, signs of zero, what exp turns to nothing.
EDGES = st.sampled_from(
    [0.0, -0.0, 1.0, 1.0, -1.0, 85.9, 86.0, 86.1, 3e38, 1e-45, -1e-45, np.inf, -np.inf, np.nan]
)
LOGITS = st.one_of(EDGES, st.floats(width=32), st.floats(-4, 4, width=32))
SEEDS = st.integers(0, 2**32 - 1)


class Here:
    """The `Device` that is this CPU."""

    @staticmethod
    def give(array: np.ndarray) -> np.ndarray:
        return array.copy()

    @staticmethod
    def take(array: np.ndarray) -> np.ndarray:
        return array


def check(libraries: Libraries, case: cases.Case, seed: int = 1) -> None:
    launcher = on_cpu.CpuLauncher(libraries, seed)
    assert problems(Kernels(launcher), Here(), case) == []
    launcher.counters(np.zeros(0), 0)


@settings(max_examples=150)
@given(data=st.data(), seed=SEEDS)
def test_route(libraries: Libraries, data: st.DataObject, seed: int) -> None:
    tokens, experts = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 64))
    width = data.draw(st.integers(1, experts))
    logits = data.draw(hnp.arrays(np.float32, (tokens, experts), elements=LOGITS))
    top_p = data.draw(hnp.arrays(np.float32, tokens, elements=st.floats(2**-20, 1, width=32)))
    most = data.draw(hnp.arrays(np.int32, tokens, elements=st.integers(0, 70)))
    case = cases.Case("route", "drawn", (logits, top_p, most), (width,))
    check(libraries, case, seed)


@pytest.mark.parametrize(
    ("logits", "top_p", "experts"),
    [
        ([-0.0, 0.0, -0.0, 0.0], 1.0, [0, 1, 2, 3]),  # zeros of both signs are equal
        ([1.0, -0.0, 0.0, -9.0], 0.6, [0, 1, -1, -1]),
        ([5.0, 5.0, -90.0, -90.0], 0.5, [0, -1, -1, -1]),  # what is reached exactly is reached
        ([5.0, 5.0, -90.0, -90.0], 0.75, [0, 1, -1, -1]),
        ([3e38, -3e38, -4e37, 0.0], 1.0, [0, -1, -1, -1]),  # further apart than fp32 reaches
    ],
)
def test_route_at_its_edges(
    libraries: Libraries, logits: list[float], top_p: float, experts: list[int]
) -> None:
    arrays = (
        np.array([logits], np.float32),
        np.array([top_p], np.float32),
        np.array([4], np.int32),
    )
    case = cases.Case("route", "edge", arrays, (4,))
    check(libraries, case)
    assert gate_reference.route(*arrays, 4)[0].tolist() == [experts]


@settings(max_examples=150)
@given(
    rows=st.integers(1, 4),
    classes=st.one_of(st.integers(1, 300), st.sampled_from([4095, 4096, 4097, 8192, 8200, 12_289])),
    kind=st.sampled_from(["fp32", "bf16"]),
    few=st.lists(LOGITS, max_size=8),
    seed=SEEDS,
)
def test_exit_confidence(
    libraries: Libraries, rows: int, classes: int, kind: str, few: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    case = cases.exit_confidence(rng, rows, classes, kind)
    for value in few:
        at = rng.integers(rows), rng.integers(classes)
        one = np.array([value], np.float32)
        case.arrays[0][at] = one[0] if kind == "fp32" else cases.bf16_bits(one)[0]
    check(libraries, case, seed)


@settings(max_examples=25)  # a block of 1,024 threads for each expert
@given(st.integers(0, 200), st.sampled_from([1, 2, 5, 8, 64]), st.integers(1, 5), SEEDS)
def test_sort_by_expert(
    libraries: Libraries, tokens: int, experts: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    case = cases.sort_by_expert(rng, tokens, experts, width)
    if seed % 4 == 0:  # numbers that are no experts are unused, whatever they are
        case.arrays[0][rng.random(case.arrays[0].shape) < 0.2] = rng.choice([-128, 64, 127])
    check(libraries, case, seed)


@settings(max_examples=60)
@given(st.one_of(st.integers(0, 70), st.sampled_from([1023, 1024, 1025, 5000])), SEEDS)
def test_halt(libraries: Libraries, rows: int, seed: int) -> None:
    check(libraries, cases.halt(np.random.default_rng(seed), rows), seed)


@settings(max_examples=100)
@given(st.integers(1, 5), st.sampled_from([0, 1, 3, 40, 300, 800]), SEEDS)
def test_select_within_budget(libraries: Libraries, requests: int, items: int, seed: int) -> None:
    check(libraries, cases.select_within_budget(np.random.default_rng(seed), requests, items), seed)


@settings(max_examples=40)
@given(hnp.arrays(np.float32, st.integers(1, 20), elements=LOGITS), st.data())
def test_select_breaks_ties_by_index(
    libraries: Libraries, scores: np.ndarray, data: st.DataObject
) -> None:
    n = len(scores)
    costs = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    budget = data.draw(st.integers(-1, 3 * n))
    arrays = scores, costs, np.array([0, n], np.int32), np.array([budget], np.int64)
    check(libraries, cases.Case("select_within_budget", "drawn", arrays))


@pytest.mark.parametrize(("budget", "chosen"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_select_at_its_edges(libraries: Libraries, budget: int, chosen: int) -> None:
    """Zeros of both signs are equal, and a budget that is met exactly is met."""
    arrays = (
        np.array([-0.0, 0.0, -0.0], np.float32),
        np.ones(3, np.int64),
        np.array([0, 3], np.int32),
        np.array([budget], np.int64),
    )
    check(libraries, cases.Case("select_within_budget", "edge", arrays))
    taken = gate_reference.select_within_budget(*arrays)[0]
    assert np.nonzero(taken)[0].tolist() == list(range(chosen))


def test_many_blocks_look_back(libraries: Libraries) -> None:
    for seed in range(3):
        check(libraries, cases.halt(np.random.default_rng(seed), 40_000), seed)


def test_a_long_row_in_any_order_of_its_tiles(libraries: Libraries) -> None:
    case = cases.exit_confidence(np.random.default_rng(3), 2, 65 * 1024, "bf16")
    for seed in range(3):
        check(libraries, case, seed)


@pytest.mark.parametrize("offset", [1, 3])
def test_inputs_need_not_be_aligned(libraries: Libraries, offset: int) -> None:
    kernels = Kernels(on_cpu.CpuLauncher(libraries))
    rng = np.random.default_rng(offset)
    logits = np.concatenate([np.zeros(offset), rng.normal(size=2 * 5000)]).astype(np.float32)
    logits = logits[offset:].reshape(2, 5000)
    experts = np.concatenate([np.zeros(offset), rng.integers(0, 4, 200)]).astype(np.int8)
    experts = experts[offset:].reshape(100, 2)
    turned = logits.T[:, ::-1][:50]  # nor in the order of rows
    for got, expected in (
        (kernels.exit_confidence(logits), gate_reference.exit_confidence(logits)),
        (kernels.sort_by_expert(experts, 4), gate_reference.sort_by_expert(experts, 4)),
        (kernels.route(turned, *ROUTE, 2), gate_reference.route(turned, *ROUTE, 2)),
    ):
        for mine, theirs in zip(got, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


ROUTE = np.full(50, 0.9, np.float32), np.full(50, 2, np.int32)


def test_a_row_does_not_feel_its_neighbours(libraries: Libraries) -> None:
    kernels = Kernels(on_cpu.CpuLauncher(libraries))
    logits = cases.awkward(np.random.default_rng(8), (6, 9000))
    together = kernels.exit_confidence(logits)
    for row in range(6):
        alone = kernels.exit_confidence(logits[row : row + 1])
        for field, mine in zip(together, alone, strict=True):
            np.testing.assert_array_equal(field[row : row + 1], mine)


def test_a_launch_has_a_bound(libraries: Libraries) -> None:
    kernels = Kernels(on_cpu.CpuLauncher(libraries))
    one = np.broadcast_to(np.int8(0), (ROWS_MAX + 1, 1))
    with pytest.raises(GateError, match=f"a launch takes {ROWS_MAX}"):
        kernels.sort_by_expert(one, 1, out=(one, one))


def test_both_sides_know_the_same_decisions() -> None:
    listed = re.search(r"enum Decision \{([^}]*)\}", source("halt"))
    assert listed is not None
    assert [name.strip() for name in listed[1].split(",")] == [d.name for d in Decision]
    assert [int(d) for d in Decision] == list(range(len(Decision)))


def test_both_sides_know_the_same_powers() -> None:
    listed = re.search(r"POWERS_OF_2\[LANES\] = \{([^}]*)\}", source("halt"))
    assert listed is not None
    powers = np.array([float(x.strip(" \nf")) for x in listed[1].split(",")], np.float32)
    np.testing.assert_array_equal(powers, gate_reference.POWERS)


# ---- the CPU shim finds what it is for -----------------------------------------------------------

TOYS: dict[str, Any] = {
    "race": "__shared__ int x[64]; x[threadIdx.x] = threadIdx.x;"
    " out[threadIdx.x] = x[63 - threadIdx.x];",
    "sound": "__shared__ int x[64]; x[threadIdx.x] = threadIdx.x; __syncthreads();"
    " out[threadIdx.x] = x[63 - threadIdx.x];",
    "deadlock": "if (threadIdx.x < 32) out[0] = __ballot_sync(ALL_LANES, 1);"
    " else if (threadIdx.x == 40) out[1] = __ballot_sync(ALL_LANES, 1);",
    "vain": "while (__any_sync(ALL_LANES, ((volatile int*)out)[0] == -1)) {}",
    "parted": "if (threadIdx.x % 2)\n out[0] = __ballot_sync(ALL_LANES, 1);\n"
    "else\n out[1] = __ballot_sync(ALL_LANES, 1);",
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, libraries: Libraries) -> ctypes.CDLL:
    text = "".join(
        f'extern "C" __global__ void {name}(int* out) {{ {body} }}\n' for name, body in TOYS.items()
    )
    folder = tmp_path_factory.mktemp("toys")
    return on_cpu.compile_library(folder, "toys", f"#define ALL_LANES 0xffffffffu\n{text}", [*TOYS])


def run_toy(toys: ctypes.CDLL, name: str, seed: int = 5) -> tuple[str, np.ndarray]:
    out = np.full(64, -1, np.int32)
    return on_cpu.call(toys, name, 1, 64, [ctypes.c_void_p(out.ctypes.data)], seed), out


def test_the_shim_runs_sound_kernels(toys: ctypes.CDLL) -> None:
    failure, out = run_toy(toys, "sound")
    assert not failure
    assert out.tolist() == list(range(63, -1, -1))


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_shim_shows_races(toys: ctypes.CDLL, seed: int) -> None:
    failure, out = run_toy(toys, "race", seed)
    assert not failure
    assert out.tolist() != list(range(63, -1, -1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deadlock", "wait for ever"),
        ("parted", "lanes of a warp met at lines"),
        ("vain", "ask in vain"),
    ],
)
def test_the_shim_reports(toys: ctypes.CDLL, name: str, message: str) -> None:
    failure, _ = run_toy(toys, name)
    assert message in failure
