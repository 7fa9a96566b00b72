"""The documents quote commands that exist, with options that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from flopex.cli import app

ROOT = Path(__file__).parents[3]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TREE: Any = typer.main.get_command(app)
COMMAND = re.compile(r"(?:`|^ *)flopex ([^`\n#]+)", re.MULTILINE)
TARGETS = re.compile(r"(?:`|^ *)make ([a-z][a-z -]*[a-z])((?: [A-Z]+=\S+?)*)(?=`|\s)", re.MULTILINE)


def unknown(quoted: str) -> list[str]:
    """The words of a quoted command that nothing knows: `book NAME --wach` has `--wach`."""
    node, words = TREE, quoted.split()
    while hasattr(node, "commands") and words and words[0][0].islower():
        names = words.pop(0).rstrip(",").replace("\\", "").split("|")
        missing = [name for name in names if name not in node.commands]
        if missing:
            return missing
        node = node.commands[names[0]]
    options = {name for p in node.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    named = [word.split("=")[0].rstrip("].,;:)") for word in words if word.startswith("--")]
    return [name for name in named if name not in options]


def test_a_command_that_does_not_exist_is_found() -> None:
    assert unknown("book NAME --watch") == unknown("journal verify\\|dump DIR") == []
    assert unknown("book NAME --wach=yes") == ["--wach"]
    assert unknown("journal verify\\|dumb") == ["dumb"]
    assert unknown("bok NAME") == ["bok"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_quoted_commands_exist(page: Path) -> None:
    text = page.read_text()
    wrong = {quoted: unknown(quoted) for quoted in COMMAND.findall(text)}
    assert {quoted: words for quoted, words in wrong.items() if words} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_quoted_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for targets, values in TARGETS.findall(page.read_text()):
        for target in targets.split():
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for name in re.findall(r"([A-Z]+)=", values):
            assert f"$({name}" in makefile or f"or $({name})" in makefile, name
