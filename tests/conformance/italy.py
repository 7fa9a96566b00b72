"""Clear real day-ahead auctions with `matching.auction` and compare with the published prices.

    python -m tests.conformance.italy CURVES PRICES [--json]

CURVES holds what was bid and offered in the Italian day-ahead market (MGP), summed by delivery
day, period, zone, side and price; PRICES the zones' published prices and net exports. Two ways:

* national: a period in which all zones had one price is cleared as one market;
* zones: each zone is cleared alone, with its published net export fixed.

A net export is bought at any price, a net import sold at any price. A price is *inside* if it lies
in the crossing interval. Where the interval is one price (*unique*), a price inside is *exact*.
Where it is longer, what chose the price lies outside these files. A price is compared to within its
tick of 0.01 EUR, quantities are whole kWh.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matching.auction import Clearing, Step, clear
from tests.conformance.tables import NUMBER_MAX, BadTable, Row, read_table, refuse, scaled

WHERE = """
The files: https://github.com/rebase-energy/OpenEUPHEMIA, folder data/italy, one folder per month.
There, CURVES is bid-curves.csv.gz and PRICES published-prices.csv.gz; the net exports are then
added up from published-flows.csv.gz and published-exchanges.csv.gz, which must lie beside PRICES
(or be named). A PRICES file with a column net_export_mwh needs neither. Columns are read by name:
  CURVES     delivery_day, period, zone, side (demand or supply), price_eur_per_mwh, quantity_mwh
  PRICES     delivery_day, period, zone, published_price_eur_per_mwh or price_eur_per_mwh
             [, net_export_mwh]
  flows      delivery_day, period, from_zone, to_zone, flow_mwh
  exchanges  delivery_day, period, zone, exchange_mwh (positive out of the zone)
Zones of PRICES without curves (neighbouring countries) are left out.

Exit status: 0 all prices are inside, 1 some are not, 2 the files could not be used.
"""

PRICE_DECIMALS = 2
"""Prices of bids in cents per MWh: the market's tick."""
PUBLISHED_DECIMALS = 8
"""Published prices may be finer than the tick."""
PUBLISHED_PER_TICK: int = 10 ** (PUBLISHED_DECIMALS - PRICE_DECIMALS)
ANY_PRICE = NUMBER_MAX * 10**PRICE_DECIMALS
"""Beyond every price in a file: what is bought at it, or sold at its negative, always trades."""
QUANTITY_DECIMALS = 3
"""Quantities in kWh; what is finer in the files is rounding noise of sums."""
HOUR_COLUMNS = ("delivery_day", "period")

Hour = tuple[str, int]
"""Delivery day and period; a period is an hour, or the part of one that the file deals in."""
ZoneHour = tuple[str, int, str]


class Bids(NamedTuple):
    """Demand and supply of one zone or of several together."""

    demand: list[Step]
    supply: list[Step]


class Published(NamedTuple):
    """What was published for a zone and hour: price (10^-8 EUR per MWh) and net export (kWh)."""

    price: int
    net_export: int


class Outcome(NamedTuple):
    """One market cleared, and the price that was published for it."""

    name: str
    published: int
    clearing: Clearing | None
    shortage: int
    """kWh by which more is wanted than offered at the published price (less, if negative), however
    the orders exactly at that price are filled."""

    @property
    def unique(self) -> bool:
        """Whether the crossing interval is one price."""
        return self.clearing is not None and self.clearing.low == self.clearing.high

    @property
    def inside(self) -> bool:
        """Whether the published price lies in the crossing interval, to within a tick."""
        if self.clearing is None:
            return False
        low = (self.clearing.low - 1) * PUBLISHED_PER_TICK
        return low < self.published < (self.clearing.high + 1) * PUBLISHED_PER_TICK

    def difference(self) -> str:
        """A line for people."""
        price = _decimal(self.published, PUBLISHED_DECIMALS)
        if self.clearing is None:
            return f"{self.name}: published {price}, but nothing crosses"
        low = _decimal(self.clearing.low, PRICE_DECIMALS)
        high = _decimal(self.clearing.high, PRICE_DECIMALS)
        much = _decimal(abs(self.shortage), QUANTITY_DECIMALS)
        what = "wanted" if self.shortage > 0 else "offered"
        return (
            f"{self.name}: published {price}, crossing {low} to {high}; "
            f"at the published price {much} MWh too much is {what}"
        )


def read_curves(path: Path) -> dict[ZoneHour, Bids]:
    """Demand and supply of each zone and hour.

    Raises:
        BadTable: the file is absent or malformed.
    """
    columns = (*HOUR_COLUMNS, "zone", "side", "price_eur_per_mwh", "quantity_mwh")
    curves: dict[ZoneHour, Bids] = defaultdict(lambda: Bids([], []))
    for row in read_table(path, columns):
        price = scaled(row["price_eur_per_mwh"], PRICE_DECIMALS, f"{path}: price_eur_per_mwh")
        quantity = scaled(row["quantity_mwh"], QUANTITY_DECIMALS, f"{path}: quantity_mwh")
        if row["side"] not in {"demand", "supply"} or quantity < 0:
            msg = f"{path}: side {row['side']!r}, quantity {row['quantity_mwh']!r}"
            raise BadTable(msg)
        bids = curves[(*_hour(row, path), row["zone"])]
        if quantity:
            (bids.demand if row["side"] == "demand" else bids.supply).append((price, quantity))
    return dict(curves)


def read_published(path: Path, flows: Path, exchanges: Path) -> dict[ZoneHour, Published]:
    """Price and net export of each zone and hour.

    `flows` and `exchanges` are only read if `path` has no net exports itself.

    Raises:
        BadTable: a file that is needed is absent or malformed.
    """
    rows = list(read_table(path, (*HOUR_COLUMNS, "zone")))
    if not rows:
        msg = f"{path}: no rows"
        raise BadTable(msg)
    price_column = next(
        (name for name in ("published_price_eur_per_mwh", "price_eur_per_mwh") if name in rows[0]),
        None,
    )
    if price_column is None:
        msg = f"{path}: no column published_price_eur_per_mwh or price_eur_per_mwh"
        raise BadTable(msg)
    net_exports: Counter[ZoneHour] = Counter()
    if "net_export_mwh" in rows[0]:
        for row in rows:
            net_exports[(*_hour(row, path), row["zone"])] += _kwh(row, "net_export_mwh", path)
    else:
        net_exports = read_net_exports(flows, exchanges)
    published: dict[ZoneHour, Published] = {}
    for row in rows:
        key = (*_hour(row, path), row["zone"])
        price = scaled(row[price_column], PUBLISHED_DECIMALS, f"{path}: {price_column}")
        published[key] = Published(price, net_exports[key])
    return published


def read_net_exports(flows: Path, exchanges: Path) -> Counter[ZoneHour]:
    """Net export of each zone and hour, from its flows to other zones and to other countries.

    Raises:
        BadTable: a file is absent or malformed.
    """
    net_exports: Counter[ZoneHour] = Counter()
    for row in read_table(flows, (*HOUR_COLUMNS, "from_zone", "to_zone", "flow_mwh")):
        flow = _kwh(row, "flow_mwh", flows)
        net_exports[(*_hour(row, flows), row["from_zone"])] += flow
        net_exports[(*_hour(row, flows), row["to_zone"])] -= flow
    for row in read_table(exchanges, (*HOUR_COLUMNS, "zone", "exchange_mwh")):
        net_exports[(*_hour(row, exchanges), row["zone"])] += _kwh(row, "exchange_mwh", exchanges)
    return net_exports


def zone_outcomes(
    curves: dict[ZoneHour, Bids], published: dict[ZoneHour, Published]
) -> Iterator[Outcome]:
    """Clear each zone and hour alone."""
    for key in sorted(curves.keys() & published.keys()):
        yield _clear("{} period {} {}".format(*key), [curves[key]], published[key])


def national_outcomes(
    curves: dict[ZoneHour, Bids], published: dict[ZoneHour, Published]
) -> Iterator[Outcome]:
    """Clear each hour in which all zones had one price, as one market."""
    zones = {zone for _, _, zone in curves}
    hours: dict[Hour, list[ZoneHour]] = defaultdict(list)
    for key in sorted(curves.keys() & published.keys()):
        hours[key[:2]].append(key)
    for hour, keys in hours.items():
        prices = {published[key].price for key in keys}
        if len(prices) == 1 and len(keys) == len(zones):
            net_export = sum(published[key].net_export for key in keys)
            nation = Published(prices.pop(), net_export)
            yield _clear("{} period {} nation".format(*hour), [curves[k] for k in keys], nation)


def _clear(name: str, zones: list[Bids], published: Published) -> Outcome:
    demand = [step for bids in zones for step in bids.demand]
    supply = [step for bids in zones for step in bids.supply]
    if published.net_export > 0:
        demand.append((ANY_PRICE, published.net_export))
    elif published.net_export < 0:
        supply.append((-ANY_PRICE, -published.net_export))
    shortage = _shortage(demand, supply, published.price)
    return Outcome(name, published.price, clear(demand, supply, reference=0), shortage)


def _shortage(demand: list[Step], supply: list[Step], published: int) -> int:
    """Demand less supply at a price, as near to zero as orders exactly at it allow."""
    surplus, at_price = 0, [0, 0]
    for sign, steps in ((1, demand), (-1, supply)):
        for price, quantity in steps:
            better = sign * (price * PUBLISHED_PER_TICK - published)
            if better > 0:
                surplus += sign * quantity
            elif better == 0:
                at_price[sign < 0] += quantity
    return max(surplus - at_price[1], 0) or min(surplus + at_price[0], 0)


def _hour(row: Row, path: Path) -> Hour:
    return row["delivery_day"], scaled(row["period"], 0, f"{path}: period")


def _kwh(row: Row, column: str, path: Path) -> int:
    return scaled(row[column], QUANTITY_DECIMALS, f"{path}: {column}")


def _decimal(value: int, decimals: int) -> str:
    whole, part = divmod(abs(value), 10**decimals)
    digits = f"{part:0{decimals}}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}.{digits or '0'}"


def _summary(way: str, outcomes: list[Outcome]) -> dict[str, int]:
    unique = [outcome for outcome in outcomes if outcome.unique]
    return {
        f"{way}_total": len(outcomes),
        f"{way}_inside": sum(outcome.inside for outcome in outcomes),
        f"{way}_unique": len(unique),
        f"{way}_exact": sum(outcome.inside for outcome in unique),
    }


def _print_report(outcomes: list[Outcome], summary: dict[str, int]) -> None:
    for outcome in outcomes:
        if not outcome.inside:
            print(outcome.difference())
    for way in ("national", "zones"):
        total, inside, unique, exact = (
            summary[f"{way}_{what}"] for what in ("total", "inside", "unique", "exact")
        )
        print(
            f"{way}: {inside} of {total} published prices inside the crossing interval; "
            f"{exact} of {unique} exact where it is one price"
        )
    passed = sum(outcome.inside for outcome in outcomes)
    print(f"{passed} passed, {len(outcomes) - passed} failed")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.italy",
        description=__doc__,
        epilog=WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("curves", metavar="CURVES", type=Path, help="a .csv or .csv.gz")
    parser.add_argument("prices", metavar="PRICES", type=Path, help="a .csv or .csv.gz")
    parser.add_argument("--flows", type=Path, help="published-flows, if not beside PRICES")
    parser.add_argument("--exchanges", type=Path, help="published-exchanges, if not beside PRICES")
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    return parser.parse_args(argv)


def _beside(prices: Path, name: str) -> Path:
    """A file of the source's own layout, zipped or not."""
    plain = prices.with_name(f"{name}.csv")
    return plain if plain.exists() else prices.with_name(f"{name}.csv.gz")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _arguments(argv)
    flows = arguments.flows or _beside(arguments.prices, "published-flows")
    exchanges = arguments.exchanges or _beside(arguments.prices, "published-exchanges")
    try:
        curves = read_curves(arguments.curves)
        published = read_published(arguments.prices, flows, exchanges)
    except BadTable as error:
        return refuse(str(error))
    national = list(national_outcomes(curves, published))
    zones = list(zone_outcomes(curves, published))
    if not zones:
        return refuse(f"{arguments.curves} and {arguments.prices} have no zone and hour in common")
    summary = _summary("national", national) | _summary("zones", zones)
    if arguments.json:
        print(json.dumps(summary))
    else:
        _print_report(national + zones, summary)
    return 0 if all(outcome.inside for outcome in national + zones) else 1


if __name__ == "__main__":
    sys.exit(main())
