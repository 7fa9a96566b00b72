"""A recorded demand under other rules: the same market where nothing was changed."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.rules import LIVE_RULES, Rules
from sim.recording import Recording
from sim.settings import AS_RECORDED, SettingError, Settings, parse_settings
from sim.whatif import play
from tests.sim.records import BUYER, Hand, simulated_record


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulated_record().recording


def hand_record() -> Hand:
    """Three jobs: one answered in half of the promised time, one cancelled, one never started."""
    hand = Hand()
    hand.job()
    first = hand.start()
    hand.settle(first, tokens=20, after_ms=3_000)
    hand.job()
    hand.start()
    hand.give(c.CancelJob(BUYER, 2), after_ms=1_000)
    hand.give(after_ms=10_000)  # the worker never answers: the job ends cancelled
    hand.job(seconds=8)
    hand.give(after_ms=60_000)
    return hand


def test_workers_that_do_what_played_ones_do_give_the_same_market(recording: Recording) -> None:
    played = play(recording, AS_RECORDED)
    assert played.summary == recording.tally.summary()
    assert recording.tally.ends["settled"] > 50
    assert recording.tally.ends["expired"] > 0
    assert play(recording, AS_RECORDED) == played


def test_a_record_written_by_hand_is_counted_as_it_was() -> None:
    recording = hand_record().recorder.recording
    told = recording.tally.summary()
    assert (told["submitted"], told["settled"], told["cancelled"]) == (3, 1, 1)
    assert (told["expired"], told["open"], told["failed_attempts"]) == (1, 0, 2)
    assert told["value_nanos"] == 10**6
    # 119 tokens of a MFLOP each, at the first slot's ask: 119.357 nano-dollars.
    assert (told["mflop"], told["paid_nanos"]) == (119, 120)
    assert told["price_nanos"] == 120 * 10**6 // 119
    assert told["welfare_nanos"] == 10**6 - told["paid_nanos"]
    assert told["answer_p50_ms"] - told["wait_p50_ms"] == 3_001
    (done,) = recording.done.values()
    assert (done.tokens_given, done.share) == (20, 0.4)
    assert done.pace == pytest.approx(3_001 / 6_000, rel=1e-3)


def test_played_workers_do_what_the_receipts_told() -> None:
    recording = hand_record().recorder.recording
    played = play(recording, AS_RECORDED)
    told = played.summary
    # The third job was never answered, and gets the typical work: so it is answered now.
    assert (told["settled"], told["cancelled"], told["expired"]) == (2, 1, 0)
    assert played.guessed == 2
    # 119 and 119 tokens, and what the cancelled one had done after a second: a third of 20.
    assert told["mflop"] == 119 + 119 + 100 + 5
    assert told["answer_p50_ms"] == pytest.approx(3_001, abs=15)


@pytest.mark.parametrize("loss", [c.WorkerLost(1), c.LeaveWorker(1)])
def test_a_lost_worker_is_lost_again(loss: c.Command) -> None:
    hand = Hand()
    hand.job(seconds=20)
    hand.start()
    hand.give(loss, after_ms=100)
    hand.give(after_ms=60_000)
    recording = hand.recorder.recording
    assert recording.tally.summary()["failed_attempts"] == 1
    played = play(recording, AS_RECORDED)
    assert (played.summary["failed_attempts"], played.summary["expired"]) == (1, 1)


def test_a_job_that_takes_too_long_is_stopped() -> None:
    hand = Hand()
    hand.job()
    hand.settle(hand.start(), tokens=50, after_ms=20_000)  # more than thrice what was promised
    recording = hand.recorder.recording
    hurried = Recording()
    hurried.__dict__.update(recording.__dict__)
    hurried.commands = [
        at._replace(command=_hurried(at.command)) if isinstance(at.command, c.SubmitJob) else at
        for at in recording.commands
    ]
    told = play(hurried, AS_RECORDED).summary
    assert (told["settled"], told["value_nanos"]) == (1, 0)
    assert 100 < told["mflop"] < 149


def _hurried(terms: c.SubmitJob) -> c.SubmitJob:
    import msgspec

    return msgspec.structs.replace(terms, deadline_within_ns=10 * NS_PER_S)


@pytest.mark.parametrize("texts", [["workers=1"], ["slots=1"], ["k_ms=1"]])
def test_a_worse_market_answers_less(texts: list[str], recording: Recording) -> None:
    plain, worse = (play(recording, one) for one in (AS_RECORDED, parse_settings(texts)))
    assert worse.summary["settled"] < plain.summary["settled"]
    assert worse.summary["welfare_nanos"] < plain.summary["welfare_nanos"]
    assert worse.summary["submitted"] == plain.summary["submitted"]


def test_more_workers_are_copies_that_sell(recording: Recording) -> None:
    plain, more = (play(recording, parse_settings(t)) for t in (["workers=3"], ["workers=9"]))
    assert play(recording, AS_RECORDED) == plain  # there are three
    assert more.summary["expired"] < plain.summary["expired"] / 2
    assert more.summary["price_nanos"] < plain.summary["price_nanos"]


def test_clearing_at_once_waits_less_than_long_batches(recording: Recording) -> None:
    settings = [["clearing=continuous"], ["batch_period_ms=1000"]]
    waits = [play(recording, parse_settings(t)).summary["wait_p50_ms"] for t in settings]
    assert waits[0] + 100 < waits[1]


def test_the_tick_is_that_of_quotes_and_instruments() -> None:
    hand = Hand()
    hand.job()
    hand.settle(hand.start(), tokens=20, after_ms=100)
    recording = hand.recorder.recording
    told = play(recording, parse_settings(["tick=100000"])).summary
    assert told["paid_nanos"] == -(-1_100_000 * 119 // 10**6)
    with pytest.raises(SettingError, match="tick=200000000: no price of instant/cpu/interactive"):
        play(recording, parse_settings(["tick=200000000"]))


def test_jobs_ask_for_another_tier() -> None:
    hand = Hand()
    for tier in ("interactive", "batch"):
        hand.job(tier=tier)
        hand.settle(hand.start(), tokens=20, after_ms=100)
    recording = hand.recorder.recording
    assert set(recording.tally.summary()["prices"]) == {
        "instant/cpu/interactive", "instant/cpu/batch"
    }  # fmt: skip
    told = play(recording, parse_settings(["tier=batch"])).summary
    assert set(told["prices"]) == {"instant/cpu/batch"}
    unknown = play(recording, parse_settings(["tier=weekend"])).summary
    assert unknown["prices"].keys() == recording.tally.summary()["prices"].keys()


def test_settings_are_written_as_name_and_value() -> None:
    texts = ["clearing=continuous", "k_ms=500", "tick=7", "tier=batch", "workers=4", "slots=2"]
    assert parse_settings(texts) == Settings(Rules(1, 500 * NS_PER_MS), 7, "batch", 4, 2)
    assert parse_settings(["clearing=batch"]) == AS_RECORDED == Settings(LIVE_RULES)
    assert parse_settings(["k_ms=5", "k_ms=6"]).rules.ramp_ns == 6 * NS_PER_MS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fee=3", "fee cannot be set: the exchange takes no fee; can be set: clearing="),
        ("audit_rate=0.1", "there are no audits yet"),
        ("colour=red", "there is no such setting"),
        ("workers", "write workers=N"),
        ("workers=0", "does not lie between 1 and 100000"),
        ("slots=1025", "between 1 and 1024"),
        ("tick=many", "write tick=NANOS"),
        ("clearing=random", "is no way of clearing leases"),
        ("tier=", "a name is needed"),
        ("batch_period_ms=3600001", "between 1 and 3600000"),
    ],
)
def test_what_cannot_be_set_is_said(text: str, says: str) -> None:
    with pytest.raises(SettingError, match=says.replace("(", r"\(")):
        parse_settings([text])
