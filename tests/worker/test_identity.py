from __future__ import annotations

import stat
from pathlib import Path

import pytest

from exchange.metering import signing
from tests.worker.scripted import make_config
from worker.backoff import FIRST_S, LONGEST_S, Backoff
from worker.config import SLOTS_MAX
from worker.facts import hardware_facts
from worker.identity import KEY_FILE, IdentityError, open_identity


def test_a_key_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "worker"
    with open_identity(folder) as first:
        for said in (b"x", b"y"):
            assert signing.verify(first.public_key, first.sign(said), said)
        assert first.sign(b"x") == signing.sign(first.private_key, b"x")
        assert first.private_key.hex() not in repr(first)
    with open_identity(folder) as second:
        assert second == first
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with open_identity(tmp_path):
        pass
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(IdentityError, match="chmod 600"), open_identity(tmp_path):
        pass


def test_two_workers_cannot_share_a_directory(tmp_path: Path) -> None:
    with (
        open_identity(tmp_path),
        pytest.raises(IdentityError, match="another worker"),
        open_identity(tmp_path),
    ):
        pass


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IdentityError, match="data directory"), open_identity(tmp_path / "file"):
        pass
    (tmp_path / KEY_FILE).mkdir(mode=0o700)
    with pytest.raises(IdentityError, match="cannot use"), open_identity(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33])
def test_a_damaged_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / KEY_FILE
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="32 bytes"), open_identity(tmp_path):
        pass


def test_waits_grow_to_a_bound_and_begin_anew() -> None:
    backoff = Backoff()
    waits = [backoff.wait_s() for _ in range(20)]
    assert waits[0] <= FIRST_S
    assert all(LONGEST_S / 2 <= wait <= LONGEST_S for wait in waits[10:])
    assert len(set(waits)) > 1
    backoff.reset()
    assert backoff.wait_s() <= FIRST_S


def test_facts_are_short_texts() -> None:
    facts = hardware_facts()
    assert int(facts["cores"]) >= 1
    assert all(0 < len(value) <= 200 for value in facts.values())


@pytest.mark.parametrize(
    "change", [{"name": ""}, {"slots": 0}, {"slots": SLOTS_MAX + 1}, {"target": ""}]
)
def test_settings_are_checked(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"worker|slots"):
        make_config(**{"target": "host:1", "data_dir": tmp_path, **change})  # type: ignore[arg-type]


def test_a_key_is_not_shown(tmp_path: Path) -> None:
    config = make_config("host:1", tmp_path)
    assert config.key not in repr(config)
