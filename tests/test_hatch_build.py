"""The build hook: what it compiles, and that nothing needs a compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hatch_build
from hatch_build import CustomBuildHook, has_compiler, sources


class App:
    """What hatchling gives a hook to speak with."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


def hook(app: App, target: str = "wheel") -> CustomBuildHook:
    root = str(Path(hatch_build.__file__).parent)
    return CustomBuildHook(root, {}, None, None, root, target, app)  # type: ignore[arg-type]


def test_the_book_and_the_simulators_driver_are_compiled_and_twins_are_not() -> None:
    found = sources()
    assert {"matching/book.py", "matching/entry.py", "matching/sheet.py"} <= set(found)
    assert {"sim/market.py", "sim/workers.py"} <= set(found)
    assert not [path for path in found if "reference" in path or "__init__" in path]


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
