"""Who may import whom: the import-linter contracts of pyproject.toml, each shown to bite."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]
ROOTS: list[str] = CONFIG["root_packages"]
RUN_LINTER = "from importlinter.cli import lint_imports_command; lint_imports_command()"
CONTRACTS: list[dict[str, Any]] = CONFIG["contracts"]


def exists(module: str, root: Path) -> bool:
    """Whether the project has this package; a module that is not ours counts as there."""
    parts = module.split(".")
    if parts[0] not in ROOTS:
        return True
    paths = [root.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
    return all((path / "__init__.py").is_file() for path in paths)


def present_contracts(root: Path) -> list[dict[str, Any]]:
    """The contracts less the packages that do not exist yet, less those that then say nothing."""
    kept = []
    for contract in CONTRACTS:
        filtered = {
            key: [m for m in value if exists(m, root)] if isinstance(value, list) else value
            for key, value in contract.items()
        }
        enough = 2 if contract["type"] == "independence" else 1
        modules = filtered.get("source_modules", filtered.get("modules"))
        if modules and len(modules) >= enough:
            kept.append(filtered)
    return kept


def lint(root: Path, config_path: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages in `root`."""
    config = configparser.ConfigParser()

    def lines(value: object) -> str:
        return "\n" + "\n".join(value) if isinstance(value, list) else str(value)

    config["importlinter"] = {
        "root_packages": lines([p for p in ROOTS if exists(p, root)]),
        "include_external_packages": "true",
    }
    for number, contract in enumerate(present_contracts(root)):
        config[f"importlinter:contract:{number}"] = {k: lines(v) for k, v in contract.items()}
    with config_path.open("w") as file:
        config.write(file)
    return subprocess.run(
        [sys.executable, "-c", RUN_LINTER, "--config", str(config_path), "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_are_kept(tmp_path: Path) -> None:
    if not present_contracts(ROOT):
        pytest.skip("no package exists yet")
    result = lint(ROOT, tmp_path / "contracts.ini")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_bites(tmp_path: Path) -> None:
    """In a toy tree where every source imports something it must not, every contract is broken."""
    imports: dict[str, list[str]] = {}
    for contract in CONTRACTS:
        if contract["type"] == "independence":
            first, second = contract["modules"]
            imports.setdefault(first, []).append(second)
        else:
            forbidden = contract["forbidden_modules"][0]
            for source in contract["source_modules"]:
                # A package may not contain what it must not import: let a child of it offend.
                imports.setdefault(f"{source}.offender", []).append(forbidden)
            imports.setdefault(forbidden, [])
    tree = tmp_path / "tree"
    for package in [*ROOTS, *imports, *(m for c in CONTRACTS for m in all_modules(c))]:
        if package.split(".")[0] in ROOTS:
            make_package(tree, package, imports.get(package, []))
    result = lint(tree, tmp_path / "contracts.ini")
    kept = [c["name"] for c in CONTRACTS if f"{c['name']} BROKEN" not in result.stdout]
    assert kept == [], result.stdout + result.stderr


def all_modules(contract: dict[str, Any]) -> list[str]:
    return [m for value in contract.values() if isinstance(value, list) for m in value]


def make_package(tree: Path, package: str, imported: list[str]) -> None:
    folder = tree
    for part in package.split("."):
        folder /= part
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    if imported:
        (folder / "__init__.py").write_text("".join(f"import {m}\n" for m in imported))
