"""The Italian auctions' command, on small markets whose price is known because it was chosen."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.conformance import italy
from tests.conformance.files import write_table

HOURS = 12
ZONES = ("EAST", "NORTH", "SOUTH")
CURVES = ("delivery_day", "period", "zone", "side", "price_eur_per_mwh", "quantity_mwh")
PRICES = ("delivery_day", "period", "zone", "published_price_eur_per_mwh", "net_export_mwh")


class Sample:
    """Markets in the form of the files: prices in cents and quantities in kWh as decimals."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.curves: list[tuple[object, ...]] = []
        self.prices: list[tuple[object, ...]] = []
        self.expected = {f"{way}_{what}": 0 for way in ("national", "zones") for what in
                         ("total", "inside", "unique", "exact")}  # fmt: skip
        for period in range(1, HOURS + 1):
            same = period % 3 > 0
            price = self.rng.randint(-500, 20_000)
            marginal = [
                self.zone(period, zone, price + (0 if same else number))
                for number, zone in enumerate(ZONES)
            ]
            self.count("zones", len(ZONES), sum(marginal))
            if same:
                self.count("national", 1, any(marginal))

    def zone(self, period: int, zone: str, price: int) -> bool:
        """One zone's bids around a price, and the net export that makes it the price.

        Returns whether an order at the price itself is filled in part, so that no other will do.
        """
        marginal = self.rng.random() < 0.2
        net_export = 0
        for number in range(self.rng.randint(4, 9)):
            side = ("demand", "supply")[number % 2]
            sign = self.rng.choice((-1, 1)) if number > 1 else 1 - 2 * number
            distance = sign * self.rng.randint(3, 5_000)
            quantity = 100 * self.rng.randint(1, 5_000)
            self.bid(period, zone, side, price + distance, quantity)
            if side == "demand" and distance > 0:
                net_export -= quantity
            elif side == "supply" and distance < 0:
                net_export += quantity
        if marginal:
            side = self.rng.choice(("demand", "supply"))
            self.bid(period, zone, side, price, 1_000)
            net_export += 437 if side == "supply" else -437
        self.prices.append(("2031-01-05", period, zone, price / 100, net_export / 1_000))
        return marginal

    def bid(self, period: int, zone: str, side: str, price: int, quantity: int) -> None:
        # The noise that sums of floating-point numbers leave in such files.
        noisy = quantity / 1_000 + self.rng.choice((0, 2e-13, -2e-13))
        self.curves.append(("2031-01-05", period, zone, side, price / 100, noisy))

    def count(self, way: str, total: int, unique: int) -> None:
        for what, number in (
            ("total", total),
            ("inside", total),
            ("unique", unique),
            ("exact", unique),
        ):
            self.expected[f"{way}_{what}"] += number

    def write(self, folder: Path) -> list[str]:
        curves = write_table(folder / "curves.csv.gz", CURVES, self.curves)
        return [str(curves), str(write_table(folder / "prices.csv", PRICES, self.prices))]

    def write_as_published(self, folder: Path) -> list[str]:
        """In the source's own layout: net exports in two other files, more zones and columns."""
        curves = write_table(
            folder / "bid-curves.csv", ("timestamp", *CURVES), [("t", *r) for r in self.curves]
        )
        neighbours: list[tuple[object, ...]] = [
            ("2031-01-05", period, "ABROAD", 5.0) for period in range(1, HOURS + 1)
        ]
        prices = write_table(
            folder / "published-prices.csv.gz",
            ("delivery_day", "period", "zone", "price_eur_per_mwh"),
            [row[:4] for row in self.prices] + neighbours,
        )
        flows, exchanges = [], []
        for day, period, zone, _, net_export in self.prices:
            # 7 MWh go round in a ring, and the rest goes abroad.
            flows.append((day, period, zone, ZONES[(ZONES.index(str(zone)) + 1) % 3], 7.0))
            exchanges.append((day, period, zone, "ABROAD", net_export))
        hour = ("delivery_day", "period")
        write_table(
            folder / "published-flows.csv.gz", (*hour, "from_zone", "to_zone", "flow_mwh"), flows
        )
        write_table(
            folder / "published-exchanges.csv",
            (*hour, "zone", "external_zone", "exchange_mwh"),
            exchanges,
        )
        return [str(curves), str(prices)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("layout", [Sample.write, Sample.write_as_published])
def test_prices_that_clear_are_inside(
    layout: object, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = Sample(seed)
    assert callable(layout)
    assert italy.main([*layout(sample, tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == sample.expected
    assert sample.expected["national_total"] == 8
    assert 0 < sample.expected["national_unique"] < 8
    assert 0 < sample.expected["zones_unique"] < 36


def test_a_price_that_does_not_clear_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = [
        ("2031-01-05", 1, "EAST", "demand", "30.00", "2.5"),
        ("2031-01-05", 1, "EAST", "supply", "20.00", "1.5"),
        ("2031-01-05", 1, "EAST", "supply", "25.00", "4.0"),
    ]
    prices = [("2031-01-05", 1, "EAST", "24.98", "0.25")]
    files = [
        str(write_table(tmp_path / "curves.csv", CURVES, curves)),
        str(write_table(tmp_path / "prices.csv", PRICES, prices)),
    ]
    assert italy.main(files) == 1
    difference = (
        "published 24.98, crossing 25.0 to 25.0; at the published price 1.25 MWh too much is wanted"
    )
    none = (
        "0 of 1 published prices inside the crossing interval; 0 of 1 exact where it is one price"
    )
    assert capsys.readouterr().out.splitlines() == [
        f"2031-01-05 period 1 nation: {difference}",
        f"2031-01-05 period 1 EAST: {difference}",
        f"national: {none}",
        f"zones: {none}",
        "0 passed, 2 failed",
    ]
    # Published prices are finer than the tick: less than a tick away is the same price.
    for price, status in (("24.990001", 0), ("24.99", 1), ("25.0099", 0), ("25.01", 1)):
        write_table(tmp_path / "prices.csv", PRICES, [(*prices[0][:3], price, "0.25")])
        assert italy.main(files) == status
    write_table(tmp_path / "prices.csv", PRICES, [(*prices[0][:3], "25.5", "0.25")])
    capsys.readouterr()
    assert italy.main(files) == 1
    assert "2.75 MWh too much is offered" in capsys.readouterr().out


def test_hours_without_all_zones_are_not_cleared_as_one_market(tmp_path: Path) -> None:
    sample = Sample(1)
    sample.curves = [row for row in sample.curves if row[1:3] != (1, "EAST")]
    curves, prices = sample.write(tmp_path)
    found = italy.read_curves(Path(curves))
    published = italy.read_published(Path(prices), tmp_path, tmp_path)
    assert len(list(italy.zone_outcomes(found, published))) == 35
    assert len(list(italy.national_outcomes(found, published))) == 7


def test_where_nothing_crosses_no_price_is_inside() -> None:
    bids = italy.Bids(demand=[(10, 5)], supply=[(20, 5)])
    key = ("2031-01-05", 1, "EAST")
    outcome, *_ = italy.zone_outcomes({key: bids}, {key: italy.Published(15 * 10**6, 0)})
    assert not outcome.inside
    assert not outcome.unique
    assert "nothing crosses" in outcome.difference()


GOOD = ("2031-01-05", 1, "EAST", "demand", "30.00", "2.5")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(*GOOD[:4], "dear", "2.5")], "price_eur_per_mwh: 'dear' is not a number"),
        ([(*GOOD[:4], "nan", "2.5")], "'nan' is not a number"),
        ([(*GOOD[:4], "1e999999999", "2.5")], "is not a number below"),
        ([(*GOOD[:5], "-1")], "quantity '-1'"),
        ([(*GOOD[:3], "sideways", "30.00", "2.5")], "side 'sideways'"),
        ([(*GOOD[:1], "noon", *GOOD[2:])], "period: 'noon' is not a number"),
        ([GOOD, GOOD[:4]], "line 3: not as many fields"),
        ([(*GOOD, "more")], "line 2: not as many fields"),
        ([], "no zone and hour in common"),
    ],
)
def test_malformed_curves_are_refused(
    rows: list[tuple[object, ...]],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    curves = write_table(tmp_path / "curves.csv", CURVES, rows)
    prices = write_table(tmp_path / "prices.csv", PRICES, [("2031-01-05", 1, "EAST", "1", "0")])
    assert italy.main([str(curves), str(prices)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_absent_and_damaged_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curves, prices = Sample(2).write(tmp_path)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(Path(curves).read_bytes()[:-100])
    flipped = tmp_path / "flipped.csv.gz"
    whole = Path(curves).read_bytes()
    flipped.write_bytes(whole[:50] + bytes(byte ^ 255 for byte in whole[50:90]) + whole[90:])
    other = write_table(tmp_path / "other.csv", PRICES[:3], [("2031-01-05", 1, "EAST")])
    empty = write_table(tmp_path / "empty.csv", PRICES, [])
    for files, message in (
        ([str(tmp_path / "none.csv"), prices], "none.csv: there is no such file"),
        ([curves, str(tmp_path / "none.csv")], "none.csv: there is no such file"),
        ([str(tmp_path), prices], "cannot be read"),
        ([str(cut), prices], "cut.csv.gz: cannot be read"),
        ([str(flipped), prices], "flipped.csv.gz: cannot be read"),
        ([prices, prices], "prices.csv: no column side, price_eur_per_mwh, quantity_mwh; it has"),
        ([curves, str(other)], "no column published_price_eur_per_mwh or price_eur_per_mwh"),
        ([curves, str(empty)], "empty.csv: no rows"),
    ):
        assert italy.main(files) == 2
        assert message in capsys.readouterr().err
    # Prices without net exports need the flows beside them.
    Sample(2).write_as_published(tmp_path)
    (tmp_path / "published-flows.csv.gz").unlink()
    assert italy.main([curves, str(tmp_path / "published-prices.csv.gz")]) == 2
    assert "published-flows.csv.gz: there is no such file" in capsys.readouterr().err
