"""The build hook: what it compiles, and that nothing needs a compiler."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from hatch_build import CustomBuildHook, has_compiler, sources

ROOT = Path(hatch_build.__file__).parent


class App:
    """What hatchling gives a hook to speak with."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


def hook(app: App, target: str = "wheel") -> CustomBuildHook:
    return CustomBuildHook(str(ROOT), {}, None, None, str(ROOT), target, app)  # type: ignore[arg-type]


def test_the_book_and_the_simulators_driver_are_compiled_and_twins_are_not() -> None:
    found = sources()
    assert {"matching/book.py", "matching/entry.py", "matching/sheet.py"} <= set(found)
    assert {"sim/market.py", "sim/workers.py"} <= set(found)
    assert not [path for path in found if "reference" in path or "__init__" in path]


def test_a_build_has_the_types_of_what_is_compiled() -> None:
    """Without them mypyc refuses a module; an environment that has them all does not show that."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        re.split("[><=]", one)[0].replace("-", "_") for one in project["build-system"]["requires"]
    }
    packages = {"exchange", "matching", "sim", "worker"}
    imported = set()
    for path in sources():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    ours = packages | {"mypy_extensions"}  # mypy brings the latter
    assert imported - sys.stdlib_module_names - ours <= needed


def test_a_machine_without_a_compiler_builds_a_pure_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    monkeypatch.delenv("FLOPEX_COMPILE", raising=False)
    assert not has_compiler()
    app = App()
    build_data: dict[str, Any] = {"force_include": {}}
    hook(app).initialize("standard", build_data)
    assert build_data == {"force_include": {}}
    assert app.warnings == ["no C compiler: nothing is compiled"]


@pytest.mark.parametrize(
    ("target", "version", "wanted"),
    [("wheel", "editable", "1"), ("sdist", "standard", "1"), ("wheel", "standard", "0")],
)
def test_only_wheels_are_compiled_and_only_if_wanted(
    monkeypatch: pytest.MonkeyPatch, target: str, version: str, wanted: str
) -> None:
    monkeypatch.setenv("FLOPEX_COMPILE", wanted)
    monkeypatch.setattr(hatch_build, "compile_into", lambda *_: pytest.fail("it compiles"))
    build_data: dict[str, Any] = {"force_include": {}}
    hook(App(), target).initialize(version, build_data)
    assert build_data == {"force_include": {}}
