"""`flopex bench gating`: the command; `flopex.bench.gating` measures."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flopex.cli.base import Session
from flopex.cli.exits import CommandError
from flopex.interrupts import interruptible


async def gating(
    session: Session,
    out: Annotated[Path, typer.Option(help="Folder for the page of results.")] = Path(
        "docs/benchmarks"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the inputs.")] = 1,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights of the adaptive model (base; tiny with --quick); else random."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few small cases: to try it, not to publish.")
    ] = False,
) -> None:
    """The gate's CUDA kernels on this GPU: whether they are right, and what they take.

    Needs an NVIDIA GPU, CuPy, torch with CUDA and Triton; without them it measures nothing and says
    what is missing. Checks all functions against the reference to the last bit, times them beside
    eager torch, torch.compile and Triton, alone and in CUDA graphs, runs the adaptive model end to
    end, and writes a dated page. Fails if a result is wrong.
    """
    try:
        from flopex.bench.gating import run, table
        from worker.model.errors import WeightsError
    except ImportError as error:
        raise CommandError(
            f"nothing was measured: {error}", "install the worker extra", reason="NO_GPU"
        ) from error
    try:
        settings = run.Settings(seed, quick, weights)
        result = await interruptible(run.run, settings, session.output.note)
    except run.NoGpu as error:
        raise CommandError(
            f"nothing was measured: {error}",
            "run this on a machine with an NVIDIA GPU, and install what is missing",
            reason="NO_GPU",
        ) from error
    except WeightsError as error:
        raise CommandError(str(error), reason="WEIGHTS") from error
    date = datetime.now(UTC).date().isoformat()
    page = table.page(result, date)
    path = out / table.file_name(result, date)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    session.output.answer({**result, "page": str(path)}, page)
    session.output.note(f"written to {path}")
    if wrong := result["correctness"]["problems"]:
        raise CommandError(f"{len(wrong)} results are wrong: {wrong[0]}", reason="WRONG_RESULT")
