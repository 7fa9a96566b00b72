"""The Typer app that all groups of commands are put together in."""

from __future__ import annotations

from typing import Annotated

import typer

from flopex.cli import (
    account,
    admin,
    alerts,
    backup,
    bench,
    demo,
    doctor,
    jobs,
    journal,
    journal_state,
    market,
    market_export,
    market_history,
    models,
    orders,
    quality,
    readmodel,
    receipt,
    replay,
    serve,
    sim,
    sim_live,
    submit,
    trading,
    train,
    webhooks,
    why,
    workers,
)
from flopex.cli.base import ENVIRONMENT_PREFIX
from flopex.cli.exits import EXIT_TEXTS
from flopex.cli.program import Program
from flopex.cli.reference import reference
from flopex.processes import die_with_parent

_EXITS = "\n\n".join(f"  {int(code):3} {text}" for code, text in EXIT_TEXTS.items())

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": ENVIRONMENT_PREFIX,
    },
    epilog=f"Exit codes:\n\n{_EXITS}",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"flopex {version('flopex')}")
        raise typer.Exit


@app.callback()
def flopex_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            allow_from_autoenv=False,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """A real-time exchange for GPU compute.

    Jobs bid with a compute budget, workers ask, leases settle to the FLOP.
    """


@app.command("reference", hidden=True)
def print_reference() -> None:
    """Print the reference of all commands as Markdown: docs/reference/cli.md."""
    typer.echo(reference(typer.main.get_command(app)), nl=False)


for group in (demo, submit, jobs, market, account, serve, doctor, backup, replay, train, quality):
    app.registered_commands += group.app.registered_commands
app.add_typer(orders.app, name="order")
market_history.app.registered_commands += market_export.app.registered_commands
app.add_typer(market_history.app, name="market")
app.add_typer(why.app, name="why")
app.add_typer(receipt.app, name="receipt")
app.add_typer(alerts.app, name="alert")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(workers.app, name="worker")
app.add_typer(models.app, name="model")
admin.app.registered_commands += trading.app.registered_commands
journal.app.registered_commands += journal_state.app.registered_commands
sim.app.registered_commands += sim_live.app.registered_commands
app.add_typer(journal.app, name="journal")
app.add_typer(readmodel.app, name="readmodel")
app.add_typer(admin.app, name="admin")
app.add_typer(bench.app, name="bench")
app.add_typer(sim.app, name="sim")


def main() -> None:
    """Run the command line; the entry point of `flopex` and `python -m flopex`."""
    die_with_parent()
    app(prog_name="flopex")
