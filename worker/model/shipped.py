"""The weights that the package ships, and the cards by which the shipped models meter."""

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
from worker.model.sizes import DEFAULT_SIZE, SIZES, Run

if TYPE_CHECKING:
    from worker.model.forms import Form, NumpyForm

log: Final = logging.getLogger("flopex.worker")

TRAINED: Final = Path(__file__).parent / "trained"
"""Weights by the names of their runs, `.safetensors`; recipe and digest beside them, `.json`."""
SHIPPED_SEED: Final = 0
"""The seed whose weights are sold; the others are there to be compared."""
POLICY_FILE: Final = "policy.json"
"""The thresholds that `flopex bench model` chose on the validation split, by size and seed."""


def model_name(size: str = DEFAULT_SIZE) -> str:
    """What the adaptive model of a size is called on an exchange."""
    return f"adaptive-{size}"


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


def trained(folder: Path = TRAINED, size: str = DEFAULT_SIZE) -> dict[str, list[int]]:
    """The contestants of a size in a folder, with their seeds.

    Raises:
        WeightsError: a file's name is not that of a run.
    """
    found: dict[str, list[int]] = {}
    try:
        runs = sorted(Run.named(path.stem) for path in folder.glob("*.safetensors"))
    except ValueError as error:
        raise WeightsError(f"{folder}: {error}") from error
    for run in runs:
        if run.size == size:
            found.setdefault(run.contestant, []).append(run.seed)
    return found


def shipped_sizes() -> list[str]:
    """The sizes whose weights the package ships, the smallest first."""
    return [size for size in SIZES if SHIPPED_SEED in trained(TRAINED, size).get("adaptive", ())]


def load_adaptive(
    seed: int = SHIPPED_SEED, folder: Path = TRAINED, size: str = DEFAULT_SIZE
) -> NumpyForm:
    """The adaptive model of a seed and a size.

    Raises:
        WeightsError: no such weights, another digest than the recorded one, or damaged.
    """
    # Cards and thresholds are read without NumPy; running the model needs it.
    from worker.model.forms import NumpyForm
    from worker.model.weights import load_weights

    name = Run("adaptive", size, seed).name
    record = record_of(name, folder)
    shape = AdaptiveShape(**record["shape"])
    return NumpyForm(load_weights(folder / f"{name}.safetensors", shape, record["sha256"]))


def load_for(device: str, size: str = DEFAULT_SIZE) -> Form:
    """The shipped model of a size in the form that suits a device.

    Args:
        device: `cpu`, a CUDA device such as `cuda` or `cuda:1`, or `auto`: a CUDA device where
            torch sees one, else the CPU. On CUDA torch computes, and all requests of a step go in
            one pass; on the CPU NumPy does.
        size: One of `shipped_sizes`.

    Raises:
        WeightsError: see `load_adaptive`, or the package ships no weights of this size.
        DeviceError: there is no such device, or no torch that could use it.
    """
    _check_shipped(size)
    plain = load_adaptive(size=size)
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


def _check_shipped(size: str) -> None:
    if size not in shipped_sizes():
        known = ", ".join(shipped_sizes()) or "none"
        raise WeightsError(f"no weights of the size {size} are shipped; shipped: {known}")


@functools.cache
def shipped_card(size: str = DEFAULT_SIZE) -> ModelCard:
    """The card of the shipped model of a size.

    Raises:
        WeightsError: the package ships no weights of this size.
    """
    _check_shipped(size)
    record = record_of(Run("adaptive", size, SHIPPED_SEED).name)
    return ModelCard(
        name=model_name(size),
        family="adaptive",
        weights_sha256=record["sha256"],
        template_tokens=1,
        bytes_per_token_milli=4_000,
        adaptive=AdaptiveShape(**record["shape"]),
    )


@functools.cache
def shipped_policy(size: str = DEFAULT_SIZE) -> Policy:
    """The thresholds by which the shipped model of a size stops.

    Raises:
        WeightsError: the package ships none for this size.
    """
    _check_shipped(size)
    try:
        chosen: dict[str, Any] = json.loads((TRAINED / POLICY_FILE).read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"no thresholds: {error}") from error
    found = chosen.get(size, {}).get(str(SHIPPED_SEED))
    if found is None:
        raise WeightsError(f"{POLICY_FILE} holds no thresholds for the size {size}")
    return Policy(**found)
