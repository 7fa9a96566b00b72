"""`flopex train`: train the adaptive model, or one of the models that it is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.interrupts import interruptible

app = typer.Typer()


@command(
    app,
    "train",
    example="flopex train --out runs/first --seconds 60\n"
    "flopex train --contestant dense3 --out runs/first --exclude BIG-Bench-Hard/bbh",
)
async def train(
    session: Session,
    out: Annotated[Path, typer.Option(help="Folder of the run; one that was begun goes on.")],
    contestant: Annotated[str, typer.Option(help="What to train.")] = "adaptive",
    size: Annotated[str, typer.Option(help="tiny, small or base.")] = "tiny",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first weights.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Updates.")] = 3_200,
    seconds: Annotated[
        float, typer.Option(min=0, help="CPU time after which to end early; 0 for never.")
    ] = 0.0,
    exclude: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder whose questions are left out of the data."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Train on questions that are made as training goes, and write weights with their recipe.

    It needs the extra `train`. Interrupted, it goes on where it was less than a minute before.
    """
    from worker.model.sizes import Run

    recipe = (contestant, size, seed, steps, seconds)
    record = await interruptible(_train, session, out, exclude, threads, recipe)
    name = Run(contestant, size, seed).name
    last = record["curve"][-1] if record["curve"] else {}
    session.output.answer(
        record,
        f"{out}/{name}.safetensors: {record['parameters']:,} parameters, "
        f"{record['steps']:,} steps, {record['cpu_s']:,.0f} CPU s, "
        f"last answers right {last.get('right', 0):.3f}, left out {record['left_out']}\n"
        f"SHA-256 {record['sha256']}",
    )


def _train(
    session: Session,
    out: Path,
    exclude: Path | None,
    threads: int,
    recipe: tuple[str, str, int, int, float],
) -> dict[str, Any]:
    try:
        import torch

        from worker.model.contestants import CONTESTANTS
        from worker.model.train import Recipe, Training, TrainingError
    except ImportError as error:
        raise CommandError(
            f"training needs torch: {error}", "pip install 'flopex[train]'", reason="NO_TORCH"
        ) from error
    from worker.model.sizes import SIZES
    from worker.model.tasks.splits import Exclusion, ExclusionError

    for name, known in ((recipe[0], CONTESTANTS), (recipe[1], SIZES)):
        if name not in known:
            raise CommandError(
                f"there is no {name!r}", f"known: {', '.join(known)}", ExitCode.USAGE, "UNKNOWN"
            )
    torch.set_num_threads(threads)
    try:
        exclusion = Exclusion.from_folder(exclude) if exclude else Exclusion()
        training = Training(Recipe(*recipe), out, exclusion)
        return training.run(
            lambda point: session.output.note(
                f"step {point['step']:,.0f}: loss {point['loss']:.3f}, "
                f"right {point['right']:.3f}, {point['cpu_s']:,.0f} CPU s"
            )
        )
    except (TrainingError, ExclusionError, OSError) as error:
        raise CommandError(in_words(error), reason="TRAINING") from error
