"""`flopex quality`: how accurate the adaptive model's answers are for a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.model_size import ModelSize
from flopex.interrupts import interruptible
from flopex.render.format import grouped

if TYPE_CHECKING:
    from worker.model.curve import Curve

app = typer.Typer()


@command(
    app,
    "quality",
    example="flopex quality --family lookup --questions 500\nflopex quality --size small",
)
async def quality(
    session: Session,
    family: Annotated[
        list[str] | None, typer.Option(help="Only this family of tasks; may be repeated.")
    ] = None,
    questions: Annotated[int, typer.Option(min=20, help="Questions of each family.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the questions.")] = 1,
    size: Annotated[ModelSize, typer.Option(help="Size of the model.")] = ModelSize.TINY,
    value: Annotated[
        int, typer.Option(min=1, help="What a right answer is worth, nano-dollars.")
    ] = 1_000_000,
) -> None:
    """Accuracy against compute budget, by family of tasks, and what more compute is worth.

    The shipped model of a size answers questions of the test split under hard budgets. Shares are
    made rising (isotonic fit), with 95 % intervals. The worth of a CU from one budget to the next
    is the most that a buyer to whom a right answer is worth --value should pay for it.
    """
    curves = await interruptible(_curves, family, questions, seed, size.value)
    answer = {
        name: {
            "questions": curve.questions,
            "points": [point._asdict() for point in curve.points],
            "worth_nanos_per_cu": curve.worth_nanos_per_cu(value),
        }
        for name, curve in curves.items()
    }
    tables = [_table(name, curve, value) for name, curve in curves.items()]
    session.output.answer(answer, Group(*tables))


def _curves(families: list[str] | None, count: int, seed: int, size: str) -> dict[str, Curve]:
    try:
        from worker.model.curve import demand_curve
        from worker.model.errors import WeightsError
        from worker.model.evaluate import drawn_questions
        from worker.model.shipped import load_adaptive, shipped_policy
        from worker.model.tasks import FAMILIES
    except ImportError as error:
        raise CommandError(
            f"the model needs NumPy: {error}", "pip install 'flopex[worker]'", reason="NO_NUMPY"
        ) from error
    unknown = set(families or ()) - set(FAMILIES)
    if unknown:
        raise CommandError(
            f"there is no family {', '.join(sorted(unknown))}",
            f"known: {', '.join(FAMILIES)}",
            ExitCode.USAGE,
            "FAMILY",
        )
    try:
        form, policy = load_adaptive(size=size), shipped_policy(size)
    except WeightsError as error:
        raise CommandError(str(error), reason="WEIGHTS") from error
    return {
        name: demand_curve(form, policy, drawn_questions("test", "uniform", count, seed, (name,)))
        for name in families or FAMILIES
    }


def _table(name: str, curve: Curve, value: int) -> Table:
    columns: tuple[Any, ...] = ("budget, kFLOP", "right", "95 %", "used, kFLOP", "nano$/CU more")
    table = Table(*columns, title=f"{name} ({curve.questions} questions)")
    worth = ["", *(grouped(nanos) for nanos in curve.worth_nanos_per_cu(value))]
    for point, more in zip(curve.points, worth, strict=True):
        table.add_row(
            grouped(point.budget_flops // 1_000),
            f"{point.fitted:.3f}",
            f"{point.low:.2f} to {point.high:.2f}",
            grouped(int(point.spent_flops) // 1_000),
            more,
        )
    return table
