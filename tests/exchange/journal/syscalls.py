"""A writer in a process of its own whose system calls fail, or kill it, at a chosen one (strace).

The simulated disk fails where the journal's seam is; here the kernel's side of the seam fails, so
that `exchange.journal.files` and `exchange.journal.writers` are judged too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from exchange.journal import FIRST_SEQUENCE, GroupRecord, JournalWriteFailed
from exchange.journal.files import OsFileSystem
from exchange.journal.writers import WriteMode
from tests.exchange.journal.runs import make_group, must_be_poisoned, open_test_log

ROOT = Path(__file__).parents[3]
CALLS = (
    "pwrite64", "io_submit", "io_getevents", "fdatasync", "fsync", "rename", "ftruncate",
)  # fmt: skip
"""All that a writer changes the disk by, but for opening files."""
FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")
GROUPS = 12
STOPPED = 3
"""Exit status of a writer that met JournalWriteFailed, as the server's process would end."""
KILLED = -9
SECONDS_MAX = 60


class Ended(NamedTuple):
    """How a writer ended, and how many groups it had acknowledged."""

    status: int
    acknowledged: int
    calls: Counter[str]


def tracing_works() -> bool:
    """Whether strace is here and allowed to trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], check=False).returncode == 0


def run_writer(folder: Path, mode: WriteMode, inject: str = "") -> Ended:
    """Run a writer under strace; `inject` is what strace shall do to which call."""
    log = folder.with_suffix(".trace")
    arguments = ["strace", "-f", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    if inject:
        arguments += ["-e", f"inject={inject}"]
    done = subprocess.run(
        [*arguments, sys.executable, "-B", "-m", __spec__.name, str(folder), mode],
        check=False,
        capture_output=True,
        cwd=ROOT,
        timeout=SECONDS_MAX,
    )
    lines = done.stdout.split()
    acknowledged = int(lines[-1]) if lines else 0
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))
    log.unlink()
    return Ended(done.returncode, acknowledged, calls)


def fail_at(folder: Path, mode: WriteMode, call: str, at: int, fault: str) -> Ended:
    """Let one call fail, and check what is found: never less than was acknowledged.

    Args:
        folder: For the journal; must not exist.
        mode: How it writes.
        call: The system call, one of CALLS.
        at: Which of them, from 1.
        fault: One of FAULTS.
    """
    ended = run_writer(folder, mode, f"{call}:{fault}:when={at}")
    where = (mode, call, at, fault, ended)
    assert ended.status == (KILLED if fault == "signal=KILL" else STOPPED), where
    with open_test_log(folder) as log:
        found = list(log.read_from(1))
        assert ended.acknowledged <= len(found) <= ended.acknowledged + 1, where
        assert found == groups(len(found)), where
        log.append(make_group(log.next_sequence))
    shutil.rmtree(folder)
    return ended


def groups(count: int) -> list[GroupRecord]:
    """The first groups that a writer appends."""
    made: list[GroupRecord] = []
    for _ in range(count):
        made.append(make_group(made[-1].next_sequence if made else FIRST_SEQUENCE))
    return made


def write(folder: Path, mode: WriteMode) -> int:
    """What the writer's process does: append, and tell each group that is durable."""
    log = None
    done = 0
    try:
        log = open_test_log(folder, files=OsFileSystem(mode))
        for done in range(1, GROUPS + 1):
            log.append(make_group(log.next_sequence))
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()
            if done % 2:
                log.prepare(1500)
    except JournalWriteFailed:
        if log is not None:
            must_be_poisoned(log)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(write(Path(sys.argv[1]), WriteMode(sys.argv[2])))
