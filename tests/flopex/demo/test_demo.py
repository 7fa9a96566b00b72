"""The demo as its users run it: a process of its own, judged by its last line and exit status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from flopex.demo.scenario import BUYERS
from flopex.replay import replay_journal
from tests.waiting import WITHIN_S
from worker.model.tasks.splits import split_of
from worker.model.vocabulary import canonical

KEYS = {
    "jobs_submitted",
    "jobs_settled",
    "jobs_failed",
    "tokens",
    "mflop",
    "paid_nanos",
    "ledger_imbalance_nanos",
    "overspend_nanos",
    "journal_records",
    "replay_digest_equal",
}
ONCE = ("--once", "--json")
TRIES = 5
QUESTIONS = sum(bool(job.right_answer) for buyer in BUYERS for job in buyer.jobs)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@contextmanager
def demo(
    tmp_path: Path, *arguments: str, engine: str = "instant"
) -> Iterator[subprocess.Popen[str]]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOPEX_", "XDG_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "flopex", "demo", "--engine", engine, *arguments],
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def descendants(pid: int) -> dict[int, str]:
    """Every process below this one, with its command line."""
    found: dict[int, str] = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends meanwhile
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in map(int, children):
            line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found[child] = line
            found |= descendants(child)
    return found


def wait_until_gone(pids: set[int]) -> None:
    give_up = time.monotonic() + WITHIN_S
    while left := {pid for pid in pids if is_alive(pid)}:
        assert time.monotonic() < give_up, f"still there: {left}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Lines of stderr up to the first that holds `text`."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} never came:\n{''.join(lines)}")


def assert_good(out: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert set(figures) == KEYS
    assert figures["jobs_failed"] == 0
    assert figures["jobs_submitted"] == figures["jobs_settled"] > 0
    assert figures["ledger_imbalance_nanos"] == figures["overspend_nanos"] == 0
    assert figures["replay_digest_equal"] is True
    assert min(figures["tokens"], figures["mflop"], figures["paid_nanos"]) > 0
    return figures


def test_once_settles_every_job_and_replays_to_the_same_state(tmp_path: Path) -> None:
    with demo(tmp_path, *ONCE) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 1
    assert_good(out)
    assert "INSTANT: no model runs" in err
    assert ", budget; signature and FLOPs verified" in err
    assert err.count("signature and FLOPs verified") == 10 + QUESTIONS
    assert len(re.findall(r" (?:right|wrong) +[0-9]+ +[0-9,]+ ", err)) == QUESTIONS
    assert list(tmp_path.glob("flopex-demo-*")) == []


def kill_one(folder: Path, after: str, named: str, died: str) -> tuple[str, str]:
    """What a demo says one of whose processes is killed; once more where it was over before."""
    for attempt in range(TRIES):
        with demo(folder, *ONCE, "--data", str(folder / f"data-{attempt}")) as process:
            read_until(process, after)
            for pid, line in descendants(process.pid).items():
                if named in line:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            out, err = process.communicate()
        assert process.returncode == 0, err
        if died in err:
            (folder / f"data-{attempt}").rename(folder / "data")
            return out, err
    raise AssertionError(f"{died!r} was never said:\n{err}")


def test_a_killed_exchange_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"
    out, err = kill_one(tmp_path, "receipt", " serve ", "the exchange died (exit status -9)")
    assert "started again in the same data directory" in err
    figures = assert_good(out)
    replay = replay_journal(data / "journal", figures["journal_records"])
    assert replay.imbalance_nanos == 0


def test_a_killed_worker_is_told_and_started_again(tmp_path: Path) -> None:
    out, _ = kill_one(tmp_path, " -> ", "old-laptop", "worker old-laptop died (exit status -9)")
    assert_good(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_demo(tmp_path: Path, number: signal.Signals) -> None:
    for _ in range(TRIES):
        with demo(tmp_path, *ONCE) as process:
            read_until(process, " -> ")
            children = set(descendants(process.pid))
            process.send_signal(number)
            _, err = process.communicate()
            wait_until_gone(children)
        if process.returncode != 0:  # else it was over before the signal
            break
    assert len(children) == 5  # exchange, feed of the read model, three workers
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in err
    if number != signal.SIGKILL:
        assert list(tmp_path.glob("flopex-demo-*")) == []


def test_it_stays_up_with_a_funded_key_until_it_is_interrupted(tmp_path: Path) -> None:
    with demo(tmp_path, "--json") as process:
        assert process.stdout is not None
        opened = json.loads(process.stdout.readline())
        assert opened["type"] == "open"
        target = ("--target", opened["address"])
        bought = subprocess.run(
            [
                *(sys.executable, "-m", "flopex", "submit", "Hello.", "--model", "instant"),
                *("--value", "0.001", "--max-tokens", "3", *target),
            ],
            env={**os.environ, "FLOPEX_KEY": opened["key"]},
            check=True,
            capture_output=True,
            text=True,
        )
        assert bought.stdout == "token token token \n"
        book = subprocess.run(
            [
                *(sys.executable, "-m", "flopex", "book", opened["paper_instrument"], "--json"),
                *target,
            ],
            env={**os.environ, "FLOPEX_KEY": opened["paper_key"]},
            check=True,
            capture_output=True,
            text=True,
        )
        assert json.loads(book.stdout)["asks"]
        with OpenAI(api_key=opened["key"], base_url=opened["openai_base_url"]) as client:
            # Your account has a default value: nothing needs to be said of money.
            answer = client.completions.create(model="instant", prompt="Hello.", max_tokens=3)
        assert answer.choices[0].text == "token token token "
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert_good(out)


def test_a_folder_that_is_not_a_demos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "journal").touch()
    with demo(tmp_path, *ONCE, "--data", "real") as process:
        out, err = process.communicate()
    assert process.returncode == 2
    assert json.loads(err.splitlines()[-1])["error"]["reason"] == "FOLDER"
    assert out == ""


@pytest.mark.model
def test_the_real_model_answers_every_buyer(tmp_path: Path) -> None:
    with demo(tmp_path, "--once", "--json", engine="llama") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    figures = assert_good(out)
    assert figures["mflop"] > 10_000
    assert "INSTANT" not in err


def test_no_question_to_the_adaptive_model_was_trained_on() -> None:
    asked = [job for buyer in BUYERS for job in buyer.jobs if job.right_answer]
    assert len(asked) >= 5
    assert {split_of(canonical(job.prompt)) for job in asked} == {"test"}
