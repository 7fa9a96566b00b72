"""House rules that a program can check (CONTRIBUTING.md says why each exists)."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("exchange", "matching", "worker", "sim", "flopex")
GENERATED = ("exchange/v1/",)

# The deterministic heart: integers only, no clock, no chance, no files.
PURE = ("matching/", "exchange/core/", "exchange/metering/")
PURE_BANNED_MODULES = {"asyncio", "datetime", "os", "pathlib", "random", "secrets", "time", "uuid"}
PURE_BANNED_NAMES = {"eval", "exec", "float", "hash", "id", "input", "open", "print"}
# (path, what is found there) -> why it is no impurity
PURE_ALLOWED: dict[tuple[str, str], str] = {
    ("exchange/core/id_table.py", "uses hash"): "a keyed hash decides where an id lies, as in a "
    "dict; nothing that comes out depends on it",
}

# What stands beside the folders; anything else was left there by mistake.
ROOT_FILES = {
    ".editorconfig",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "NOTICE",
    "README.md",
    "SECURITY.md",
    "buf.yaml",
    "constraints.txt",
    "hatch_build.py",
    "pyproject.toml",
}
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
# path -> (its own limit, why it may be longer)
LONGER_MODULES: dict[str, tuple[int, str]] = {
    "exchange/core/commands.py": (560, "one flat list of all commands, to be looked things up in"),
}
# "path:function" -> (its own limit, why it may be longer)
LONGER_FUNCTIONS: dict[str, tuple[int, str]] = {}

# Folders that differ from machine to machine.
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:home|root|work|opt|Users|tmp|mnt)/[\w.]")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")


@cache
def listed_files() -> list[str]:
    """Paths of the files that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return sorted(path for path in set(listed) if (ROOT / path).is_file())


def project_files(suffix: str = "") -> list[str]:
    return [path for path in listed_files() if path.endswith(suffix)]


def test_nothing_lies_about() -> None:
    assert {path for path in project_files() if "/" not in path} == ROOT_FILES


def python_files() -> list[str]:
    return [p for p in project_files(".py") if not p.startswith(GENERATED)]


def product_files() -> list[str]:
    return [p for p in python_files() if p.split("/")[0] in PACKAGES]


def parse(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), path)


Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[ast.Module], Iterator[tuple[int, str]]]


def impure(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines that would make the same input give another output, or bring in floats."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in PURE_BANNED_MODULES:
                    yield node.lineno, f"imports {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in PURE_BANNED_MODULES:
                yield node.lineno, f"imports from {node.module}"
        elif isinstance(node, ast.Name) and node.id in PURE_BANNED_NAMES:
            yield node.lineno, f"uses {node.id}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"holds the literal {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "divides with / (use //)"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield node.lineno, "is asynchronous"


def functions(
    tree: ast.AST, prefix: str = "", public: bool = True
) -> Iterator[tuple[str, Function, bool]]:
    """Each function with its dotted name and whether users can see it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            seen = public and not node.name.startswith("_")
            yield from functions(node, f"{prefix}{node.name}.", seen)
        elif isinstance(node, Function):
            yield f"{prefix}{node.name}", node, public and not node.name.startswith("_")
            yield from functions(node, f"{prefix}{node.name}.", False)
        else:
            yield from functions(node, prefix, public)


def lines_without_docstring(node: Function) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        # Prose is not what makes a function hard to follow.
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def undocumented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Public functions without a docstring or without full annotations."""
    for name, node, public in functions(tree):
        decorators = {ast.unparse(d).split(".")[-1] for d in node.decorator_list}
        if not public or decorators & {"override", "overload", "setter"}:
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno, f"{name} has no docstring"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in {"self", "cls"}]
        if bare or node.returns is None:
            yield node.lineno, f"{name} is not fully annotated {bare}"


def findings(paths: list[str], rule: Rule) -> list[str]:
    return [f"{p}:{line}: {what}" for p in paths for line, what in rule(parse(p))]


def test_the_deterministic_heart_is_pure() -> None:
    found = {
        (path, what)
        for path in product_files()
        if path.startswith(PURE)
        for _, what in impure(parse(path))
    }
    assert found == PURE_ALLOWED.keys()


def test_public_functions_are_annotated_and_documented() -> None:
    assert findings(product_files(), undocumented) == []


def test_modules_fit_in_the_head() -> None:
    too_long = []
    for path in python_files():
        lines = len((ROOT / path).read_text().splitlines())
        if lines > LONGER_MODULES.get(path, (MODULE_LINES_MAX, ""))[0]:
            too_long.append(f"{path}: {lines} lines")
    assert too_long == []


def test_functions_fit_on_a_screen() -> None:
    too_long = []
    for path in python_files():
        for name, node, _ in functions(parse(path)):
            lines = lines_without_docstring(node)
            if lines > LONGER_FUNCTIONS.get(f"{path}:{name}", (FUNCTION_LINES_MAX, ""))[0]:
                too_long.append(f"{path}:{node.lineno}: {name} has {lines} lines")
    assert too_long == []


def test_exceptions_to_the_limits_are_still_needed() -> None:
    for path, (limit, why) in LONGER_MODULES.items():
        assert MODULE_LINES_MAX < len((ROOT / path).read_text().splitlines()) <= limit, path
        assert why, path
    for key, (limit, why) in LONGER_FUNCTIONS.items():
        path, name = key.split(":")
        lengths = {n: lines_without_docstring(node) for n, node, _ in functions(parse(path))}
        assert FUNCTION_LINES_MAX < lengths[name] <= limit, key
        assert why, key


def text_findings(pattern: re.Pattern[str], paths: list[str]) -> list[str]:
    found = []
    for path in paths:
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue  # pictures and the like
        found += [
            f"{path}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def test_no_file_names_a_folder_of_one_machine() -> None:
    paths = [p for p in project_files() if p != "tests/test_tidy.py"]
    assert text_findings(MACHINE_PATH, paths) == []


def modules_started_unsafely(tree: ast.Module) -> Iterator[int]:
    """Lines of command lines that run a module and let the current folder stand in for imports."""
    for node in ast.walk(tree):
        parts = node.args if isinstance(node, ast.Call) else getattr(node, "elts", [])
        told = [ast.unparse(part) for part in parts]
        unsafe = "sys.executable" in told and "'-m'" in told and "'-P'" not in told
        if unsafe and isinstance(node, ast.expr):
            yield node.lineno


def test_processes_import_nothing_from_the_current_folder() -> None:
    unsafe = [(path, *modules_started_unsafely(parse(path))) for path in product_files()]
    assert [found for found in unsafe if len(found) > 1] == []
    assert list(modules_started_unsafely(ast.parse("run([sys.executable, '-m', 'x'])"))) == [1]


def test_nothing_is_left_for_later() -> None:
    assert text_findings(UNFINISHED, python_files()) == []


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def named_modules(tree: ast.Module, constants: bool) -> Iterator[str]:
    """What a file imports, and its strings (a child process is started by its module's name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif constants and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_module_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    used = {target.split(":")[0] for target in project["scripts"].values()}
    product = set(product_files())
    for path in python_files():
        # A module that names itself is not thereby used.
        used |= set(named_modules(parse(path), path in product)) - {module_name(path)}
    unused = [
        path
        for path in sorted(product)
        if not path.endswith(("/__init__.py", "/__main__.py")) and module_name(path) not in used
    ]
    assert unused == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "import os.path",
        "from random import random",
        "from uuid import uuid4",
        "price = 1.5",
        "def f(price: float) -> None: ...",
        "x = float(2)",
        "x = 3 / 2",
        "x /= 2",
        "open('book')",
        "key = hash('name')",
        "async def f() -> None: ...",
    ],
)
def test_the_purity_rule_bites(source: str) -> None:
    assert list(impure(ast.parse(source)))


def test_the_documentation_rule_bites() -> None:
    found = list(undocumented(ast.parse("class A:\n    def f(self, x):\n        'Says.'\n")))
    assert found == [(2, "A.f is not fully annotated ['x']")]
    assert list(undocumented(ast.parse("def f() -> None: ..."))) == [(1, "f has no docstring")]
    assert list(undocumented(ast.parse("def _f(x): ...\nclass _A:\n    def g(self): ..."))) == []


@pytest.mark.parametrize("text", ["see /" + "home/me/x", "'/" + "tmp/flopex'", "/" + "root/.cache"])
def test_the_path_rule_bites(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize(
    "text", ["docs/work/x", "https://example.com/home/x", "$HOME/work/x", "tests/tmp/x"]
)
def test_the_path_rule_spares(text: str) -> None:
    assert not MACHINE_PATH.search(text)


def test_links_between_documents_lead_somewhere() -> None:
    links = [
        (path, target)
        for path in project_files(".md")
        for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / path).read_text())
        if "://" not in target
    ]
    assert [(p, t) for p, t in links if not (ROOT / p).parent.joinpath(t).exists()] == []
