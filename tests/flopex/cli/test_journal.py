"""`flopex journal`: on whole journals, torn ones, damaged ones, and none."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from exchange.core.commands import AccountKind, Advance, Command, Deposit, OpenAccount
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord, LocalLog, backup_journal, verify_journal
from flopex.cli.exits import ExitCode
from tests.flopex.cli.runner import run

SEGMENT_BYTES = 8192
ALIGNMENT = 512


flopex = partial(run, "journal")


def groups_of_a_run(count: int) -> list[list[Command]]:
    """An account each, and a deposit into it."""
    return [
        [
            Advance(1_000 * (at + 1)),
            OpenAccount(AccountKind.REAL, f"account-{at}"),
            Deposit(3 * at + 2, at.to_bytes(16), 5_000_000 + at),
        ]
        for at in range(count)
    ]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[list[Command]]]:
    """A data directory whose journal has several segments."""
    groups = groups_of_a_run(20)
    with LocalLog(
        tmp_path / "data" / "journal",
        rules_version=RULES_VERSION,
        genesis=b"flopex",
        segment_bytes=SEGMENT_BYTES,
        alignment=ALIGNMENT,
    ) as log:
        for commands in groups:
            payload = b"".join(command.encode() for command in commands)
            log.append(GroupRecord(log.next_sequence, len(commands), 7, payload))
    return tmp_path / "data", groups


Written = tuple[Path, list[list[Command]]]


def test_a_whole_journal_is_verified(written: Written) -> None:
    data, _ = written
    stat = verify_journal(data / "journal")
    shown = flopex("verify", data / "journal")
    assert shown.exit_code == ExitCode.OK
    assert f"is whole: 60 records in 20 groups, {len(stat.segments)} segments" in shown.stdout
    assert stat.chain_hash.hex() in shown.stdout
    for named in ([data], ["--data", data], [data / "journal"]):
        facts = json.loads(flopex("verify", *named, "--json").stdout)
        assert facts["directory"] == str(data / "journal")
        assert (facts["whole"], facts["damage"], facts["torn_tail"]) == (True, None, None)
        assert (facts["first_sequence"], facts["last_sequence"]) == (1, 60)
        assert (facts["epoch"], facts["rules_version"]) == (7, RULES_VERSION)
        assert facts["chain_hash"] == stat.chain_hash.hex()


def test_a_backup_is_verified_and_its_chain_compared(tmp_path: Path, written: Written) -> None:
    data, _ = written
    copied = backup_journal(data / "journal", tmp_path / "copy" / "journal")
    right, wrong = copied.chain_hash.hex(), "00" * 32
    assert flopex("verify", tmp_path / "copy", "--chain", right.upper()).exit_code == ExitCode.OK
    refused = flopex("verify", tmp_path / "copy", "--chain", wrong, "--json")
    assert refused.exit_code == ExitCode.FAILED
    assert json.loads(refused.stderr)["error"]["reason"] == "JOURNAL_CHAIN"


def test_a_replay_states_the_digest(written: Written) -> None:
    data, groups = written
    core = Exchange()
    for commands in groups:
        core.apply(commands)
    replay = json.loads(flopex("verify", data, "--replay", "--json").stdout)["replay"]
    assert replay["sequence"] == 60
    assert replay["digest"] == core.digest().hex()
    assert replay["imbalance_nanos"] == 0
    assert core.digest().hex() in flopex("verify", data, "--replay").stdout


def test_damage_is_named_by_file_and_offset(written: Written) -> None:
    data, _ = written
    segment = verify_journal(data / "journal").segments[1]
    with segment.path.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 4]))
    found = flopex("verify", data, "--json")
    assert found.exit_code == ExitCode.FAILED
    facts = json.loads(found.stdout)
    assert facts["whole"] is False
    assert facts["damage"]["file"] == str(segment.path)
    assert 0 <= 5000 - facts["damage"]["offset"] < facts["damage"]["length"]
    assert json.loads(found.stderr)["error"]["reason"] == "JOURNAL_DAMAGED"
    shown = flopex("verify", data)
    assert shown.exit_code == ExitCode.FAILED
    assert f"{segment.path} is damaged" in shown.stderr
    for name in ("stat", "dump"):
        assert flopex(name, data).exit_code == ExitCode.FAILED


def test_a_torn_tail_is_told_and_is_no_damage(written: Written) -> None:
    data, _ = written
    last = verify_journal(data / "journal").segments[-1]
    with last.path.open("r+b") as file:
        file.seek(last.used_bytes)
        file.write(b"FXGB" + bytes(60))
    found = flopex("verify", data, "--json")
    assert found.exit_code == ExitCode.OK
    torn = json.loads(found.stdout)["torn_tail"]
    assert (torn["path"], torn["offset"]) == (str(last.path), last.used_bytes)
    assert f"at offset {last.used_bytes} of {last.path.name}" in flopex("verify", data).stdout
    assert "never acknowledged" in flopex("stat", data).stdout


def test_what_is_in_it(written: Written) -> None:
    data, _ = written
    stat = verify_journal(data / "journal")
    facts = json.loads(flopex("stat", data, "--json").stdout)
    assert [segment["file"] for segment in facts["segments"]] == [
        segment.path.name for segment in stat.segments
    ]
    assert facts["segments"][0]["first_sequence"] == 1
    assert facts["segments"][-1]["last_sequence"] == facts["last_sequence"] == 60
    assert sum(segment["records"] for segment in facts["segments"]) == facts["records"] == 60
    assert {segment["alignment"] for segment in facts["segments"]} == {ALIGNMENT}
    shown = flopex("stat", data).stdout
    assert stat.chain_hash.hex() in shown
    assert stat.segments[-1].path.name in shown


def test_no_hash_is_cut_where_there_is_little_room(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = written
    facts = json.loads(flopex("stat", data, "--json").stdout)
    monkeypatch.setenv("COLUMNS", "80")
    shown = flopex("stat", data).stdout
    assert facts["chain_hash"] in shown
    assert facts["genesis"] in shown
    assert facts["segments"][-1]["file"] in shown


def test_commands_are_dumped_from_one_sequence_to_another(written: Written) -> None:
    data, _ = written
    everything = [json.loads(line) for line in flopex("dump", data).stdout.splitlines()]
    assert [entry["sequence"] for entry in everything] == list(range(1, 61))
    assert [entry["command"] for entry in everything[:3]] == ["Advance", "OpenAccount", "Deposit"]
    assert everything[1] == {
        "sequence": 2,
        "epoch": 7,
        "time_ns": 1_000,
        "command": "OpenAccount",
        "fields": {"kind": int(AccountKind.REAL), "name": "account-0"},
    }
    assert everything[-1]["fields"]["amount_nanos"] == 5_000_019
    for first, last in ((1, 1), (2, 2), (3, 40), (59, 60), (60, 60)):
        done = flopex("dump", data, "--from", str(first), "--to", str(last), "--json")
        *entries, summary = [json.loads(line) for line in done.stdout.splitlines()]
        assert entries == everything[first - 1 : last]
        assert summary == {"type": "summary", "commands": last - first + 1}
    beyond = flopex("dump", data, "--from", "61")
    assert (beyond.exit_code, beyond.stdout) == (ExitCode.OK, "")
    assert "no command from 61 on" in beyond.stderr
    assert flopex("dump", data, "--from", "3", "--to", "2").exit_code == ExitCode.USAGE


@pytest.mark.parametrize("name", ["verify", "stat", "dump"])
def test_where_there_is_no_journal_it_is_said(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        found = flopex(name, folder, "--json")
        assert found.exit_code == ExitCode.NOT_FOUND
        assert json.loads(found.stderr)["error"]["reason"] == "NO_JOURNAL"


def test_other_rules_are_verified_but_not_decoded(tmp_path: Path) -> None:
    with LocalLog(tmp_path, rules_version=RULES_VERSION + 1, genesis=b"flopex") as log:
        log.append(GroupRecord(1, 1, 1, Advance(1).encode()))
    assert flopex("verify", tmp_path).exit_code == ExitCode.OK
    for arguments in (("dump", tmp_path), ("verify", tmp_path, "--replay")):
        found = flopex(*arguments, "--json")
        assert found.exit_code == ExitCode.FAILED
        assert json.loads(found.stderr)["error"]["reason"] == "JOURNAL_VERSION"


def test_what_is_no_command_is_said(tmp_path: Path) -> None:
    with LocalLog(tmp_path, rules_version=RULES_VERSION, genesis=b"flopex") as log:
        log.append(GroupRecord(1, 1, 1, b"no command at all"))
    assert flopex("verify", tmp_path).exit_code == ExitCode.OK
    for arguments in (("dump", tmp_path), ("verify", tmp_path, "--replay")):
        found = flopex(*arguments, "--json")
        assert found.exit_code == ExitCode.FAILED
        assert json.loads(found.stderr)["error"]["reason"] == "RECORD"
