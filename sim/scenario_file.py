"""A scenario as a TOML file states it, with its fleet and its losses from files of supply.

Beside the fields of `Scenario` a file may have a table `fleet` in place of `classes`: `offers`, a
list of offers of machines or of spot prices, `speeds` by GPU or type of machine, and what
`sim.supply.fleet` takes beside; in the table `losses` a `file` in place of `nodes`; in the table
`spot` a `file`, a `zone` and a type of `machine` in place of `prices`. Paths are relative to the
TOML file. What was read is in the scenario, so that a study of it stands by itself.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from exchange.core.limits import NS_PER_MS
from sim.scenario import HardwareClass, Losses, Scenario, ScenarioError, Spot, checked
from sim.supply import (
    SupplyFileError,
    fleet,
    read_offers,
    read_presence,
    read_spot_prices,
    spot_offers,
)


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Classes that are made of offers: the arguments of `sim.supply.fleet`."""

    offers: str
    speeds: dict[str, float]
    slots: int = 8
    workers: int = 0
    bands: int = 3
    cheapest: float = 0.10


class _SpotFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Spot prices of one machine in one zone."""

    file: str
    zone: str
    machine: str
    times_faster: float = 0


def load_scenario(path: Path) -> Scenario:
    """The scenario of a TOML file; what it does not say is as in `Scenario`.

    Raises:
        ScenarioError: no such file, no TOML, an unknown or wrong field, or a file of supply that
            cannot be read.
    """
    try:
        stated = tomllib.loads(path.read_text())
        if "fleet" in stated:
            if "classes" in stated:
                raise ScenarioError(f"{path}: either classes or a fleet")
            named = msgspec.convert(stated.pop("fleet"), Fleet)
            offers = str(path.parent / named.offers)
            stated["classes"] = classes_of(msgspec.structs.replace(named, offers=offers))
        told = stated.get("losses")
        if isinstance(told, dict) and "file" in told:
            stated["losses"] = _losses(told, path.parent)
        told = stated.get("spot")
        if isinstance(told, dict) and "file" in told:
            stated["spot"] = _spot(msgspec.convert(told, _SpotFile), path.parent)
        return checked(msgspec.convert(msgspec.to_builtins(stated), Scenario))
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def classes_of(named: Fleet) -> tuple[HardwareClass, ...]:
    """The classes that offers make.

    Raises:
        ScenarioError: the file cannot be read, or no fleet can be made of it.
    """
    if min(named.slots, named.bands, *named.speeds.values()) <= 0 or named.workers < 0:
        raise ScenarioError("slots, bands and speeds of a fleet must be positive")
    path = Path(named.offers)
    try:
        offers = read_offers(path)
    except SupplyFileError as error:
        try:
            offers = spot_offers(read_spot_prices(path))
        except SupplyFileError:
            raise ScenarioError(str(error)) from error
    return fleet(
        offers, named.speeds, slots=named.slots, workers=named.workers, bands=named.bands,
        cheapest=named.cheapest,
    )  # fmt: skip


def nodes_of(path: Path) -> tuple[tuple[int, str, bool], ...]:
    """The nodes of a trace of preemptions, as `Losses` has them.

    Raises:
        ScenarioError: the file cannot be read.
    """
    try:
        presence = read_presence(path)
    except SupplyFileError as error:
        raise ScenarioError(str(error)) from error
    return tuple((one.at_ns // NS_PER_MS, one.node, one.present) for one in presence)


def _losses(stated: dict[str, Any], folder: Path) -> Losses:
    if "nodes" in stated:
        raise ScenarioError("losses: either nodes or a file")
    rest = {name: value for name, value in stated.items() if name != "file"}
    return msgspec.convert({**rest, "nodes": nodes_of(folder / str(stated["file"]))}, Losses)


def _spot(named: _SpotFile, folder: Path) -> Spot:
    path = folder / named.file
    try:
        prices = read_spot_prices(path)
    except SupplyFileError as error:
        raise ScenarioError(str(error)) from error
    own = [p for p in prices if (p.zone, p.machine) == (named.zone, named.machine)]
    if not own:
        raise ScenarioError(f"{path}: holds no price of {named.machine} in {named.zone}")
    return Spot(tuple((p.at_ns // NS_PER_MS, p.usd_h) for p in own), named.times_faster)
