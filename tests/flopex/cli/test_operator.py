from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.metering.cards import INSTANT, SMOLLM2_135M
from flopex.cli.exits import ExitCode
from flopex.cli.model_size import ModelSize
from flopex.cli.output import plain
from flopex.cli.worker_run import EngineName, model_of
from tests.flopex.cli.conftest import INTERACTIVE, PAPER, Site, end, read_line, start
from tests.waiting import WITHIN_S
from worker.model.shipped import model_name

pytestmark = pytest.mark.integration


def test_money_goes_in_and_out_once_for_each_request(site: Site) -> None:
    site.admin("account", "mona")
    request = "0190c0de" + "7000" + "8000" + "0" * 16
    refused = site.flopex(
        *("admin", "deposit", "mona", "1", "--request-id", request), key="operator"
    )
    assert refused.code == 1  # an id from 2024 is too old to be new
    assert site.admin("deposit", "mona", "2")["balance_nanos"] == 2_000_000_000
    assert site.admin("withdraw", "mona", "0.5")["available_nanos"] == 1_500_000_000
    over = site.flopex("admin", "withdraw", "mona", "9", "--json", key="operator")
    assert (over.code, over.error()["reason"]) == (4, "INSUFFICIENT_FUNDS")
    listed = site.admin("account", "--list")["accounts"]
    assert {a["name"]: a["balance_nanos"] for a in listed}["mona"] == 1_500_000_000


def test_keys_are_made_with_roles_and_ended(site: Site) -> None:
    made = site.admin("key", "ada", "--role", "reader", "--label", "auditor")
    site.keys["auditor"] = made["key"]
    assert site.flopex("admin", "invariants", key="auditor").code == 0
    assert site.flopex("admin", "deposit", "ada", "1", key="auditor").code == 5
    site.admin("key", "--revoke", made["key_id"])
    refused = site.flopex("account", "--json", key="auditor")
    assert (refused.code, refused.error()["reason"]) == (5, "KEY_UNKNOWN")


def test_instruments_accounts_and_nothing_else_are_halted(site: Site) -> None:
    assert site.admin("halt", "instrument", PAPER)["state"] == "halted"
    order = ("order", "place", "bid", PAPER, "--price", "10 nanos", "--quantity", "1", "--json")
    refused = site.flopex(*order, key="paper-ada")
    assert refused.error()["reason"] == "INSTRUMENT_HALTED"
    assert site.admin("resume", "instrument", PAPER)["state"] == "open"
    assert site.admin("halt", "account", "paper-ada")["halted"] is True
    refused = site.flopex(*order, key="paper-ada")
    assert (refused.code, refused.error()["reason"]) == (5, "ACCOUNT_HALTED")
    assert site.admin("resume", "account", "paper-ada")["halted"] is False
    nobody = site.flopex("admin", "halt", "worker", "nobody", key="operator")
    assert nobody.code == 6
    assert site.flopex("admin", "halt", "account", "ada", "--close", key="operator").code == 2


def test_instruments_and_cards_are_entered_and_refused(site: Site, tmp_path: Path) -> None:
    again = site.flopex("admin", "instrument", INTERACTIVE, "--json", key="operator")
    assert again.error()["reason"] == "NAME_TAKEN"
    card = tmp_path / "card.json"
    card.write_text("{}")
    assert site.flopex("admin", "model", "--card", str(card), key="operator").code == 2
    assert site.flopex("admin", "model", key="operator").code == 2
    from exchange.metering.cards import SMOLLM2_135M

    card.write_bytes(SMOLLM2_135M.encode())
    assert site.admin("model", "--card", str(card))["name"] == "smollm2-135m"


def test_the_invariants_hold_and_every_balance_follows_from_the_export(site: Site) -> None:
    found = site.admin("invariants", "--full")
    assert (found["ledger_imbalance_nanos"], found["overspend_nanos"]) == (0, 0)
    assert len(bytes.fromhex(found["digest"])) == 32
    assert "all hold" in site.flopex("admin", "invariants", "--full", key="operator").out
    *entries, summary = site.flopex("admin", "export", "--json", key="operator").lines()
    assert summary["type"] == "summary"
    assert summary["entries"] == len(entries) > 0
    assert (summary["sum_nanos"], summary["differing"]) == (0, [])
    exported = site.flopex("admin", "export", key="operator").out
    assert "all are as the exchange states them" in exported


def test_a_backup_of_a_running_exchange_is_restored_and_served(site: Site, tmp_path: Path) -> None:
    backup, keys, restored = (str(tmp_path / name) for name in ("backup", "keys", "restored"))
    digest = site.admin("invariants", "--full")
    taken = site.flopex("backup", backup, "--keys", keys, "--data", site.data, "--json", key="")
    assert taken.object()["journal_records"] >= digest["journal_records"]
    assert site.flopex("backup", backup, "--data", site.data, key="").code == 1
    put_back = site.flopex("restore", backup, "--keys", keys, "--data", restored, "--json", key="")
    assert put_back.object()["chain_hash"] == taken.object()["chain_hash"]
    assert site.flopex("restore", backup, "--data", restored, key="").code == 2
    serving = start(
        tmp_path,
        site.environment,
        *("serve", "--json", "--data", restored, "--address", "127.0.0.1:0", "--http", "off"),
    )
    try:
        started = json.loads(read_line(serving))
        assert started["records"] == taken.object()["journal_records"]
        assert started["epoch"] == 2
        account = site.flopex("account", "--target", started["address"], "--json")
        assert account.object()["name"] == "ada"
    finally:
        assert end(serving) == 0


def test_a_second_exchange_in_the_same_data_directory_is_refused(site: Site) -> None:
    second = site.flopex("serve", "--data", site.data, "--address", "127.0.0.1:0", key="")
    assert second.code == 1
    assert "error: the journal" in second.err


def test_the_operators_key_is_found_in_the_data_directory(site: Site) -> None:
    found = site.flopex("account", "--data", site.data, "--json", key="")
    assert found.object()["name"] == "operator"


def test_settings_come_from_the_file_then_variables_then_flags(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('target = "127.0.0.1:9"\n[book]\nlevels = 1\n')
    config = ("--config", str(path))
    assert site.flopex("book", PAPER, *config).code == 0  # FLOPEX_TARGET goes before the file
    assert site.flopex("book", PAPER, *config, "--target", "127.0.0.1:9").code == 3
    path.write_text("[book]\nlevel = 1\n")
    wrong = site.flopex("book", PAPER, *config)
    assert wrong.code == 2
    assert "book.level" in wrong.err


def test_json_says_enums_in_words_and_bytes_in_hexadecimal() -> None:
    from exchange.client import Side

    assert plain({"side": Side.BID, "raw": b"\x01\xff", "many": ({1: 2},)}) == {
        "side": "bid",
        "raw": "01ff",
        "many": [{"1": 2}],
    }


def test_a_worker_quotes_no_instrument_of_another_model(site: Site) -> None:
    """Each lease of it would be declined, and cost its buyer an attempt."""
    for engine, instrument in (("llama", INTERACTIVE), ("instant", "nowhere"), ("instant", PAPER)):
        ran = site.flopex(
            *("worker", "run", "--name", "odd", "--engine", engine),
            f"--quote={instrument}=static:1000",
            key="owner",
        )
        assert ran.code == ExitCode.NOT_FOUND
        assert model_of(EngineName(engine), ModelSize.TINY) in ran.err
    small = site.flopex(
        *("worker", "run", "--name", "odd", "--engine", "adaptive", "--size", "small"),
        f"--quote={INTERACTIVE}=static:1000",
        key="owner",
    )
    assert small.code == ExitCode.NOT_FOUND
    assert "the engine's model, adaptive-small" in small.err
    assert {model_of(engine, ModelSize.TINY) for engine in EngineName} == {
        SMOLLM2_135M.name,
        INSTANT.name,
        model_name(),
    }


def test_a_taken_address_is_said_in_one_error_alone(site: Site, tmp_path: Path) -> None:
    """gRPC, too, has its lines for it, of its own form."""
    options = ("--address", site.address, "--http", "off", "--data", str(tmp_path / "other"))
    done = subprocess.run(
        [sys.executable, "-m", "flopex", "serve", *options, "--json"],
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    assert done.returncode == ExitCode.FAILED
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert "cannot listen" in said[-1]["error"]["message"]
