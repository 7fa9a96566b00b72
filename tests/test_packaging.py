"""What is shipped: the wheel, its dependencies, and the versions that `make venv` installs."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

pytestmark = pytest.mark.timeout(600)  # a wheel is built, and package matching compiled

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
PACKAGES: list[str] = [
    p
    for p in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    if (ROOT / p / "__init__.py").is_file()
]
# The distributions that the client may need, and no other.
CLIENT_ONLY = {"grpcio", "protobuf"}
# Extras that `make venv` does not install.
NOT_IN_VENV = ("cuda12", "cuda13", "train")
# Import names that come with extras: importing the client must not load them.
EXTRA_MODULES = ("aiohttp", "cryptography", "msgspec", "numpy", "rich", "structlog", "typer")

# What modules for GPUs and training may import, and `make venv` does not install.
GPU_MODULES = {"cupy", "matplotlib", "torch", "triton"}


def distribution(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {distribution(name): version for name, version in pins}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel that is built now."""
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLOPEX_OPT_LEVEL", "0")  # what is in it is asked, not how fast it is
        (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: list[str]) -> None:
    top = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    compiled = {name for name in top if name.startswith("flopex__mypyc.")}
    assert top - compiled <= set(PACKAGES)
    assert not [name for name in wheel if "__pycache__" in name]


def test_the_wheel_holds_the_sources_of_the_kernels(wheel: list[str]) -> None:
    folder = ROOT / "worker" / "model" / "kernels"
    sources = {str(p.relative_to(ROOT)) for p in folder.iterdir() if p.suffix in {".cu", ".cuh"}}
    assert len(sources) > 1
    assert sources <= set(wheel)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed(wheel: list[str], package: str) -> None:
    assert f"{package}/py.typed" in wheel


def test_every_file_of_a_package_is_shipped(wheel: list[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True
    )
    present = [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]
    assert set(present) <= set(wheel)


def test_the_licence_is_shipped(wheel: list[str]) -> None:
    licences = {name.split("/")[-1] for name in wheel if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_the_base_installation_is_the_client_only() -> None:
    assert {distribution(r) for r in PROJECT["dependencies"]} == CLIENT_ONLY


def test_importing_the_client_loads_no_extra() -> None:
    if not (ROOT / "exchange" / "client" / "__init__.py").is_file():
        pytest.skip("exchange.client does not exist yet")
    code = (
        "import sys, exchange.client\n"
        f"print([m for m in {EXTRA_MODULES!r} if m in sys.modules])\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('matching', 'worker', 'flopex')])\n"
    )
    run = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["[]", "[]"]


def test_every_module_imports() -> None:
    """Each module can be imported alone, without warnings (pytest makes them errors)."""
    missing = set()
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if module.name.endswith("__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                missing.add(error.name)
    assert missing <= GPU_MODULES


def test_constraints_pin_every_dependency() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [r for name, rs in extras.items() if name not in NOT_IN_VENV for r in rs]
    groups = PYPROJECT["dependency-groups"]
    wanted += [r for group in ("dev", "test") for r in groups[group] if isinstance(r, str)]
    names = {distribution(r) for r in [*PROJECT["dependencies"], *wanted]} - {PROJECT["name"]}
    # pip freeze, which writes the file, leaves setuptools out; torch's one version stands in
    # pyproject.toml, as builds for CPU and for GPU have versions of their own.
    assert names - set(constraints()) <= {"setuptools", "torch"}


def test_constraints_hold_plain_pins_only() -> None:
    """No addresses, no hashes, no paths: they would tie the file to one index or one machine."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("# ") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{PROJECT['version']}]" in changelog or "## [Unreleased]" in changelog
