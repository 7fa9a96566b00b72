"""A copy is whole or there is none; the place of an older one is never half written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exchange.recovery.copies import copy_file, file_digest


def test_a_copy_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    source, target = tmp_path / "one.log", tmp_path / "there.log"
    source.write_bytes(b"new")
    target.write_bytes(b"an older one")
    copy_file(source, target)
    assert target.read_bytes() == source.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.log", "there.log"]
    assert file_digest(source) == file_digest(target)


def test_a_copy_that_is_not_what_was_copied_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "one.log", tmp_path / "there.log"
    source.write_bytes(b"new")
    monkeypatch.setattr(shutil, "copyfile", lambda _, to: to.write_bytes(b"no"))
    with pytest.raises(OSError, match="is not what was copied"):
        copy_file(source, target)
    assert not target.exists()
    assert source.read_bytes() == b"new"
