"""Traces of supply: what machines asked for, what they cost, and when they were lost.

Like the readers of demand these take a file that the user names, as its source publishes it or as
CSV with the columns that each reader names; `.gz` is unpacked, nothing is fetched.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from exchange.core.limits import NS_PER_MS

SUPPLY_BYTES_MAX: Final = 1 << 28
"""Longest file, unpacked: these tables are small, a longer one is something else."""
USD_H_MAX: Final = 100_000.0
"""Dearer machines are no offers but damage."""
PUBLISHED: Final = """Known supply, and where it is published:
  Vast.ai offers           github.com/ccir-index/cri-h100 (data/archive), or the Vast.ai search API
  AWS GPU spot prices      `aws ec2 describe-spot-price-history`;
                           github.com/stanford-futuredata/training_on_a_dime (logs/aws/cost)
  spot availability        the same repository (logs/aws/availability)
  preemptions (Bamboo)     github.com/uclasystem/bamboo (traces of nodes added and removed)"""


class SupplyFileError(ValueError):
    """A file cannot be read as such a trace; the text is for people."""


class Offer(NamedTuple):
    """One offer of a machine for rent. Prices are dollars per hour for all its GPUs."""

    at_ns: int  # when the list was taken, from the first one
    gpu: str
    gpus: int
    ask_usd_h: float
    min_bid_usd_h: float
    reliability: float


class SpotPrice(NamedTuple):
    """From then on one machine of a type costs so much in a zone, dollars per hour."""

    at_ns: int
    zone: str
    machine: str
    usd_h: float


class Presence(NamedTuple):
    """From then on a node is there, or is not."""

    at_ns: int
    node: str
    present: bool


def read_offers(path: Path) -> list[Offer]:
    """Offers of machines, list by list.

    A JSON file of the archive or of the API (`offers_by_model` or `offers`), or CSV:
    `snapshot_utc`, `gpu_name`, `num_gpus`, `ask_usd_h`, `min_bid_usd_h`, `reliability`.

    Raises:
        SupplyFileError: no such file, another kind, or damaged; the text says where such files are.
    """
    return _from_first(_read(path, "offers", _json_offers, _OFFER_COLUMNS, _csv_offer))


def read_spot_prices(path: Path) -> list[SpotPrice]:
    """Spot prices in the order of their times.

    JSON as AWS answers (`SpotPriceHistory`), or CSV: `timestamp_utc`, `availability_zone`,
    `instance_type`, `spot_usd_h`.

    Raises:
        SupplyFileError: as for `read_offers`.
    """
    return _from_first(_read(path, "spot prices", _json_prices, _PRICE_COLUMNS, _csv_price))


def read_presence(path: Path) -> list[Presence]:
    """When nodes came and went, in the order of the times.

    Bamboo's rows `milliseconds,add|remove,node` (CSV with the columns `t_ms`, `event`, `node` as
    well), or the log of an availability probe, lines as `[time] Instance i-1 not running in zone z`
    (CSV with `timestamp_utc`, `message` as well).

    Raises:
        SupplyFileError: as for `read_offers`.
    """
    lines = _text(path).splitlines()
    first = lines[0] if lines else ""
    try:
        if first.startswith("["):
            found = _probed(_LOG_LINE.match(line) for line in lines if line)
        elif set(_split(first)) >= {"timestamp_utc", "message"}:
            rows = csv.DictReader(lines)
            found = _probed(_LOG_LINE.match(f"[{r['timestamp_utc']}] {r['message']}") for r in rows)
        elif set(_split(first)) >= {"t_ms", "event", "node"}:
            found = (_added(r["t_ms"], r["event"], r["node"]) for r in csv.DictReader(lines))
        elif re.match(r"\d+,\s*(add|remove),", first):
            found = (_added(*row[:3]) for row in csv.reader(lines))
        else:
            raise SupplyFileError(f"{path}: {first[:80]!r} begins no such trace\n{PUBLISHED}")
        changes = list(_changes_only(found))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, SupplyFileError):
            raise
        raise SupplyFileError(f"{path}: {error!r}") from error
    if not changes:
        raise SupplyFileError(f"{path}: holds no node")
    return _from_first(changes)


def _read(
    path: Path,
    what: str,
    from_json: Callable[[Any], Iterator[Timed]],
    columns: frozenset[str],
    from_row: Callable[[Row], Timed],
) -> list[Timed]:
    text = _text(path)
    try:
        if text.lstrip().startswith("{"):
            found = list(from_json(json.loads(text)))
        else:
            lines = text.splitlines()
            if not columns <= set(_split(lines[0] if lines else "")):
                raise SupplyFileError(f"{path}: holds no {what}\n{PUBLISHED}")
            found = [from_row(row) for row in csv.DictReader(lines)]
    except SupplyFileError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SupplyFileError(f"{path}: {error!r}") from error
    if not found:
        raise SupplyFileError(f"{path}: holds no {what}")
    return found


def _text(path: Path) -> str:
    """All of a file.

    Raises:
        SupplyFileError: it cannot be read, or is too long.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(SUPPLY_BYTES_MAX + 1)
        if len(data) > SUPPLY_BYTES_MAX:
            raise SupplyFileError(f"{path}: longer than {SUPPLY_BYTES_MAX} bytes")
        return data.decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SupplyFileError(f"{path}: {error}\n{PUBLISHED}") from error


def _split(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def _time_ns(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    since = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(since.timestamp() * 1_000) * NS_PER_MS


def _from_first(found: list[Timed]) -> list[Timed]:
    """In the order of their times, which then count from the first one."""
    found.sort(key=lambda entry: entry.at_ns)
    first_ns = found[0].at_ns
    return [entry._replace(at_ns=entry.at_ns - first_ns) for entry in found]


def _json_offers(tree: Any) -> Iterator[Offer]:
    lists = tree["offers_by_model"].values() if "offers_by_model" in tree else [tree["offers"]]
    at_ns = _time_ns(tree["collected_utc"]) if "collected_utc" in tree else 0
    for offers in lists:
        for one in offers:
            numbers = one["dph_total"], one["min_bid"], one["reliability2"]
            yield _offer(at_ns, one["gpu_name"], one["num_gpus"], *numbers)


def _csv_offer(row: Row) -> Offer:
    numbers = row["ask_usd_h"], row["min_bid_usd_h"], row["reliability"]
    return _offer(_time_ns(row["snapshot_utc"]), row["gpu_name"], row["num_gpus"], *numbers)


def _offer(at_ns: int, gpu: str, gpus: Any, ask: Any, bid: Any, reliability: Any) -> Offer:
    offer = Offer(at_ns, gpu, int(gpus), float(ask), float(bid or 0), float(reliability or 0))
    if offer.gpus < 1 or not 0 < offer.ask_usd_h < USD_H_MAX:
        raise ValueError(f"{offer.gpus} GPUs of {gpu} for {offer.ask_usd_h} dollars an hour")
    return offer


def _json_prices(tree: Any) -> Iterator[SpotPrice]:
    for one in tree["SpotPriceHistory"]:
        place = one["AvailabilityZone"], one["InstanceType"]
        yield _spot(one["Timestamp"], *place, one["SpotPrice"])


def _csv_price(row: Row) -> SpotPrice:
    place = row["availability_zone"], row["instance_type"]
    return _spot(row["timestamp_utc"], *place, row["spot_usd_h"])


def _spot(time: str, zone: str, machine: str, usd_h: str) -> SpotPrice:
    price = SpotPrice(_time_ns(time), zone, machine, float(usd_h))
    if not 0 < price.usd_h < USD_H_MAX:
        raise ValueError(f"{machine} for {price.usd_h} dollars an hour")
    return price


def _added(milliseconds: str, event: str, node: str) -> Presence:
    if event not in ("add", "remove"):
        raise ValueError(f"{event!r} is neither add nor remove")
    if not node:
        raise ValueError("a row names no node")
    return Presence(int(milliseconds) * NS_PER_MS, node, event == "add")


def _probed(lines: Iterable[re.Match[str] | None]) -> Iterator[Presence]:
    """What a probe saw. A machine is there from its creation until it is seen not to run."""
    for line in lines:
        if line is None:
            raise ValueError("a line is not `[time] message`")
        seen = _SEEN.match(line["message"])
        if seen is not None:
            gone = seen["gone"] or seen["deleted"]
            yield Presence(_time_ns(line["time"]), seen["node"], not gone)


def _changes_only(events: Iterable[Presence]) -> Iterator[Presence]:
    """Without what repeats what is known."""
    known: dict[str, bool] = {}
    for event in events:
        if known.get(event.node, False) != event.present:
            known[event.node] = event.present
            yield event


Row = dict[str, str]
Timed = TypeVar("Timed", Offer, SpotPrice, Presence)

_OFFER_COLUMNS: Final = frozenset(
    {"snapshot_utc", "gpu_name", "num_gpus", "ask_usd_h", "min_bid_usd_h", "reliability"}
)
_PRICE_COLUMNS: Final = frozenset(
    {"timestamp_utc", "availability_zone", "instance_type", "spot_usd_h"}
)
_LOG_LINE: Final = re.compile(r"\[(?P<time>[^\]]+)\] (?P<message>.*)")
_SEEN: Final = re.compile(
    r"(?P<deleted>Successfully deleted )?(?:Created )?[Ii]nstance (?P<node>i-\w+)(?P<gone> not)?"
)
