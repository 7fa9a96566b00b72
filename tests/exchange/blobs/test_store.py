"""Storing, reading, erasing, restarting, and every way in which that can fail."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exchange.blobs import (
    BLOB_BYTES_MAX,
    BlobConflict,
    BlobDamaged,
    BlobErased,
    BlobIdInvalid,
    BlobKeyMissing,
    BlobKeyWrong,
    BlobNotFound,
    BlobReadFailed,
    BlobStore,
    BlobStoreClosed,
    BlobStoreFull,
    BlobStoreLocked,
    BlobTooLarge,
    BlobWriteFailed,
)

ROOT = Path(__file__).parents[3]
KILLS = 6
SECRET = b"what the buyer asked, which nobody else may read"
OpenStore = Callable[..., BlobStore]


@pytest.fixture
def open_store(tmp_path: Path) -> OpenStore:
    def opened(**options: Any) -> BlobStore:
        return BlobStore(tmp_path / "blobs", tmp_path / "secret" / "master.key", **options)

    return opened


def stored_files(tmp_path: Path, suffix: str) -> list[Path]:
    return sorted((tmp_path / "blobs").rglob("*" + suffix))


def test_blobs_come_back_after_a_restart(open_store: OpenStore) -> None:
    contents = {f"job-{n}/payload": Random(n).randbytes(n * 100) for n in range(12)}
    with open_store() as store:
        for blob_id, content in contents.items():
            ref = store.put(blob_id, content)
            assert ref[:3] == (blob_id, sha256(content).digest(), len(content))
            assert store.stat(blob_id) == ref
        key_id = store.key_id
    with open_store() as store:
        assert store.key_id == key_id
        assert sorted(store.ids()) == sorted(contents)
        assert {blob_id: store.get(blob_id) for blob_id in contents} == contents
        assert store.records == 12
        store.check()


def test_nothing_readable_lies_on_the_disk(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET[:8] not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_erasing_destroys_the_key(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        store.put("job-2", b"kept")
        (key_path,) = [p for p in stored_files(tmp_path, ".key") if b"job-1" in p.read_bytes()]
        record, inode = key_path.read_bytes(), key_path.stat().st_ino
        copies = [path.read_bytes() for path in stored_files(tmp_path, ".bin")]
        store.erase("job-1")
        store.erase("job-1")
        with pytest.raises(BlobErased):
            store.get("job-1")
        # Overwritten in place: nothing of the wrapped key is left in the file.
        assert key_path.stat().st_ino == inode
        wrapped = record[-64:-4].strip(b"\0") or record[200:320]
        assert wrapped not in key_path.read_bytes()
        assert len(stored_files(tmp_path, ".bin")) == 1
        # Whoever kept a copy of the ciphertext cannot read it through the store either.
        for index, copy in enumerate(copies):
            key_path.parent.with_name("ciphertexts").joinpath(f"{index}.bin").write_bytes(copy)
        with pytest.raises(BlobErased):
            store.get("job-1")
    with open_store() as store:
        with pytest.raises(BlobErased):
            store.get("job-1")
        with pytest.raises(BlobErased):
            store.put("job-1", SECRET)
        assert store.get("job-2") == b"kept"
        assert list(store.ids()) == ["job-2"]
        store.check()


def test_a_forgotten_id_is_free_again(open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        store.forget("job-1")
        store.forget("job-1")
        assert (store.records, store.stored_bytes) == (0, 0)
        with pytest.raises(BlobNotFound):
            store.get("job-1")
        store.put("job-1", b"other")
        assert store.get("job-1") == b"other"
        store.erase("job-1")
        store.forget("job-1")
        store.check()


def test_an_unknown_blob_is_not_found(open_store: OpenStore) -> None:
    with open_store() as store:
        for call in (store.get, store.stat, store.erase):
            with pytest.raises(BlobNotFound, match="there is no blob job-9"):
                call("job-9")


def test_putting_again_gives_the_first_result(open_store: OpenStore) -> None:
    with open_store() as store:
        ref = store.put("job-1", b"content")
        assert store.put("job-1", b"content") == ref
        with pytest.raises(BlobConflict, match="use another id"):
            store.put("job-1", b"other")
        assert store.records == 1
        store.check()


def test_bounds_are_reached_and_kept(open_store: OpenStore) -> None:
    with open_store(blob_bytes_max=100, store_bytes_max=3 * 116, records_max=4) as store:
        with pytest.raises(BlobTooLarge, match="has 101 bytes, more than 100"):
            store.put("job-0", bytes(101))
        for n in range(3):
            store.put(f"job-{n}", bytes([n] * 100))
        with pytest.raises(BlobStoreFull, match="348 of 348 bytes: erase or forget"):
            store.put("job-3", b"")
        store.erase("job-0")
        store.put("job-3", bytes(100))
        # An erased blob's record still counts.
        store.erase("job-1")
        with pytest.raises(BlobStoreFull, match="4 of 4 blobs"):
            store.put("job-4", b"")
        store.forget("job-1")
        store.put("job-4", b"")
        store.check()
    with open_store() as store, pytest.raises(BlobTooLarge):
        store.put("job-5", bytes(BLOB_BYTES_MAX + 1))
    with open_store(store_bytes_max=3 * 116) as store:
        with pytest.raises(BlobStoreFull):
            store.put("job-5", bytes(100))
        with pytest.raises(BlobIdInvalid):
            store.put("a b", b"")


def test_another_master_key_does_not_open_the_store(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
    key = tmp_path / "secret" / "master.key"
    good = key.read_text()
    for bad in ("00" * 32, "00" * 16, "xyz", ""):
        key.write_text(bad)
        with pytest.raises(BlobKeyWrong):
            open_store()
    key.unlink()
    with pytest.raises(BlobKeyMissing, match="put it back"):
        open_store()
    assert not key.exists()
    key.write_text(good)
    with open_store() as store:
        assert store.get("job-1") == SECRET


def test_a_given_master_key_is_used(tmp_path: Path, open_store: OpenStore) -> None:
    key = tmp_path / "secret" / "master.key"
    key.parent.mkdir()
    key.write_text("ab" * 32)
    open_store().close()
    assert key.read_text() == "ab" * 32


def test_a_missing_seal_is_damage(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
    (tmp_path / "blobs" / "SEAL").unlink()
    with pytest.raises(BlobDamaged, match="there are blobs"):
        open_store()


@pytest.mark.parametrize(
    ("suffix", "change", "reason"),
    [
        (".bin", lambda raw: bytes([raw[0] ^ 1]) + raw[1:], "ciphertext is not what was written"),
        (".bin", lambda raw: raw[:-1], "ciphertext is not what was written"),
        (".bin", lambda raw: raw + b"\0", "ciphertext is not what was written"),
        (".bin", lambda raw: b"", "ciphertext is not what was written"),
        (".bin", None, "the ciphertext is missing"),
        (".key", lambda raw: raw[:40] + bytes([raw[40] ^ 4]) + raw[41:], "its checksum"),
        (".key", lambda raw: raw[:-1], "its checksum"),
    ],
)
def test_damage_is_named(
    tmp_path: Path,
    open_store: OpenStore,
    suffix: str,
    change: Callable[[bytes], bytes] | None,
    reason: str,
) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        (path,) = stored_files(tmp_path, suffix)
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))
        for read in (lambda: store.get("job-1"), store.check):
            with pytest.raises(BlobDamaged, match=reason) as caught:
                read()
            assert caught.value.path == path
        # What cannot be read can still be erased.
        store.erase("job-1")
        with pytest.raises(BlobErased):
            store.get("job-1")


def test_records_cannot_be_exchanged(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        store.put("job-2", b"mine")
        first, second = stored_files(tmp_path, ".key")
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
        for blob_id in ("job-1", "job-2"):
            with pytest.raises(BlobDamaged, match="it is the record of job-"):
                store.get(blob_id)
        first.write_bytes(one)
        second.write_bytes(two)
        ciphertexts = stored_files(tmp_path, ".bin")
        ciphertexts[0].rename(tmp_path / "held")
        ciphertexts[1].rename(ciphertexts[0])
        (tmp_path / "held").rename(ciphertexts[1])
        with pytest.raises(BlobDamaged, match="ciphertext is not what was written"):
            store.get("job-1")


def test_a_ciphertext_without_a_key_fails_the_check(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        (tmp_path / "blobs" / "ciphertexts" / "stray.bin").write_bytes(b"?")
        with pytest.raises(BlobDamaged, match="no key belongs"):
            store.check()
    # Left behind by a put that was killed: the next start removes it, and unfinished keys.
    (tmp_path / "blobs" / "keys" / "stray.key.new").write_bytes(b"?")
    with open_store() as store:
        store.check()
        assert stored_files(tmp_path, ".new") == []
        assert store.get("job-1") == SECRET


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        (path,) = stored_files(tmp_path, ".key")
        store.forget("job-1")
        # A folder stands where the key's file would be written.
        obstacle = path.with_name(path.name + ".new")
        obstacle.mkdir()
        with pytest.raises(BlobWriteFailed, match="try again"):
            store.put("job-1", SECRET)
        assert (store.records, store.stored_bytes) == (0, 0)
        assert stored_files(tmp_path, ".bin") == []
        obstacle.rmdir()
        store.put("job-1", SECRET)
        store.check()


def test_errors_of_the_device_have_their_names(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        (path,) = stored_files(tmp_path, ".bin")
        path.unlink()
        path.mkdir()
        with pytest.raises(BlobReadFailed, match="check the device"):
            store.get("job-1")
        with pytest.raises(BlobWriteFailed, match="try again"):
            store.erase("job-1")
        (path,) = stored_files(tmp_path, ".key")
        path.unlink()
        path.mkdir()
        for call in (store.get, store.stat):
            with pytest.raises(BlobReadFailed):
                call("job-1")
        with pytest.raises(BlobWriteFailed):
            store.forget("job-1")
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobWriteFailed):
        BlobStore(tmp_path / "file" / "blobs", tmp_path / "key")


def test_an_erasure_that_was_interrupted_is_finished(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        for blob_id in ("job-1", "job-2", "job-3"):
            store.put(blob_id, SECRET)
    paths = stored_files(tmp_path, ".bin")
    (kept,) = [p for p in paths if p.stem == sha256(b"job-3").hexdigest()]
    for path in paths:
        if path != kept:
            path.rename(path.with_suffix(".erasing"))
    # Of one of them, the key's record was already being overwritten.
    damaged = tmp_path / "blobs" / "keys" / (sha256(b"job-2").hexdigest() + ".key")
    damaged.write_bytes(bytes(512))
    with open_store() as store:
        assert stored_files(tmp_path, ".erasing") == []
        with pytest.raises(BlobErased):
            store.get("job-1")
        with pytest.raises(BlobDamaged):
            store.get("job-2")
        store.erase("job-2")
        assert store.get("job-3") == SECRET
        store.check()


def test_a_blob_that_is_being_erased_is_erased(tmp_path: Path, open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("job-1", SECRET)
        (path,) = stored_files(tmp_path, ".bin")
        path.rename(path.with_suffix(".erasing"))
        with pytest.raises(BlobErased):
            store.get("job-1")
        with pytest.raises(BlobErased):
            store.put("job-1", SECRET)
        store.erase("job-1")
        store.check()


def test_one_process_has_the_store(open_store: OpenStore) -> None:
    with open_store(), pytest.raises(BlobStoreLocked, match="stop that process"):
        open_store()
    open_store().close()


def test_a_closed_store_says_so(open_store: OpenStore) -> None:
    store = open_store()
    store.put("job-1", SECRET)
    store.close()
    store.close()
    for call in (store.get, store.stat, store.erase, store.forget):
        with pytest.raises(BlobStoreClosed):
            call("job-1")
    with pytest.raises(BlobStoreClosed):
        store.put("job-2", b"")


def test_threads_read_while_others_write_and_erase(open_store: OpenStore) -> None:
    with open_store() as store:
        store.put("kept", SECRET)
        for n in range(20):
            store.put(f"erased-{n}", SECRET)
        stop = threading.Event()

        def read() -> int:
            reads = 0
            while not stop.is_set() or not reads:
                assert store.get("kept") == SECRET
                for n in range(20):
                    with suppress(BlobErased):
                        assert store.get(f"erased-{n}") == SECRET
                with suppress(BlobNotFound, BlobErased):
                    assert store.get("changing") in {b"one", b"second"}
                reads += 1
            return reads

        def write() -> None:
            for _ in range(6):
                store.put("changing", b"one")
                store.forget("changing")
                store.put("changing", b"second")
                store.forget("changing")

        def erase() -> None:
            for n in range(20):
                store.erase(f"erased-{n}")

        with ThreadPoolExecutor(8) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            writers = [pool.submit(work) for work in (write, erase)]
            same = [pool.submit(store.put, "same", b"same") for _ in range(4)]
            for future in writers:
                future.result(timeout=60)
            stop.set()
            assert all(future.result(timeout=60) for future in readers)
        assert len({future.result(timeout=60) for future in same}) == 1
        store.check()
        assert store.records == 22


# Puts and erases blobs as fast as it can, and tells what is durable.
WRITER = """
import os, sys
from pathlib import Path
from random import Random
from exchange.blobs import BlobStore

store = BlobStore(Path(sys.argv[1]), Path(sys.argv[2]))
for n in range(int(sys.argv[3]), 1_000_000):
    store.put(f"job-{n}", Random(n).randbytes(n % 977))
    os.write(1, b"put %d\\n" % n)
    if n % 3 == 0:
        store.erase(f"job-{n}")
        os.write(1, b"erased %d\\n" % n)
"""


def test_a_writer_that_is_killed_loses_nothing(tmp_path: Path, open_store: OpenStore) -> None:
    chance = Random(3)
    said: dict[int, str] = {}
    for _ in range(KILLS):
        first = max(said, default=0) + 2
        arguments = [tmp_path / "blobs", tmp_path / "secret" / "master.key", first]
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, *map(str, arguments)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(chance.uniform(0, 0.06))
        writer.kill()
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        for line in lines:
            if line.endswith(b"\n"):
                word, number = line.decode().split()
                said[int(number)] = word
        with open_store() as store:
            for n, last_word in said.items():
                check_blob(store, n, last_word)
            store.check()
    assert len(said) > KILLS


def check_blob(store: BlobStore, number: int, word: str) -> None:
    erased = word == "erased"
    try:
        content = store.get(f"job-{number}")
    except BlobErased:
        # Erasing may have been on its way, and then have finished.
        erased = True
    else:
        assert content == Random(number).randbytes(number % 977)
        assert not erased
    assert not erased or number % 3 == 0


def test_the_example_in_the_documentation_runs() -> None:
    import exchange.blobs.store as documented

    assert doctest.testmod(documented) == (0, 3)
