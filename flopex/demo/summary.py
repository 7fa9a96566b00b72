"""What the demo came to: counted from the jobs, the exchange's invariants and a replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from exchange.client import Invariants
from flopex.demo.stage import JobRow
from flopex.render.format import compute, grouped, money
from flopex.replay import Replay


@dataclass(frozen=True, slots=True)
class Summary:
    """The closing figures; the names are those of `flopex demo --json`.

    Attributes:
        jobs_submitted: Settled and failed ones together.
        jobs_settled: Ended with an accepted receipt, those cut short by their budget included.
        jobs_failed: Ended otherwise.
        tokens: Output tokens of the settled jobs.
        mflop: Compute that was billed, MFLOP.
        paid_nanos: What the buyers paid, net of refunds, nano-dollars.
        ledger_imbalance_nanos: Sum over all accounts, nano-dollars.
        overspend_nanos: Billed above any escrow or lease, nano-dollars.
        journal_records: Commands in the journal.
        replay_digest_equal: Whether the replayed journal gives the exchange's own state.
    """

    jobs_submitted: int
    jobs_settled: int
    jobs_failed: int
    tokens: int
    mflop: int
    paid_nanos: int
    ledger_imbalance_nanos: int
    overspend_nanos: int
    journal_records: int
    replay_digest_equal: bool

    @property
    def good(self) -> bool:
        """Whether nothing failed and everything that must hold does."""
        return (
            self.jobs_failed == 0
            and self.ledger_imbalance_nanos == 0
            and self.overspend_nanos == 0
            and self.replay_digest_equal
        )

    def fields(self) -> dict[str, int | bool]:
        """As JSON has them."""
        return asdict(self)


def summarize(jobs: Iterable[JobRow], invariants: Invariants, replay: Replay) -> Summary:
    """The closing figures. A receipt that does not hold makes its job a failed one."""
    jobs = list(jobs)
    settled = [job for job in jobs if job.state == "settled" and job.receipt_good]
    return Summary(
        jobs_submitted=len(jobs),
        jobs_settled=len(settled),
        jobs_failed=len(jobs) - len(settled),
        tokens=sum(job.tokens for job in settled),
        mflop=sum(job.flops for job in settled) // 10**6,
        paid_nanos=sum(job.paid_nanos for job in jobs),
        ledger_imbalance_nanos=invariants.ledger_imbalance_nanos,
        overspend_nanos=invariants.overspend_nanos,
        journal_records=invariants.journal_records,
        replay_digest_equal=(
            not invariants.failure
            and replay.sequence == invariants.journal_records
            and replay.digest == invariants.digest
        ),
    )


def closing_lines(summary: Summary, replay: Replay, earned_nanos: int) -> list[tuple[str, str]]:
    """The closing statement, as names and values."""
    equal = "the same state" if summary.replay_digest_equal else "ANOTHER STATE"
    equal += f" ({replay.digest.hex()[:16]})"
    return [
        ("jobs settled", f"{summary.jobs_settled} of {summary.jobs_submitted}"),
        ("tokens", grouped(summary.tokens)),
        ("compute", f"{compute(summary.mflop)} ({grouped(summary.mflop)} MFLOP)"),
        ("buyers paid", money(summary.paid_nanos)),
        ("workers earned", money(earned_nanos)),
        ("sum over all accounts", money(summary.ledger_imbalance_nanos)),
        ("billed above any escrow", money(summary.overspend_nanos)),
        (
            "journal replayed",
            f"{grouped(replay.sequence)} records in {replay.seconds:.2f} s: {equal}",
        ),
    ]
