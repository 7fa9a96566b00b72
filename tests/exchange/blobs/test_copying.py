"""Copies of a store that is in use, and putting them back."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.blobs import BlobDamaged, BlobErased, BlobNotFound, BlobStore, copying
from exchange.blobs import backup_blobs as back_up
from exchange.blobs import restore_blobs as restore


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path / "blobs", tmp_path / "master.key")
    for n in range(5):
        store.put(f"job-{n}", b"%d" % n)
    return store


def restored(tmp_path: Path) -> BlobStore:
    restore(tmp_path / "copy", tmp_path / "keys", tmp_path / "restored")
    return BlobStore(tmp_path / "restored", tmp_path / "master.key")


def test_a_copy_of_a_store_in_use_can_be_read(tmp_path: Path, store: BlobStore) -> None:
    store.erase("job-3")
    assert back_up(tmp_path / "blobs", tmp_path / "copy", tmp_path / "keys") == (4, 4)
    store.put("job-9", b"later")
    with restored(tmp_path) as copy:
        assert {name: copy.get(name) for name in copy.ids()} == {
            f"job-{n}": b"%d" % n for n in (0, 1, 2, 4)
        }
        with pytest.raises(BlobNotFound):
            copy.get("job-3")
        copy.check()


def test_without_keys_only_ciphertexts_are_copied(tmp_path: Path, store: BlobStore) -> None:
    assert back_up(tmp_path / "blobs", tmp_path / "copy", None) == (5, 0)
    assert not list((tmp_path / "copy").rglob("*.key"))
    assert len(list((tmp_path / "copy").rglob("*.bin"))) == 5


@pytest.mark.parametrize("how", ["erase", "forget"])
def test_a_key_that_is_destroyed_meanwhile_does_not_live_on_in_the_copy(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    copy_keys = copying._copy_keys

    def then_destroy(source: Path, target: Path) -> set[str]:
        copied = copy_keys(source, target)
        getattr(store, how)("job-1")
        store.put("job-5", b"new")
        return copied

    monkeypatch.setattr(copying, "_copy_keys", then_destroy)
    assert back_up(tmp_path / "blobs", tmp_path / "copy", tmp_path / "keys") == (4, 4)
    monkeypatch.undo()
    assert len(list((tmp_path / "keys").rglob("*.key"))) == 4
    with restored(tmp_path) as copy:
        copy.check()
        assert sorted(copy.ids()) == ["job-0", "job-2", "job-3", "job-4"]


def test_a_ciphertext_that_goes_away_after_it_was_listed_is_left_out(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, erased = copying._copy, list[str]()

    def erase_first(source: Path, target: Path) -> None:
        if not erased and source.suffix == ".bin":
            erased.extend(name for name in store.ids() if store._ciphertext_path(name) == source)
            store.erase(erased[0])
        copy(source, target)

    monkeypatch.setattr(copying, "_copy", erase_first)
    assert back_up(tmp_path / "blobs", tmp_path / "copy", tmp_path / "keys") == (4, 4)
    with pytest.raises(BlobErased):
        store.get(erased[0])


def test_a_damaged_record_is_copied_as_it_is_and_named_when_it_is_read(
    tmp_path: Path, store: BlobStore
) -> None:
    path = store._key_path("job-2")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert back_up(tmp_path / "blobs", tmp_path / "copy", tmp_path / "keys") == (5, 5)
    with restored(tmp_path) as copy:
        with pytest.raises(BlobDamaged):
            copy.get("job-2")
        assert copy.get("job-1") == b"1"
