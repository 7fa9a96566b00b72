from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord, LocalLog
from exchange.readmodel.database import connect, sqlite_url
from exchange.readmodel.feed import Feed
from flopex import doctor
from flopex.doctor import CHECKS, Finding, Place, Status, examine
from tests.exchange.readmodel.journals import Writer, order_commands

FREE = "127.0.0.1:0"


def place(data: Path, address: str = FREE, read_model: str = "") -> Place:
    return Place(data, address, "", read_model)


def found(where: Place) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(where)}


def test_a_fresh_machine(tmp_path: Path) -> None:
    findings = found(place(tmp_path / "new"))
    assert findings["data directory"].text.endswith("the first start makes it")
    assert findings["journal"].text == "none yet"
    assert findings["gRPC port"].status is Status.OK
    assert findings["disk sync"].status is not Status.FAILURE
    assert not (tmp_path / "new").exists()
    assert list(tmp_path.iterdir()) == []
    for finding in findings.values():
        assert bool(finding.remedy) == (finding.status is not Status.OK), finding


def data_directory(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    writer = Writer(data / "journal")
    writer.append(order_commands(1, 50))
    writer.close()
    return data


def test_a_data_directory_that_is_well(tmp_path: Path) -> None:
    data = data_directory(tmp_path)
    url = sqlite_url(data / "read-model.sqlite3")
    database = connect(url)
    Feed.open(data / "journal", database).run_to_end()
    database.close()
    findings = found(place(data, read_model=url))
    for check in ("data directory", "journal", "read model", "clock"):
        assert findings[check].status is Status.OK, findings[check]


def test_damage_at_the_end_of_the_journal(tmp_path: Path) -> None:
    data = data_directory(tmp_path)
    last = sorted((data / "journal").glob("*.log"))[-1]
    content = bytearray(last.read_bytes())
    content[4_096 + 200] ^= 0x55
    last.write_bytes(content)
    journal = found(place(data))["journal"]
    assert journal.status is Status.FAILURE
    assert "backup" in journal.remedy


def test_a_journal_of_other_rules(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "journal", rules_version=RULES_VERSION + 1, genesis=b"x")
    log.append(GroupRecord(1, 1, 1, b"?"))
    log.close()
    assert found(place(tmp_path))["journal"].status is Status.FAILURE


def test_an_address_that_is_none(tmp_path: Path) -> None:
    finding = found(place(tmp_path, "nope"))["gRPC port"]
    assert (finding.status, finding.text) == (Status.FAILURE, "'nope' is not host:port")
    assert "127.0.0.1" in finding.remedy


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert found(place(tmp_path, address))["gRPC port"].status is Status.FAILURE
        log = LocalLog(tmp_path / "journal", rules_version=RULES_VERSION, genesis=b"x")
        assert found(place(tmp_path, address))["gRPC port"].status is Status.OK
        log.close()


def test_others_can_read_it_and_a_key_lies_there(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "operator.key").write_text("flx_")
    findings = found(place(tmp_path))
    assert findings["data directory"].status is Status.WARNING
    assert findings["operator key"].status is Status.WARNING


def test_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(doctor, "FREE_MIN_BYTES", 0)
    monkeypatch.setattr(doctor, "FREE_GOOD_BYTES", 2 * free)
    assert found(place(tmp_path))["free space"].status is Status.WARNING
    monkeypatch.setattr(doctor, "FREE_MIN_BYTES", 2 * free)
    assert found(place(tmp_path))["free space"].status is Status.FAILURE


def test_a_check_that_breaks_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Place) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(CHECKS, "clock", broken)
    findings = found(place(tmp_path))
    assert findings["clock"].status is Status.FAILURE
    assert "GPU" in findings


@pytest.mark.parametrize(
    ("processors", "setting", "status"),
    [
        (2, "1\n", Status.WARNING),
        (4, "1\n", Status.OK),
        (2, "0\n", Status.OK),
        (2, None, Status.OK),
    ],
)
def test_few_processors_that_are_scheduled_by_session(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    setting: str | None,
    status: Status,
) -> None:
    known = tmp_path / "sched_autogroup_enabled"
    if setting is not None:
        known.write_text(setting)
    monkeypatch.setattr(doctor, "AUTOGROUPS", known)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    (finding,) = CHECKS["processors"](place(tmp_path))
    assert finding.status is status
    assert finding.text.startswith(f"{processors} processors")


@pytest.mark.integration
def test_the_command_and_its_exit_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flopex", "doctor", "--json", "--data", str(tmp_path)]
    command += ["--address", FREE, "--http", "off"]
    tmp_path.chmod(0o700)
    well = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(well.stdout)
    counted = Counter(finding["status"] for finding in answer["findings"])
    assert (answer["failures"], answer["warnings"]) == (0, counted["warning"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command[command.index(FREE)] = f"127.0.0.1:{taken.getsockname()[1]}"
        ill = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ill.returncode == 1
    assert json.loads(ill.stdout)["failures"] == 1
    assert json.loads(ill.stderr)["error"]["reason"] == "DOCTOR"
