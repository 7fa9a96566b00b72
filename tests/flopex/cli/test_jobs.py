from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.client import Job
from flopex.cli.receipt import _is_kept
from tests.flopex.cli.conftest import INTERACTIVE, MODEL, Site, read_line
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.integration

SUBMIT = ("submit", "--model", MODEL, "--value", "0.001")


def test_submit_streams_the_answer_and_prints_its_bill(site: Site, worker: str) -> None:
    result = site.flopex(*SUBMIT, "Say something.", "--max-tokens", "5")
    assert result.code == 0
    assert result.out == "token token token token token \n"
    assert "settled: $0.0000000" in result.err
    assert "cut short by its --max-tokens" in result.err


def test_a_prompt_can_come_from_stdin_and_the_stream_as_json(site: Site, worker: str) -> None:
    result = site.flopex(*SUBMIT, "-", "--max-tokens", "3", "--json", stdin="Say something.")
    assert result.code == 0
    assert result.err == ""
    *updates, summary = result.lines()
    assert {u["type"] for u in updates} == {"job", "output"}
    assert "".join(u["text"] for u in updates if u["type"] == "output") == "token " * 3
    assert summary["type"] == "summary"
    assert summary["job"]["state"] == "settled"
    assert summary["job"]["paid_nanos"] > 0
    shown = site.flopex("jobs", str(summary["job"]["job_id"]), "--json").object()
    assert shown["output"] == "token " * 3
    assert shown["job"]["job_id"] == summary["job"]["job_id"]


def test_a_budget_cuts_the_answer_short_and_the_job_settles(site: Site, worker: str) -> None:
    result = site.flopex(*SUBMIT, "Hello.", "--budget", "30 MFLOP", "--max-tokens", "99")
    assert result.code == 0
    assert "cut short by its compute budget" in result.err


def test_a_job_with_legs_runs_on_one_of_them(site: Site, worker: str) -> None:
    rates = ("--prefill", "1000", "--decode", "1000", "--context", "1000", "--max", "1")
    site.admin("instrument", "instant/cpu/batch", *rates)
    legs = ("--leg", f"{INTERACTIVE}:1 nanos:40 MFLOP", "--leg", "instant/cpu/batch::")
    result = site.flopex("submit", "Hi.", *legs, "--value", "0.001", "--detach", "--json")
    job = result.object()
    assert [leg["limit_nanos"] for leg in job["legs"]] == [1, 0]
    assert job["legs"][0]["quantity_mflop"] == 40
    shown = site.flopex("jobs", str(job["job_id"])).out
    assert f"{INTERACTIVE}, 40 MFLOP, up to" in shown
    assert "by the value" in shown
    site.flopex("cancel", str(job["job_id"]))
    result = site.flopex("submit", "Hi.", "--leg", f"{INTERACTIVE}:0.9:", "--max-tokens", "2")
    assert (result.code, result.out) == (0, "token token \n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--leg", "a:b:c:d"),
        ("--leg", ":1 nanos:5"),
        ("--leg", f"{INTERACTIVE}:many:5"),
        ("--leg", INTERACTIVE),
        ("--leg", f"{INTERACTIVE}:1 nanos", "--tier", "batch"),
        ("--leg", f"{INTERACTIVE}:1 nanos", "--limit", "1 nanos"),
    ],
)
def test_what_is_no_leg_is_a_mistake_of_usage(site: Site, arguments: tuple[str, ...]) -> None:
    assert site.flopex("submit", "Hi.", *arguments).code == 2


def test_jobs_are_listed_newest_first(site: Site, worker: str) -> None:
    for _ in range(2):
        assert site.flopex(*SUBMIT, "Hello.", "--max-tokens", "1").code == 0
    found = site.flopex("jobs", "--limit", "2", "--json").object()["jobs"]
    assert [job["state"] for job in found] == ["settled", "settled"]
    assert found[0]["job_id"] > found[1]["job_id"]
    table = site.flopex("jobs", "--limit", "2").out
    assert "settled" in table
    assert str(found[0]["job_id"]) in table


def test_a_job_that_waits_is_cancelled_without_a_bill(site: Site) -> None:
    result = site.flopex("submit", "Hi.", "--model", MODEL, "--limit", "1 nanos", "--detach")
    job = result.out.strip()
    assert site.flopex("jobs", "--open", "--json").object()["jobs"][0]["job_id"] == int(job)
    cancelled = site.flopex("cancel", job, "--json").object()
    assert (cancelled["state"], cancelled["paid_nanos"]) == ("cancelled", 0)
    again = site.flopex("cancel", job)
    assert again.code == 1
    assert again.err.startswith("error: ")


def test_ctrl_c_cancels_the_job_and_prints_its_bill(site: Site, worker: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flopex", *SUBMIT, "Go on.", "--max-tokens", "1500", "--json"],
        cwd=site.directory,
        env=dict(site.environment, FLOPEX_TARGET=site.address, FLOPEX_KEY=site.keys["ada"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while json.loads(read_line(process))["type"] != "output":
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert err == ""
    last = json.loads(out.splitlines()[-1])
    assert last["type"] == "summary"
    assert last["job"]["state"] == "cancelled"
    assert last["job"]["stop_cause"] == "cancelled"
    assert 0 < last["job"]["output_tokens"] < 1_500
    assert last["job"]["paid_nanos"] > 0


@pytest.mark.parametrize(
    ("arguments", "key", "code", "reason"),
    [
        (("submit", "Hello.", "--model", MODEL), "ada", 2, "VALUE_MISSING"),
        ((*SUBMIT, "-"), "ada", 2, "PROMPT"),
        ((*SUBMIT, " "), "ada", 2, "PROMPT"),
        ((*SUBMIT, "Hello.", "--value", "0.5"), "poor", 4, "INSUFFICIENT_FUNDS"),
        ((*SUBMIT, "Hello.", "--model", "gpt-9"), "ada", 6, "UNKNOWN_MODEL"),
        ((*SUBMIT, "Hello.", "--tier", "golden"), "ada", 6, "UNKNOWN_INSTRUMENT"),
        ((*SUBMIT, "Hello.", "--deadline", "1ns"), "ada", 1, "DEADLINE_INFEASIBLE"),
        ((*SUBMIT, "Hello."), "owner", 5, "ROLE_MISSING"),
        ((*SUBMIT, "Hello."), "", 5, "KEY_MISSING"),
        (("cancel", "999999"), "ada", 6, "UNKNOWN_JOB"),
        (("jobs", "999999"), "ada", 6, "UNKNOWN_JOB"),
        (("receipt", "show", "999999"), "ada", 6, "UNKNOWN_LEASE"),
    ],
)
def test_each_refusal_has_its_exit_code_and_reason(
    site: Site, arguments: tuple[str, ...], key: str, code: int, reason: str
) -> None:
    result = site.flopex(*arguments, "--json", key=key)
    assert (result.code, result.error()["reason"]) == (code, reason)
    assert result.out == ""


@pytest.mark.parametrize(
    ("option", "amount"),
    [
        ("--max-cost", "0"),
        ("--budget", "0 CU"),
        ("--limit", "0 nanos"),
        ("--value", "-1"),
        ("--deadline", "0s"),
    ],
)
def test_a_cap_of_zero_is_wrong_usage_and_not_no_cap(site: Site, option: str, amount: str) -> None:
    result = site.flopex("submit", "Hello.", "--model", MODEL, "--max-cost", "1", option, amount)
    assert result.code == 2
    assert option in result.err
    assert "more than zero" in result.err


def test_an_exchange_that_is_not_there_is_said_so(site: Site) -> None:
    result = site.flopex("account", "--target", "127.0.0.1:9")
    assert result.code == 3
    error, hint = result.err.splitlines()
    assert error == "error: cannot reach an exchange at 127.0.0.1:9"
    assert hint.startswith("       is it running? start one with: flopex serve; or name another")


@pytest.mark.parametrize("target", ["http://127.0.0.1:7411", "localhost", "127.0.0.1:"])
def test_a_target_that_is_no_host_and_port_is_wrong_usage(site: Site, target: str) -> None:
    result = site.flopex("account", "--target", target, "--json")
    assert (result.code, result.error()["reason"]) == (2, "TARGET")


def test_a_job_that_expired_says_what_it_bid_and_what_is_asked(site: Site, worker: str) -> None:
    little = ("submit", "Hello.", "--model", MODEL, "--limit", "1 nanos", "--max-tokens", "4")
    result = site.flopex(*little, "--deadline", "2s")
    assert result.code == 1
    why = result.err.splitlines()[-1].partition("flopex ")[2].removesuffix(" tells more")
    assert "it bid less than the workers ask: raise --value" in result.err
    shown = site.flopex(*why.split()).out
    assert "it bid at most" in shown
    assert f"what the cheapest slot of {INTERACTIVE} costs now" in " ".join(shown.split())


def test_a_receipt_is_verified_here_and_from_a_file(
    site: Site, worker: str, tmp_path: Path
) -> None:
    submitted = site.flopex(*SUBMIT, "Hello.", "--max-tokens", "4", "--json").lines()
    job = str(submitted[-1]["job"]["job_id"])
    verified = site.flopex("receipt", "verify", job, "--json").object()
    assert verified["valid"] is True
    checks = {c["check"]: c["good"] for c in verified["checks"]}
    assert checks["signature"] is checks["FLOPs"] is checks["output"] is checks["bill"] is True
    shown = site.flopex("receipt", "show", job, "--json")
    path = tmp_path / "receipt.json"
    path.write_text(shown.out)
    key = shown.object()["public_key"]
    good = site.flopex("receipt", "verify", "--file", str(path), "--public-key", key, key="")
    assert good.code == 0
    assert "the receipt holds" in good.out
    forged = {**shown.object(), "billed_nanos": shown.object()["billed_nanos"] + 1}
    path.write_text(json.dumps(forged))
    bad = site.flopex("receipt", "verify", "--file", str(path), key="")
    assert bad.code == 1
    assert "WRONG" in bad.out
    assert site.flopex("receipt", "verify", key="").code == 2


def test_an_answer_that_is_kept_no_more_is_not_checked_rather_than_wrong() -> None:
    job = Job(**{field.name: 0 for field in dataclasses.fields(Job)})  # type: ignore[arg-type]
    written = dataclasses.replace(job, output_tokens=3)
    assert not _is_kept(written, "")
    assert _is_kept(written, "Blue")
    assert _is_kept(job, ""), "nothing was written, and that is what was signed"


def test_a_worker_is_paused_and_resumed_by_its_owner(site: Site, worker: str) -> None:
    assert site.flopex("worker", "pause", worker, key="owner").out == "worker swift: paused\n"
    status = site.flopex("worker", "status", worker, "--json", key="owner").object()
    assert status["workers"][0]["state"] == "paused"
    assert site.flopex("worker", "resume", worker, key="owner").out == "worker swift: ready\n"
    assert INTERACTIVE in site.flopex("worker", "status", worker, key="owner").out
    missing = site.flopex("worker", "status", "nobody", key="owner")
    assert missing.code == 6
    assert site.flopex("worker", "drain", "nobody", key="owner").code == 6


def test_why_a_job_waits_and_what_another_one_paid(site: Site, worker: str) -> None:
    waiting = site.flopex(*SUBMIT[:3], "Hi.", "--limit", "1 nanos", "--detach", "--json").object()
    shown = site.flopex("why", "job", str(waiting["job_id"])).out
    assert shown.startswith(f"queued: the cheapest slot of {INTERACTIVE} costs 1000, and it bids 1")
    assert "- a limit of 1000 pays that" in shown
    site.flopex("cancel", str(waiting["job_id"]))
    done = site.flopex(*SUBMIT, "Hi.", "--max-tokens", "1", "--json").lines()[-1]["job"]
    told = site.flopex("why", "job", str(done["job_id"]), "--json").object()
    assert told["attempts"][0]["billed_nanos"] == done["paid_nanos"]
    assert told["alternatives"][0]["chosen"] is True
    assert "ran in" in site.flopex("why", "job", str(done["job_id"])).out
    assert site.flopex("why", "job", "999999").code == 6


def test_why_an_order_would_not_fill_and_a_worker_waits(site: Site, worker: str) -> None:
    asked = ("why", "order", "bid", INTERACTIVE)
    assert site.flopex(*asked).out.startswith("yes: it gets a slot in the next batch, at 1000")
    told = site.flopex(*asked, "--price", "999 nanos", "--quantity", "5 MFLOP", "--json").object()
    assert (told["fillable"], told["price_needed_nanos"]) == (False, 1_000)
    shown = site.flopex("why", "worker", worker, key="owner").out
    assert shown.startswith(f"ready: no job waits for {INTERACTIVE}")
    assert site.flopex("why", "worker", "none", key="owner").code == 6
