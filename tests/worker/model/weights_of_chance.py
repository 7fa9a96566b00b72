"""Random weights of the right shapes: what they answer is nonsense, how they are run is not."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from exchange.metering.adaptive import AdaptiveShape, Policy
from worker.model.sizes import SIZES, Run
from worker.model.tasks.draws import stream
from worker.model.thinking import Request
from worker.model.weights import Weights, load_weights, shapes_of

TINY = SIZES["tiny"]


def random_tensors(seed: int = 0, shape: AdaptiveShape = TINY) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, size in shapes_of(shape).items():
        scale = 1.0 if len(size) == 1 else size[-2] ** -0.5
        tensors[name] = (rng.standard_normal(size) * scale).astype(np.float32)
    # A gate that says yes after a few steps, or never.
    tensors["gate.outer"] *= 3
    return tensors


def random_weights(folder: Path, seed: int = 0) -> Weights:
    path = folder / "weights.safetensors"
    path.write_bytes(save(random_tensors(seed)))
    return load_weights(path, TINY)


def random_run(folder: Path, run: Run) -> None:
    """The files that a run of training leaves, of the adaptive model and with weights of chance."""
    data = save(random_tensors(run.seed, SIZES[run.size]))
    record = {
        "shape": msgspec.structs.asdict(SIZES[run.size]),
        "sha256": hashlib.sha256(data).hexdigest(),
        "converged": True,
    }
    (folder / f"{run.name}.safetensors").write_bytes(data)
    (folder / f"{run.name}.json").write_text(json.dumps(record))


def requests(count: int, seed: int = 1) -> list[Request]:
    """Questions of all families with budgets from nothing to plenty, and several policies."""
    policies = (
        Policy(steps_max=10),
        Policy(hopeless_ppm=30_000, steps_max=10),
        Policy(value_nanos=3, price_nanos=900_000, steps_max=6),
        Policy(steps_max=8, route_p_milli=400),
    )
    drawn = itertools.islice(stream(seed, "test", "uniform"), count)
    return [
        Request(
            question.reading.tokens,
            budget_flops=(150_000 * number) % 4_000_000 if number % 3 else 10**9,
            policy=policies[number % len(policies)]._replace(halt_ppm=40_000 + number * 3_000),
            tokens_max=1 + number % 7,
        )
        for number, question in enumerate(drawn)
    ]
