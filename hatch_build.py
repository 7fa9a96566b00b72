"""Compiles `matching`, the core's path of orders and the simulator's driver with mypyc.

In place, or into a wheel.

`python hatch_build.py` builds the extensions beside their sources (`make compile`). As hatchling's
build hook it puts them into a wheel, unless FLOPEX_COMPILE=0 is set or no C compiler is found: the
wheel is then pure Python and does the same, slower (docs/adr/0013). FLOPEX_OPT_LEVEL, 0
to 3, is the C compiler's -O: 3 unless set.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
# The naive twins stay as they are read; names and enumerations gain nothing;
# `interpreted` is for when nothing is compiled.
INTERPRETED = re.compile("__init__|events|interpreted|types|reference.*")
# How types are read; `make lint` checks them. What is compiled imports modules that import these
# libraries, and uses nothing of theirs: from polars on it would read torch, which took 3 minutes.
TYPES = """
[mypy]
mypy_path = .
explicit_package_bases = true
follow_imports = silent

[mypy-matplotlib.*,polars.*]
follow_imports = skip
"""
CC_ARGUMENTS = (
    # What one function calls of another may then be inlined, as nobody else can replace it: a sixth
    # of what an order costs the core (docs/adr/0043). Only a module's entry is seen from outside.
    "-fvisibility=hidden",
    # One of -Wall, to which a file of 30 MB costs gcc 80 s.
    "-Wno-misleading-indentation",
)
# What every order and every job goes through.
CORE = (
    "accounts",
    "client_ids",
    "event_rows",
    "event_tape",
    "exchange",
    "guards",
    "id_table",
    "instruments",
    "jobs",
    "lease",
    "leases",
    "ledger",
    "notable",
    "open_orders",
    "order_entry",
    "order_fills",
    "order_table",
    "orders",
    "placements",
    "planning",
    "settlement",
    "state",
    "throttle",
    "timers",
    "trading",
)


def sources() -> list[str]:
    """The modules to compile, relative to the root."""
    modules = sorted((ROOT / "matching").glob("*.py"))
    return [
        *(f"matching/{path.name}" for path in modules if not INTERPRETED.fullmatch(path.stem)),
        *(f"exchange/core/{name}.py" for name in CORE),
        "exchange/metering/costs.py",
        "exchange/rpc/convert/answers.py",
        "exchange/rpc/convert/rows.py",
        "exchange/rpc/pushes.py",
        "sim/market.py",
        "sim/workers.py",
    ]


def has_compiler() -> bool:
    """Whether the C compiler that this Python was built with can be found."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shutil.which(command.split()[0]) is not None


def compile_into(target: Path, work: Path) -> None:
    """Build the extension modules under `target`, with intermediate files under `work`."""
    from mypyc.build import mypycify
    from setuptools import Distribution  # type: ignore[import-untyped]
    from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]

    os.chdir(ROOT)  # mypy finds the modules' names from here
    types = work / "mypy.ini"
    types.write_text(TYPES)
    modules = [f"--config-file={types}", *sources()]
    level = os.environ.get("FLOPEX_OPT_LEVEL", "3")
    extensions = mypycify(modules, opt_level=level, group_name="flopex", target_dir=str(work / "c"))
    if os.name == "posix":
        for extension in extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, *CC_ARGUMENTS]
    command = build_ext(Distribution({"name": "flopex", "ext_modules": extensions}))
    command.build_lib = str(target)
    command.build_temp = str(work / "o")
    command.ensure_finalized()
    command.run()


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's hook: compiled modules in wheels, not in editable installations."""

    _work: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled modules to what the wheel holds."""
        wanted = os.environ.get("FLOPEX_COMPILE", "1") != "0"
        if self.target_name != "wheel" or version == "editable" or not wanted:
            return
        if not has_compiler():
            self.app.display_warning("no C compiler: nothing is compiled")
            return
        self._work = work = Path(tempfile.mkdtemp(prefix="flopex-mypyc-"))
        target = work / "lib"
        compile_into(target, work)
        for path in target.rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(target))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the intermediate files."""
        if self._work is not None:
            shutil.rmtree(self._work)


def main() -> int:
    """Compile the checkout in place."""
    if not has_compiler():
        sys.stderr.write("no C compiler found: matching and exchange.core stay interpreted\n")
        return 1
    with tempfile.TemporaryDirectory() as work:
        compile_into(ROOT, Path(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
