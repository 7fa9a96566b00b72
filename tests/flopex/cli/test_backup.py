"""`flopex backup` and `restore`: a refusal touches nothing, and only what is whole goes back."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.blobs import BlobStore
from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord, JournalBehind, LocalLog, SnapshotStore
from exchange.receipts import Receipt, ReceiptStore
from exchange.recovery import GENESIS
from exchange.webhooks.store import FILE as WEBHOOKS
from exchange.webhooks.store import Store
from flopex import backups
from flopex.cli.exits import ExitCode
from tests.flopex.cli.runner import run
from tests.flopex.cli.test_journal import groups_of_a_run

GROUPS, RECEIPTS, BLOBS = 12, 3, 2
COMMANDS = 3 * GROUPS


def go_on(data: Path, groups: int) -> None:
    """Let the journal of a data directory grow to so many groups, and take a snapshot."""
    with LocalLog(
        data / "journal",
        rules_version=RULES_VERSION,
        genesis=GENESIS,
        segment_bytes=8192,
        alignment=512,
    ) as log:
        for commands in groups_of_a_run(groups)[(log.next_sequence - 1) // 3 :]:
            payload = b"".join(command.encode() for command in commands)
            log.append(GroupRecord(log.next_sequence, len(commands), 1, payload))
    assert run("journal", "snapshot", data).exit_code == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with some of everything."""
    folder = tmp_path / "data"
    with BlobStore(folder / "blobs", folder / "master.key") as blobs:
        for number in range(BLOBS):
            blobs.put(f"job-{number}", b"a prompt")
    with ReceiptStore(folder / "receipts") as receipts:
        receipts.append([Receipt(lease, 1, b"signed") for lease in range(1, RECEIPTS + 1)])
    with contextlib.closing(Store(folder / WEBHOOKS)) as hooks:
        hooks.add_webhook(7, "https://example.org/hook", "whsec_c2VjcmV0", 1, 1)
    go_on(folder, GROUPS)
    return folder


@pytest.fixture
def night(data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A finished backup and its keys."""
    folder, keys = tmp_path / "night", tmp_path / "night-keys"
    assert run("backup", folder, "--keys", keys, "--data", data).exit_code == 0
    return folder, keys


Night = tuple[Path, Path]


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(done: Any, reason: str, code: ExitCode = ExitCode.FAILED) -> str:
    """What a command that was refused said: message and hint."""
    error = json.loads(done.stderr)["error"]
    assert (done.exit_code, error["reason"]) == (code, reason), error
    return f"{error['message']} | {error['hint']}"


def restore(night: Night, *options: str | Path) -> Any:
    """Restore it with its keys beside it."""
    folder, keys = night
    restored = folder.parent / "restored"
    return run("restore", folder, "--keys", keys, "--data", restored, "--json", *options)


def test_a_backup_says_last_what_is_inside(night: Night, data: Path, tmp_path: Path) -> None:
    folder, _ = night
    said = json.loads((folder / "BACKUP.json").read_text())
    chain_hash = said.pop("chain_hash")
    assert said == {
        "format": 1,
        "last_sequence": COMMANDS,
        "receipts": RECEIPTS,
        "blobs": BLOBS,
        "keys": BLOBS,
        "webhooks": True,
        "operator_key": False,
    }
    put_back = json.loads(restore(night).stdout)
    assert (put_back["manifest"], put_back["chain_hash"]) == (True, chain_hash)
    assert (folder / "BACKUP.json").stat().st_mode & 0o777 == 0o600
    assert run("backup", tmp_path / "bare", "--data", data).exit_code == 0
    said = json.loads((tmp_path / "bare" / "BACKUP.json").read_text())
    assert (said["blobs"], said["keys"], said["webhooks"]) == (BLOBS, None, False)
    bare = run("restore", tmp_path / "bare", "--data", tmp_path / "without", "--json")
    assert json.loads(bare.stdout)["receipts"] == RECEIPTS


def test_a_refused_backup_leaves_the_one_before_as_it_was(night: Night, data: Path) -> None:
    folder, keys = night
    go_on(data, 2 * GROUPS)
    before, other = content(folder), folder.parent / "other"
    for options in ((), ("--keys", other)):
        done = run("backup", folder, "--data", data, "--json", *options)
        assert "is not empty" in refused(done, "JOURNAL")
    assert content(folder) == before
    assert not other.exists()
    done = run("backup", other, "--keys", keys, "--data", data, "--json")
    assert "is not empty" in refused(done, "FOLDER", ExitCode.USAGE)
    assert not other.exists()
    assert json.loads(restore(night).stdout)["journal_records"] == COMMANDS


def test_a_folder_that_is_no_data_directory_leaves_nothing_behind(
    data: Path, tmp_path: Path
) -> None:
    shutil.rmtree(data / "journal")
    target, keys = tmp_path / "target", tmp_path / "keys"
    done = run("backup", target, "--keys", keys, "--data", data, "--json")
    assert "there is no journal" in refused(done, "JOURNAL")
    assert not target.exists()
    assert not keys.exists()


def test_a_snapshot_ahead_of_the_journal_is_named_and_nothing_is_written(
    night: Night, data: Path
) -> None:
    folder, _ = night
    go_on(data, 2 * GROUPS)
    newest = SnapshotStore(data / "snapshots").paths()[0]
    spoiled = folder / "snapshots" / newest.name
    shutil.copy(newest, spoiled)
    said = refused(restore(night), "BACKUP_NOT_WHOLE")
    assert f"ends at sequence {COMMANDS}" in said
    assert str(spoiled) in said
    assert "remove" in said
    assert not (folder.parent / "restored").exists()
    (folder / "BACKUP.json").unlink()
    assert str(spoiled) in refused(restore(night, "--without-manifest"), "BACKUP_NOT_WHOLE")
    spoiled.unlink()
    assert json.loads(restore(night, "--without-manifest").stdout)["journal_records"] == COMMANDS


def test_a_data_directory_that_lost_commands_makes_no_backup(data: Path, tmp_path: Path) -> None:
    kept = content(data / "journal")
    go_on(data, 2 * GROUPS)
    for path in (data / "journal").glob("*.log"):
        path.unlink()
    for name, whole in kept.items():
        (data / "journal" / name).write_bytes(whole)
    with pytest.raises(JournalBehind, match="acknowledged commands are missing"):
        backups.back_up(data, tmp_path / "backup", None)
    assert not (tmp_path / "backup" / "BACKUP.json").exists()


@pytest.mark.parametrize("step", ["backup_receipts", "backup_blobs", "_copy_secret"])
@pytest.mark.parametrize("error", [OSError(28, "no space left on device"), KeyboardInterrupt()])
def test_a_backup_that_was_cut_off_is_not_restored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: Path) -> None:
        raise error

    night = tmp_path / "night", tmp_path / "night-keys"
    with monkeypatch.context() as patched:
        patched.setattr(backups, step, fail)
        done = run("backup", night[0], "--keys", night[1], "--data", data)
    interrupted = isinstance(error, KeyboardInterrupt)
    assert done.exit_code == (ExitCode.INTERRUPTED if interrupted else ExitCode.FAILED)
    done = run("restore", night[0], "--data", tmp_path / "restored", "--json")
    said = refused(done, "BACKUP_NOT_WHOLE")
    nor_receipts = " and no receipts" if step == "backup_receipts" else ""
    assert f"has no BACKUP.json{nor_receipts}: this backup was not finished" in said
    assert "--without-manifest" in said
    assert not (tmp_path / "restored").exists()


def test_a_backup_of_an_earlier_release_is_restored_where_one_says_so(night: Night) -> None:
    folder, _ = night
    (folder / "BACKUP.json").unlink()
    assert "an earlier release" in refused(restore(night), "BACKUP_NOT_WHOLE")
    done = restore(night, "--without-manifest")
    said = json.loads(done.stdout)
    assert (said["receipts"], said["blobs"], said["manifest"]) == (RECEIPTS, BLOBS, False)
    shutil.rmtree(folder.parent / "restored")
    shown = run("restore", folder, "--data", folder.parent / "restored", "--without-manifest")
    assert "may be missing" in shown.stderr


@pytest.mark.parametrize("part", ["journal", "receipts"])
def test_a_copy_that_was_cut_off_is_not_taken_by_any_option(night: Night, part: str) -> None:
    folder, _ = night
    (folder / "BACKUP.json").unlink()
    (folder / part / "BACKUP.json").unlink()
    said = refused(restore(night, "--without-manifest"), "BACKUP_NOT_WHOLE")
    assert "was cut off" in said
    assert "--without-manifest" not in said
    assert not (folder.parent / "restored").exists()


def test_receipts_that_were_only_begun_are_not_taken_by_any_option(night: Night) -> None:
    folder, _ = night
    (folder / "BACKUP.json").unlink()
    for path in (folder / "receipts").iterdir():
        path.unlink()
    assert "was cut off" in refused(restore(night, "--without-manifest"), "BACKUP_NOT_WHOLE")


def no_receipts(folder: Path, _: Path) -> None:
    shutil.rmtree(folder / "receipts")


def no_journal(folder: Path, _: Path) -> None:
    shutil.rmtree(folder / "journal")


def no_ciphertext(folder: Path, _: Path) -> None:
    next((folder / "blobs" / "ciphertexts").iterdir()).unlink()


def no_key(_: Path, keys: Path) -> None:
    next((keys / "keys").iterdir()).unlink()


def no_webhooks(_: Path, keys: Path) -> None:
    (keys / WEBHOOKS).unlink()


def another_journal(folder: Path, _: Path) -> None:
    go_on(folder.parent / "data", 2 * GROUPS)
    backups.back_up(folder.parent / "data", folder.parent / "later", None)
    shutil.rmtree(folder / "journal")
    shutil.copytree(folder.parent / "later" / "journal", folder / "journal")


def made_without_keys(folder: Path, _: Path) -> None:
    manifest = json.loads((folder / "BACKUP.json").read_text())
    (folder / "BACKUP.json").write_text(json.dumps(manifest | {"keys": None, "webhooks": False}))


def cut_short(folder: Path, _: Path) -> None:
    (folder / "BACKUP.json").write_text('{"format": 1, "last_seq')


def from_the_future(folder: Path, _: Path) -> None:
    manifest = json.loads((folder / "BACKUP.json").read_text())
    (folder / "BACKUP.json").write_text(json.dumps(manifest | {"format": 2}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_receipts, f"0 receipts instead of {RECEIPTS}"),
        (no_journal, f"the journal ends at sequence 0, not at {COMMANDS}"),
        (another_journal, f"ends at sequence {2 * COMMANDS}, not at {COMMANDS}"),
        (no_ciphertext, f"{BLOBS - 1} blobs instead of {BLOBS}"),
        (no_key, f"{BLOBS - 1} keys instead of {BLOBS}"),
        (no_webhooks, f"{WEBHOOKS} is missing"),
        (made_without_keys, "it was made without keys"),
        (cut_short, "cannot be read"),
        (from_the_future, "has format 2"),
    ],
)
def test_what_the_manifest_says_must_be_there(
    night: Night, harm: Callable[[Path, Path], None], said: str
) -> None:
    harm(*night)
    for options in ((), ("--without-manifest",)):
        assert said in refused(restore(night, *options), "BACKUP_NOT_WHOLE")
        assert not (night[0].parent / "restored").exists()


def test_a_folder_that_is_no_backup_is_said_to_be_none(data: Path, tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    done = run("restore", tmp_path / "nowhere", "--data", restored, "--json")
    assert "there is no journal" in refused(done, "JOURNAL")
    done = run("restore", data, "--data", restored, "--json")
    assert "is no finished backup" in refused(done, "BACKUP_NOT_WHOLE")
    assert not restored.exists()
