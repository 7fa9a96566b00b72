"""Weights of the adaptive model as NumPy arrays: read, checked, and folded for reading."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from exchange.metering.adaptive import AdaptiveShape
from worker.model.errors import WeightsError
from worker.model.reading import OWN, PLACES, TAPS

Floats = NDArray[np.float32]

WEIGHTS_BYTES_MAX: Final = 64 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """The adaptive model's arrays, fp32.

    tables: (taps, vocabulary, 2 a + 2 d), what a token adds to the key, value, first state and
    question of the one that sees it there.  places: one (rows, 2 a + 2 d) for each kind of place.
    The rest as in `worker.model.model`.
    """

    shape: AdaptiveShape
    sha256: str
    tokens: Floats
    tables: Floats
    places: tuple[Floats, ...]
    steps: Floats
    query: Floats
    out: Floats
    router: Floats
    up: Floats
    down: Floats
    gate_inner: Floats
    gate_inner_bias: Floats
    gate_outer: Floats
    gate_outer_bias: Floats


def read_tensors(path: Path, sha256: str = "") -> tuple[dict[str, Floats], str]:
    """The tensors of a safetensors file, and its digest.

    Raises:
        WeightsError: no such file, another digest, too large, damaged, not fp32, or not finite.
    """
    try:
        with path.open("rb") as file:
            data = file.read(WEIGHTS_BYTES_MAX + 1)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror}") from error
    if len(data) > WEIGHTS_BYTES_MAX:
        raise WeightsError(f"{path} has more than {WEIGHTS_BYTES_MAX} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256:
        raise WeightsError(f"{path} has the SHA-256 {digest}, not {sha256}")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is no safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise WeightsError(f"{name} in {path} is {tensor.dtype}, not float32")
        if not np.isfinite(tensor).all():
            raise WeightsError(f"{name} in {path} holds a number that is not finite")
    return tensors, digest


def _product(vectors: Floats, taps: Floats) -> Floats:
    """Rows times one matrix or several, the same bits however many threads there are.

    Of a large product a matrix library gives each thread a part, and on some processors sums up in
    another order then; einsum's own loops have no threads.
    """
    found: Floats = np.einsum("nd,...de->...ne", vectors, taps)
    return found


def load_weights(path: Path, shape: AdaptiveShape, sha256: str = "") -> Weights:
    """The weights of an adaptive model.

    Raises:
        WeightsError: as `read_tensors`, or a tensor is missing or has another shape.
    """
    tensors, digest = read_tensors(path, sha256)
    _check_shapes(tensors, shape, path)
    taps = np.concatenate([tensors["memory.taps"], tensors["start.taps"]], 2)
    return Weights(
        shape=shape,
        sha256=digest,
        tokens=tensors["vectors.tokens"],
        # A linear map of an embedding is an embedding: reading then needs no product.
        tables=_product(tensors["vectors.tokens"], taps),
        places=tuple(_product(tensors[f"vectors.places.{name}"], taps[OWN]) for name, _ in PLACES),
        **{name: tensors[f"core.{name}"] for name in _CORE},
        **{f"gate_{name}": tensors[f"gate.{name}"] for name in _GATE},
    )


_CORE: Final = ("steps", "query", "out", "router", "up", "down")
_GATE: Final = ("inner", "inner_bias", "outer", "outer_bias")


def shapes_of(shape: AdaptiveShape) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of this shape, by name."""
    d, a, e = shape.width, shape.attention_width, shape.experts
    f, g = shape.ff_width, shape.gate_width
    return {
        "vectors.tokens": (shape.vocabulary, d),
        **{f"vectors.places.{name}": (rows, d) for name, rows in PLACES},
        "memory.taps": (TAPS, d, 2 * a),
        "start.taps": (TAPS, d, 2 * d),
        "core.steps": (shape.steps_max, d),
        "core.query": (d, a),
        "core.out": (a, d),
        "core.router": (d, e),
        "core.up": (e, d, f),
        "core.down": (e, f, d),
        "gate.inner": (d, g),
        "gate.inner_bias": (g,),
        "gate.outer": (g, 2),
        "gate.outer_bias": (2,),
        "writer.working": (d, d),  # only training asks for what was worked out
    }


def _check_shapes(tensors: dict[str, Floats], shape: AdaptiveShape, path: Path) -> None:
    for name, size in shapes_of(shape).items():
        found = tensors.get(name)
        if found is None or found.shape != size:
            there = "missing" if found is None else f"of shape {found.shape}"
            raise WeightsError(f"{name} in {path} is {there}; the model needs {size}")
