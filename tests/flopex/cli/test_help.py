"""What every command has in common: help with an example, JSON, completion, one reference page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from flopex.cli import app
from flopex.cli.base import SHARED_NAMES
from flopex.cli.exits import EXIT_TEXTS, ExitCode
from flopex.cli.reference import reference
from tests.flopex.cli import runner

ROOT = Path(__file__).resolve().parents[3]
TREE: Any = typer.main.get_command(app)


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in group.commands.items():
        if hasattr(child, "commands"):
            yield from leaves(child, (*path, name))
        elif not child.hidden:
            yield (*path, name), child


COMMANDS = dict(leaves(TREE))


run = partial(runner.run, env={"COLUMNS": "100"})


def test_the_commands_are_those_that_the_documents_name() -> None:
    named = """
        demo submit jobs cancel instruments book account serve backup restore
        order-place order-cancel order-replace order-list receipt-show receipt-verify
        webhook-add webhook-list webhook-test webhook-remove alert-add alert-list alert-remove
        worker-run worker-status worker-pause worker-resume worker-drain model-add
        admin-account admin-key admin-deposit admin-withdraw admin-model admin-instrument
        admin-halt admin-resume admin-invariants admin-export
        journal-verify journal-stat journal-dump bench-journal bench-orders
    """
    assert {"-".join(path) for path in COMMANDS} >= set(named.split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_the_shared_options(
    path: tuple[str, ...],
) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example:\s+(?:.*\| )?flopex {' '.join(path)}", result.output), result.output
    names = {parameter.name for parameter in COMMANDS[path].params}
    assert names >= set(SHARED_NAMES)
    for parameter in COMMANDS[path].params:
        assert parameter.name == "help" or parameter.help, f"{parameter.name} says nothing"


def test_without_a_command_there_is_help() -> None:
    result = run()
    assert "Exit codes" in result.output
    assert all(text.split(" (")[0][:30] in result.output for text in EXIT_TEXTS.values())


def test_every_exit_code_is_documented() -> None:
    assert set(EXIT_TEXTS) == set(ExitCode)


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert run("--version").output == f"flopex {version('flopex')}\n"


def test_a_misspelt_option_is_wrong_usage() -> None:
    result = run("jobs", "--opne")
    assert result.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--value", "cheap"), "not an amount of money"),
        (("--budget", "5 apples"), "not a quantity of compute"),
        (("--deadline", "soon"), "not a duration"),
        (("--limit", "0.0000000001"), "finer than a nano-dollar"),
    ],
)
def test_a_wrong_unit_says_how_to_write_it(option: tuple[str, str], said: str) -> None:
    result = run("submit", "Hello.", *option)
    assert result.exit_code == ExitCode.USAGE
    assert said in " ".join(result.output.split())


def test_completion_is_offered_for_the_shells() -> None:
    asked = {"_FLOPEX_COMPLETE": "complete_bash", "COMP_WORDS": "flopex ser", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "flopex"],
        env={**os.environ, **asked},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["serve"]
    assert "--install-completion" in run("--help").output


def test_the_reference_page_is_what_the_commands_say() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert page == reference(TREE), "run: flopex reference > docs/reference/cli.md"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "Hi.", "--value", "abc"), "Invalid value for '--value'"),
        (("submit", "Hi.", "--nope"), "No such option: --nope"),
        (("book",), "Missing argument 'instrument'"),
        (("nonsense",), "No such command 'nonsense'"),
    ],
)
def test_wrong_usage_is_one_object_for_programs(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments, "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert error["reason"] == "USAGE"
    assert message in error["message"]
    assert error["hint"].endswith("--help")
