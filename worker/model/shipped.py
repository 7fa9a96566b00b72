"""The weights that the package ships, and the card by which the shipped model meters."""

from __future__ import annotations

import functools
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.metering.adaptive import AdaptiveShape, Policy
from exchange.metering.cards import ModelCard
from worker.model.errors import DeviceError, WeightsError

if TYPE_CHECKING:
    from worker.model.forms import Form, NumpyForm

log: Final = logging.getLogger("flopex.worker")

TRAINED: Final = Path(__file__).parent / "trained"
"""`CONTESTANT-SEED.safetensors`, and `.json` with recipe and digest beside it."""
MODEL_NAME: Final = "adaptive-tiny"
POLICY_FILE: Final = "policy.json"
"""The thresholds that `flopex bench model` chose on the validation split, by seed."""


def record_of(name: str, folder: Path = TRAINED) -> dict[str, Any]:
    """The record of a training run.

    Raises:
        WeightsError: there is none.
    """
    try:
        record: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"no record of {name} in {folder}: {error}") from error
    return record


def trained(folder: Path = TRAINED) -> dict[str, list[int]]:
    """The contestants in a folder, with their seeds."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*-*.safetensors")):
        contestant, _, seed = path.stem.rpartition("-")
        found.setdefault(contestant, []).append(int(seed))
    return found


def load_adaptive(seed: int = 0, folder: Path = TRAINED) -> NumpyForm:
    """The adaptive model of a seed.

    Raises:
        WeightsError: no such weights, another digest than the recorded one, or damaged.
    """
    # Cards and thresholds are read without NumPy; running the model needs it.
    from worker.model.forms import NumpyForm
    from worker.model.weights import load_weights

    record = record_of(f"adaptive-{seed}", folder)
    shape = AdaptiveShape(**record["shape"])
    path = folder / f"adaptive-{seed}.safetensors"
    return NumpyForm(load_weights(path, shape, record["sha256"]))


def load_for(device: str) -> Form:
    """The shipped model (seed 0) in the form that suits a device.

    Args:
        device: `cpu`, a CUDA device such as `cuda` or `cuda:1`, or `auto`: a CUDA device where
            torch sees one, else the CPU. On CUDA torch computes, and all requests of a step go in
            one pass; on the CPU NumPy does.

    Raises:
        WeightsError: see `load_adaptive`.
        DeviceError: there is no such device, or no torch that could use it.
    """
    plain = load_adaptive()
    if device == "cpu":
        return plain
    why = _cuda_missing(device)
    if why and device == "auto":
        log.info("the adaptive model runs on the CPU: %s", why)
        return plain
    if why:
        raise DeviceError(f"device {device}: {why}")
    from worker.model.batched import BatchedForm
    from worker.model.gating import backend

    form = BatchedForm(plain.weights, "cuda" if device == "auto" else device)
    gate = backend(form.read((0,), 0).state)
    log.info(
        "the adaptive model runs on a CUDA device; its gate by %s",
        f"{gate.name} ({gate.reason})" if gate.reason else gate.name,
    )
    return form


def _cuda_missing(device: str) -> str:
    """Why the model cannot run on a CUDA device; empty where it can."""
    named = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if named is None:
        return "no such device; write auto, cpu, cuda or cuda:N"
    try:
        import torch
    except ImportError:
        return "torch is not installed (extra: gpu)"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    count = torch.cuda.device_count()
    return f"torch sees {count} CUDA devices" if int(named[1] or 0) >= count else ""


@functools.cache
def shipped_card() -> ModelCard:
    """The card of the shipped model (seed 0).

    Raises:
        WeightsError: the package ships no weights.
    """
    record = record_of("adaptive-0")
    return ModelCard(
        name=MODEL_NAME,
        family="adaptive",
        weights_sha256=record["sha256"],
        template_tokens=1,
        bytes_per_token_milli=4_000,
        adaptive=AdaptiveShape(**record["shape"]),
    )


@functools.cache
def shipped_policy() -> Policy:
    """The thresholds by which the shipped model stops.

    Raises:
        WeightsError: the package ships none.
    """
    try:
        chosen: dict[str, Any] = json.loads((TRAINED / POLICY_FILE).read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"no thresholds: {error}") from error
    return Policy(**chosen["0"])
