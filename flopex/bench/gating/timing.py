"""Times on a GPU: CUDA events, one call at a time, cold caches; and the floors beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ROUNDS: Final = 200
"""Timed calls; their median is the figure, the 10th and 90th percentile its spread."""
WARM_UP: Final = 20
GRAPH_CALLS: Final = 20
"""Calls that one CUDA graph holds; a replay is divided by them."""
FLUSH_BYTES: Final = 256 * 2**20
"""Written between two timed calls: more than any second level cache holds, and long enough that
the host has started the call before the device gets to it."""
COPY_BYTES: Final = 2**30


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds of one call."""

    median_us: float
    low_us: float
    high_us: float

    @classmethod
    def of(cls, samples_us: list[float]) -> Times:
        """Median, 10th and 90th percentile."""
        ordered = sorted(samples_us)
        tenth = len(ordered) // 10
        return cls(statistics.median(ordered), ordered[tenth], ordered[-1 - tenth])


def alone(call: Callable[[], Any]) -> Times:
    """One call on the stream, from an event before it to an event behind it."""
    import torch

    cuda: Any = torch.cuda
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    for _ in range(WARM_UP):
        call()
    pairs = []
    for _ in range(ROUNDS):
        start, end = (cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        start.record()
        call()
        end.record()
        pairs.append((start, end))
    cuda.synchronize()
    return Times.of([1e3 * start.elapsed_time(end) for start, end in pairs])


def in_graph(call: Callable[[], Any]) -> Times:
    """One of GRAPH_CALLS calls in a CUDA graph; caches stay warm, as between layers of a model."""
    import torch

    cuda: Any = torch.cuda
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(3):
            call()
    cuda.current_stream().wait_stream(side)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        for _ in range(GRAPH_CALLS):
            call()
    times = alone(graph.replay)
    return Times(*(t / GRAPH_CALLS for t in (times.median_us, times.low_us, times.high_us)))


def copy_bytes_per_s() -> float:
    """The rate at which this device copies memory: bytes read and written."""
    import torch

    source = torch.empty(COPY_BYTES, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    return 2e6 * COPY_BYTES / alone(lambda: target.copy_(source)).median_us
