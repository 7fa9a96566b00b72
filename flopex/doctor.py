"""`flopex doctor`: whether this machine and this data directory are fit for an exchange.

Each check looks at one thing and says ok, warning or failure in one line, with what to do about it.
None changes anything but a file of its own in the data directory, which it removes.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from exchange.http.addresses import split_address
from exchange.journal.writers import WRITE_MODE, WriteMode, open_writer
from exchange.processors import PROCESSORS_GOOD, count
from flopex.render.format import several

GIB: Final = 1 << 30
FREE_MIN_BYTES: Final = 1 * GIB
"""Less is a failure: an exchange stops when it cannot write."""
FREE_GOOD_BYTES: Final = 10 * GIB
SYNCS: Final = 50
"""Commits that are timed."""
SYNC_SLOW_MS: Final = 20.0
"""A median above this makes every order wait."""
BLOCK_BYTES: Final = 4_096
TRIAL_BYTES: Final = 1 << 20
FILES_GOOD: Final = 8_192
"""Open files that 4,096 connections and the stores need, with room."""
CLOCK_OLDEST_NS: Final = 1_764_547_200 * 10**9
"""2025-12-01: no clock that is right shows an earlier time."""
NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
AUTOGROUPS: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")
MODULES: Final = {
    "server": ("grpc", "aiohttp", "cryptography", "msgspec", "prometheus_client", "structlog"),
    "worker": ("numpy", "xllamacpp"),
}
"""What the extras bring, by the names that are imported."""


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(NamedTuple):
    """One line.

    Attributes:
        check: What was looked at.
        status: How it is.
        text: What was found.
        remedy: What to do; empty where all is well.
    """

    check: str
    status: Status
    text: str
    remedy: str = ""


class Place(NamedTuple):
    """What is examined.

    Attributes:
        data: The data directory.
        address: host:port of gRPC.
        http: host:port of HTTP; empty for none.
        read_model: URL of the read model; empty for none.
    """

    data: Path
    address: str
    http: str
    read_model: str


def examine(place: Place) -> Iterator[Finding]:
    """All checks, one after the other; one that breaks is a failure and ends no other."""
    for name, check in CHECKS.items():
        try:
            yield from check(place)
        except Exception as error:
            yield Finding(
                name, Status.FAILURE, f"the check broke off: {type(error).__name__}: {error}",
                "report this, with the line above",
            )  # fmt: skip


def _installation(_: Place) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", Status.OK, f"Python {version} at {sys.executable}")
    for extra, names in MODULES.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        if not missing:
            yield Finding(f"extra {extra}", Status.OK, f"installed: {', '.join(names)}")
            continue
        status = Status.FAILURE if extra == "server" else Status.WARNING
        yield Finding(
            f"extra {extra}", status, f"missing: {', '.join(missing)}",
            f"pip install 'flopex[{extra}]'",
        )  # fmt: skip


def _compiled(_: Place) -> Iterator[Finding]:
    import matching

    if matching.COMPILED:
        yield Finding("engine", Status.OK, "matching and the core's path of orders are compiled")
    else:
        yield Finding(
            "engine", Status.WARNING, "matching is interpreted: right, and several times slower",
            "make compile, or install a built wheel",
        )  # fmt: skip


def _data_directory(place: Place) -> Iterator[Finding]:
    data = place.data
    if not data.exists():
        nearest = _nearest(data)
        if os.access(nearest, os.W_OK):
            text = f"{data} does not exist yet; the first start makes it"
            yield Finding("data directory", Status.OK, text)
        else:
            yield Finding(
                "data directory", Status.FAILURE, f"{data} cannot be made in {nearest}",
                "choose another with --data, or make it and give it to this user",
            )  # fmt: skip
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "data directory", Status.FAILURE, f"{data} is not writable for this user",
            f"chown -R $USER {data}",
        )  # fmt: skip
        return
    if data.stat().st_mode & 0o077:
        yield Finding(
            "data directory", Status.WARNING, f"{data} is open to other users",
            f"chmod 700 {data}",
        )  # fmt: skip
    else:
        yield Finding("data directory", Status.OK, f"{data}, for this user only")
    if (data / "operator.key").exists():
        yield Finding(
            "operator key", Status.WARNING, f"{data / 'operator.key'} lies there in clear",
            "keep a copy elsewhere and remove it",
        )  # fmt: skip


def _space(place: Place) -> Iterator[Finding]:
    folder = _nearest(place.data)
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    text = f"{free / GIB:,.1f} GiB free on the disk of {folder}"
    if free < FREE_MIN_BYTES:
        yield Finding("free space", Status.FAILURE, text, "make room, or choose another --data")
    elif free < FREE_GOOD_BYTES:
        remedy = "the journal grows by 4 KiB a commit group or more: plan for it"
        yield Finding("free space", Status.WARNING, text, remedy)
    else:
        yield Finding("free space", Status.OK, text)
    kind = _file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "file system", Status.FAILURE, f"{kind}: a network file system may lose what it synced",
            "put --data on a local disk",
        )  # fmt: skip
    elif kind == "tmpfs":
        yield Finding(
            "file system", Status.WARNING, "tmpfs: a restart of the machine loses everything",
            "put --data on a disk, unless this is a trial",
        )  # fmt: skip
    else:
        yield Finding("file system", Status.OK, kind)


def _sync(place: Place) -> Iterator[Finding]:
    folder = _nearest(place.data)
    try:
        mode, took_ms = _timed_syncs(folder)
    except OSError as error:
        yield Finding(
            "disk sync", Status.FAILURE, f"nothing can be written in {folder}: {error.strerror}",
            "choose another --data",
        )  # fmt: skip
        return
    middle = statistics.median(took_ms)
    text = (
        f"{mode}: {middle:.3f} ms a commit (median of {SYNCS}; "
        f"{took_ms[0]:.3f} to {took_ms[-1]:.3f})"
    )
    if middle > SYNC_SLOW_MS:
        yield Finding(
            "disk sync", Status.WARNING, text,
            "a slow or busy disk: every order waits for it; flopex bench journal tells more",
        )  # fmt: skip
    elif mode is not WRITE_MODE:
        remedy = f"there are no {WRITE_MODE} writes here; nothing to do, but it may be slower"
        yield Finding("disk sync", Status.WARNING, text, remedy)
    else:
        yield Finding("disk sync", Status.OK, text)


def _timed_syncs(folder: Path) -> tuple[WriteMode, list[float]]:
    """How blocks are made durable there, and how long each took, milliseconds, sorted.

    Raises:
        OSError: nothing can be written.
    """
    with tempfile.TemporaryDirectory(prefix=".flopex-doctor-", dir=folder) as name:
        path = Path(name) / "trial"
        path.write_bytes(bytes(TRIAL_BYTES))
        with path.open("rb") as file:
            os.fsync(file.fileno())
        writer = open_writer(path, BLOCK_BYTES)
        block = b"\x5a" * BLOCK_BYTES
        took_ms = []
        try:
            for number in range(SYNCS):
                began = time.perf_counter()
                writer.begin(block, BLOCK_BYTES * (1 + number))
                writer.finish()
                took_ms.append(1e3 * (time.perf_counter() - began))
        finally:
            writer.close()
    return writer.mode, sorted(took_ms)


def _processors(_: Place) -> Iterator[Finding]:
    processors = count()
    grouped = AUTOGROUPS.exists() and AUTOGROUPS.read_text().strip() == "1"
    text = (
        f"{several(processors, 'processor')}, scheduling by session is {'on' if grouped else 'off'}"
    )
    if grouped and processors < PROCESSORS_GOOD:
        yield Finding(
            "processors", Status.WARNING, f"{text}: at full load some commits wait long",
            "sysctl -w kernel.sched_autogroup_enabled=0 (docs/operating/running.md)",
        )  # fmt: skip
    else:
        yield Finding("processors", Status.OK, text)


def _ports(place: Place) -> Iterator[Finding]:
    running = is_running(place.data)
    for name, address in (("gRPC port", place.address), ("HTTP port", place.http)):
        if not address:
            continue
        try:
            host, port = split_address(address)
        except ValueError as error:
            yield Finding(name, Status.FAILURE, str(error), "write it like 127.0.0.1:7411")
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, port))
            except OSError as error:
                reason = error.strerror or str(error)
                if running:
                    text = f"{address} is taken, and an exchange runs in {place.data}"
                    yield Finding(name, Status.OK, text)
                else:
                    yield Finding(
                        name, Status.FAILURE, f"{address} cannot be had: {reason}",
                        "another exchange or program listens there; choose another address",
                    )  # fmt: skip
                continue
        yield Finding(name, Status.OK, f"{address} is free")


def _journal(place: Place) -> Iterator[Finding]:
    from exchange.core.limits import RULES_VERSION
    from exchange.journal import JournalDamaged, JournalFollower, JournalVersionMismatch
    from exchange.journal.files import OsFileSystem
    from exchange.journal.segment import segment_paths

    directory = place.data / "journal"
    paths = segment_paths(OsFileSystem(), directory) if directory.exists() else []
    if not paths:
        yield Finding("journal", Status.OK, "none yet")
        return
    first = int(paths[-1].stem)
    groups = 0
    try:
        follower = JournalFollower(directory, from_sequence=first, rules_version=RULES_VERSION)
        try:
            while found := follower.poll():
                groups += len(found)
            last = follower.next_sequence - 1
        finally:
            follower.close()
    except JournalVersionMismatch as error:
        yield Finding(
            "journal", Status.FAILURE, str(error),
            "start the version that wrote it, drain it, and follow docs/operating/running.md",
        )  # fmt: skip
        return
    except JournalDamaged as error:
        yield Finding(
            "journal", Status.FAILURE, str(error),
            "restore a backup: docs/operating/backup-and-restore.md",
        )  # fmt: skip
        return
    yield Finding(
        "journal", Status.OK,
        f"{several(len(paths), 'segment')}, the last one whole: {several(groups, 'group')} "
        f"up to sequence {last:,} (all of it: flopex journal verify)",
    )  # fmt: skip


def _read_model(place: Place) -> Iterator[Finding]:
    from exchange.readmodel.database import connect
    from exchange.readmodel.errors import ReadModelError
    from exchange.readmodel.progress import read_progress

    if not place.read_model or not (place.data / "journal").exists():
        yield Finding("read model", Status.OK, "none yet")
        return
    try:
        database = connect(place.read_model, read_only=True)
        try:
            progress = read_progress(database)
        finally:
            database.close()
    except ReadModelError as error:
        remedy = "flopex readmodel rebuild, or look after its database"
        yield Finding("read model", Status.WARNING, str(error), remedy)
        return
    if progress is None or not progress.usable:
        text = "is of other tables or rules, and will be made again at the next start"
        yield Finding("read model", Status.WARNING, text, "flopex readmodel rebuild, if not now")
    else:
        text = f"contains everything up to sequence {progress.sequence:,}"
        yield Finding("read model", Status.OK, f"{text} (flopex readmodel check compares)")


def _clock(place: Place) -> Iterator[Finding]:
    now_ns = time.time_ns()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_ns / 1e9))
    if now_ns < CLOCK_OLDEST_NS:
        yield Finding("clock", Status.FAILURE, f"{shown} is in the past", "set the clock (NTP)")
        return
    newest = max(
        (path.stat().st_mtime_ns for path in (place.data / "journal").glob("*")), default=0
    )
    if newest > now_ns + 10**9:
        yield Finding(
            "clock", Status.WARNING, f"{shown} is before the last write to the journal",
            "set the clock (NTP); until it agrees, journal time goes on from where it was",
        )  # fmt: skip
    else:
        yield Finding("clock", Status.OK, shown)


def _limits(_: Place) -> Iterator[Finding]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    shown = "without limit" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    if hard != resource.RLIM_INFINITY and hard < FILES_GOOD:
        yield Finding(
            "open files", Status.WARNING, f"at most {shown}: fewer connections are taken",
            f"raise the hard limit to {FILES_GOOD} (LimitNOFILE= of systemd, ulimit -Hn)",
        )  # fmt: skip
    else:
        yield Finding("open files", Status.OK, shown)


def _gpu(_: Place) -> Iterator[Finding]:
    driver = Path("/proc/driver/nvidia/version")
    if not driver.exists():
        yield Finding("GPU", Status.OK, "no NVIDIA driver: workers here run on the CPU")
        return
    version = driver.read_text().splitlines()[0]
    if importlib.util.find_spec("cupy") is None:
        yield Finding(
            "GPU", Status.WARNING, f"{version}; CuPy is not installed",
            "pip install 'flopex[cuda12]' or 'flopex[cuda13]', as the driver has it",
        )  # fmt: skip
        return
    cupy = importlib.import_module("cupy")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        yield Finding(
            "GPU", Status.FAILURE, f"CuPy {cupy.__version__} finds no device: {error}",
            "the CuPy that is installed must fit the driver: cuda12 or cuda13",
        )  # fmt: skip
        return
    yield Finding("GPU", Status.OK, f"CuPy {cupy.__version__}, {count} devices; {version}")


CHECKS: Final[dict[str, Callable[[Place], Iterator[Finding]]]] = {
    "installation": _installation,
    "engine": _compiled,
    "data directory": _data_directory,
    "free space": _space,
    "disk sync": _sync,
    "processors": _processors,
    "ports": _ports,
    "journal": _journal,
    "read model": _read_model,
    "clock": _clock,
    "open files": _limits,
    "GPU": _gpu,
}
"""In the order in which they are told."""


def is_running(data: Path) -> bool:
    """Whether an exchange holds the lock of this directory's journal."""
    from exchange.journal.log import LOCK_NAME

    lock = data / "journal" / LOCK_NAME
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return folder if folder.exists() else _nearest(folder.parent)


def _file_system(folder: Path) -> str:
    from flopex.bench.journal import mount

    return mount(folder)["file_system"]
