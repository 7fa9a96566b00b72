"""Every reader of supply, on small samples in the forms of their sources that the test writes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.core.limits import NS_PER_S
from sim.traces import supply
from sim.traces.supply import (
    Offer,
    Presence,
    SpotPrice,
    SupplyFileError,
    read_offers,
    read_presence,
    read_spot_prices,
)

VAST = {
    "collected_utc": "2026-03-06T15:00:18.025854+00:00",
    "offers_by_model": {
        "H200": [{"gpu_name": "H200", "num_gpus": 2, "dph_total": 4.5, "min_bid": 3.0,
                  "reliability2": 0.98, "hostname": None}],
        "L40S": [],
    },
}  # fmt: skip
OFFERS_CSV = (
    "snapshot_utc,offer_id,gpu_name,num_gpus,ask_usd_h,min_bid_usd_h,reliability\n"
    "2026-02-27T13:36:42+00:00,8,H200,2,4.5,3.0,0.98\n"
    "2026-02-27T13:36:32+00:00,7,L40S,1,0.5,,\n"
)
AWS = {
    "NextToken": "",
    "SpotPriceHistory": [
        {"AvailabilityZone": "eu-west-1c", "InstanceType": "p3.2xlarge", "SpotPrice": price,
         "ProductDescription": "Linux/UNIX", "Timestamp": time}
        for price, time in (("1.2", "2020-02-27T09:28:59.000Z"), ("1.1", "2020-02-27T09:27:59Z"))
    ],
}  # fmt: skip
AWS_CSV = (
    "timestamp_utc,availability_zone,instance_type,spot_usd_h\n"
    "2020-02-27T09:28:59Z,eu-west-1c,p3.2xlarge,1.2\n"
    "2020-02-27T09:27:59Z,eu-west-1c,p3.2xlarge,1.1\n"
)
BAMBOO = "0,add,node1\n0,add,node2\n60000,remove,node1\n90000,add,node3\n"
PROBE = (
    "[2020-03-15T10:07:33.000Z] Created instance i-0a with 1 GPU(s) of type v100 in zone b\n"
    "[2020-03-15T10:11:21.000Z] Instance with 8 GPU(s) of type k80 creation failed\n"
    "[2020-03-15T10:21:22.000Z] Instance i-0a running in zone b\n"
    "[2020-03-15T10:31:22.000Z] Instance i-0a not running in zone b\n"
    "[2020-03-15T10:31:23.000Z] Successfully deleted instance i-0a\n"
)


def write(folder: Path, content: object, name: str = "supply.txt") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_offers_are_read_from_the_archive_the_api_and_csv(tmp_path: Path) -> None:
    h200 = Offer(0, "H200", 2, 4.5, 3.0, 0.98)
    assert read_offers(write(tmp_path, VAST)) == [h200]
    assert read_offers(write(tmp_path, {"offers": VAST["offers_by_model"]["H200"]})) == [h200]  # type: ignore[index]
    assert read_offers(write(tmp_path, OFFERS_CSV)) == [
        Offer(0, "L40S", 1, 0.5, 0.0, 0.0),
        h200._replace(at_ns=10 * NS_PER_S),
    ]


@pytest.mark.parametrize("content", [AWS, AWS_CSV])
def test_spot_prices_are_read_as_aws_answers_and_from_csv(content: object, tmp_path: Path) -> None:
    assert read_spot_prices(write(tmp_path, content)) == [
        SpotPrice(0, "eu-west-1c", "p3.2xlarge", 1.1),
        SpotPrice(60 * NS_PER_S, "eu-west-1c", "p3.2xlarge", 1.2),
    ]


def test_nodes_that_come_and_go_are_read(tmp_path: Path) -> None:
    expected = [
        Presence(0, "node1", True),
        Presence(0, "node2", True),
        Presence(60 * NS_PER_S, "node1", False),
        Presence(90 * NS_PER_S, "node3", True),
    ]
    assert read_presence(write(tmp_path, BAMBOO)) == expected
    rows = "".join(f"p3,{line}\n" for line in BAMBOO.splitlines())
    packed = tmp_path / "trace.csv.gz"
    packed.write_bytes(gzip.compress(f"trace,t_ms,event,node\n{rows}".encode()))
    assert read_presence(packed) == expected


def test_a_probes_log_says_only_what_changed(tmp_path: Path) -> None:
    expected = [Presence(0, "i-0a", True), Presence(1_429 * NS_PER_S, "i-0a", False)]
    assert read_presence(write(tmp_path, PROBE)) == expected
    lines = (line[1:].split("] ", 1) for line in PROBE.splitlines())
    table = "cloud,log,timestamp_utc,message\n" + "".join(f"aws,x,{t},{m}\n" for t, m in lines)
    assert read_presence(write(tmp_path, table)) == expected


@pytest.mark.parametrize(
    ("read", "content", "says"),
    [
        (read_offers, "a,b\n1,2\n", "holds no offers"),
        (read_offers, "{", "supply.txt"),
        (read_offers, {"offers": []}, "holds no offers"),
        (read_offers, {"offers": [{"gpu_name": "x"}]}, "dph_total"),
        (read_offers, OFFERS_CSV.replace("4.5", "-1"), "-1.0 dollars"),
        (read_spot_prices, AWS_CSV.replace("1.2", "1e9"), "dollars an hour"),
        (read_spot_prices, {"SpotPriceHistory": 3}, "not iterable"),
        (read_spot_prices, "", "AWS GPU spot prices"),
        (read_presence, "", "Bamboo"),
        (read_presence, "0,add,n\n5,explode,n\n", "neither add nor remove"),
        (read_presence, "[2020-03-15T10:11:21Z] Instance with 8 GPU(s)\n", "holds no node"),
        (read_presence, PROBE + "garbage\n", "not `\\[time\\] message`"),
        (read_presence, "t_ms,event,node\n1,add\n", "names no node"),
    ],
)
def test_what_is_no_such_trace_is_said(
    read: Callable[[Path], object], content: object, says: str, tmp_path: Path
) -> None:
    with pytest.raises(SupplyFileError, match=says):
        read(write(tmp_path, content))


def test_a_missing_file_names_the_sources(tmp_path: Path) -> None:
    with pytest.raises(SupplyFileError, match=r"github\.com/ccir-index"):
        read_offers(tmp_path / "none.csv")


def test_a_file_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply, "SUPPLY_BYTES_MAX", 10)
    with pytest.raises(SupplyFileError, match="longer than 10 bytes"):
        read_presence(write(tmp_path, BAMBOO))
