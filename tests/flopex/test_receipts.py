from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from exchange.metering import signing
from exchange.metering.cards import SMOLLM2_135M
from exchange.metering.costs import cost_nanos
from exchange.metering.receipts import ReceiptBody
from exchange.metering.traces import DenseTrace, flops
from flopex.cli.output import plain
from flopex.receipts import (
    ReceiptFacts,
    ReceiptUnreadable,
    check_receipt,
    check_replay,
    facts_from_json,
    read_receipt,
    shipped_cards,
    verdict,
)
from worker.model.shipped import shipped_card, shipped_policy, shipped_sizes

PRIVATE = signing.generate_key()
OUTPUT = "A market is a place."
TRACE = DenseTrace(40, 9)
FLOPS = flops(SMOLLM2_135M, TRACE)
BODY = ReceiptBody(
    lease_id=7,
    fence_epoch=1,
    fence_sequence=99,
    cause=1,
    flops=FLOPS,
    seed=0,
    model_digest=SMOLLM2_135M.digest(),
    input_digest=bytes(32),
    output_digest=hashlib.sha256(OUTPUT.encode()).digest(),
    trace=TRACE.encode(),
)


def facts(body: ReceiptBody = BODY, **changes: Any) -> ReceiptFacts:
    signed = body.signed_bytes()
    made = ReceiptFacts(
        lease_id=7,
        job_id=3,
        worker="w",
        public_key=signing.public_key(PRIVATE),
        signed_bytes=signed,
        signature=signing.sign(PRIVATE, signed),
        flops=FLOPS,
        price_nanos=300_000,
        billed_nanos=cost_nanos(300_000, FLOPS),
        accepted=True,
        stop_cause="finished",
        model_card=SMOLLM2_135M.encode(),
    )
    return dataclasses.replace(made, **changes)


def wrong(found: ReceiptFacts, **options: Any) -> list[str]:
    return [f.check for f in check_receipt(found, **options) if f.good is False]


def test_an_honest_receipt_passes_every_check() -> None:
    findings = check_receipt(facts(), OUTPUT, signing.public_key(PRIVATE))
    assert {f.check for f in findings if not f.good} == {"not signed"}
    assert verdict(findings)


def test_what_is_not_at_hand_is_said_not_to_be_checked() -> None:
    findings = check_receipt(facts())
    assert {f.check for f in findings if f.good is None} == {"worker's key", "output", "not signed"}
    assert verdict(findings)


def test_every_lie_is_found() -> None:
    other = signing.public_key(signing.generate_key())
    assert wrong(facts(signature=bytes(64))) == ["signature"]
    assert wrong(facts(public_key=other)) == ["signature"]
    assert wrong(facts(), public_key=other) == ["worker's key", "signature"]
    assert wrong(facts(), output="Another answer.") == ["output"]
    assert wrong(facts(billed_nanos=1)) == ["bill"]
    assert wrong(facts(flops=FLOPS + 1)) == ["FLOPs"]
    assert wrong(facts(BODY._replace(flops=FLOPS + 1))) == ["FLOPs"]
    assert wrong(facts(BODY._replace(lease_id=8))) == ["lease"]
    assert wrong(facts(BODY._replace(cause=2))) == ["stop cause"]
    assert wrong(facts(stop_cause="length")) == ["stop cause"]
    assert wrong(facts(stop_cause="unspecified")) == ["stop cause"]
    assert wrong(facts(BODY._replace(trace=b"what?"))) == ["FLOPs"]
    assert wrong(facts(accepted=False)) == ["bill"]


def test_the_line_end_that_a_saved_answer_gained_is_no_lie() -> None:
    (saved,) = (f for f in check_receipt(facts(), f"{OUTPUT}\n") if f.check == "output")
    assert saved.good
    assert saved.detail.endswith("has the signed digest without its last line end")
    assert wrong(facts(), output=f"{OUTPUT}\n\n") == ["output"]
    # An answer that ends with a line end of its own keeps it.
    ended = facts(BODY._replace(output_digest=hashlib.sha256(b"Yes.\n").digest()))
    assert wrong(ended, output="Yes.\n") == wrong(ended, output="Yes.\n\n") == []
    assert wrong(ended, output="Yes.") == ["output"]


def test_a_refused_receipt_need_not_tell_its_cause() -> None:
    refused = facts(accepted=False, billed_nanos=0, stop_cause="unspecified")
    findings = {f.check: f.good for f in check_receipt(refused)}
    assert findings["stop cause"] is None
    assert wrong(dataclasses.replace(refused, stop_cause="length")) == ["stop cause"]


def test_a_cause_of_a_newer_exchange_is_unspecified() -> None:
    assert wrong(facts(BODY._replace(cause=99), stop_cause="unspecified")) == []
    assert wrong(facts(BODY._replace(cause=99))) == ["stop cause"]


def test_what_nobody_signed_is_said_in_one_line() -> None:
    said = [f.detail for f in check_receipt(facts()) if f.check == "not signed"]
    assert said == ["job, worker's name, price, acceptance: the exchange's word alone"]


def test_another_model_card_than_the_shipped_one_is_found() -> None:
    import msgspec

    cheaper = msgspec.structs.replace(SMOLLM2_135M, layers=60).encode()
    assert wrong(facts(model_card=cheaper)) == ["model", "model card", "FLOPs", "bill"]
    assert wrong(facts(model_card=b"{}")) == ["contents"]


def test_a_receipt_survives_the_way_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps({**plain(facts()), "type": "receipt"}))
    assert read_receipt(path) == facts()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", json.dumps({**plain(facts()), "flops": "many"})]
)
def test_what_is_no_receipt_is_refused(content: str) -> None:
    with pytest.raises(ReceiptUnreadable):
        facts_from_json(content.encode())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"accepted": "false"}, "accepted must be"),
        ({"accepted": 1}, "accepted must be"),
        ({"price_nanos": -5, "billed_nanos": 0}, "price_nanos must be"),
        ({"price_nanos": 1.0}, "price_nanos must be"),
        ({"price_nanos": 10**4_000}, "price_nanos must be"),
        ({"job_id": True}, "job_id must be"),
        ({"worker": 7}, "worker must be"),
        ({"worker": "\x1b[2J"}, "worker must be"),
        ({"worker": "\ud800"}, "worker must be"),
        ({"stop_cause": None}, "stop_cause must be"),
        ({"signature": 7}, "not a receipt"),
    ],
)
def test_what_only_looks_like_a_fact_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ReceiptUnreadable, match=why):
        facts_from_json(json.dumps({**plain(facts()), **changes}).encode())


def test_json_nested_too_deep_is_refused() -> None:
    with pytest.raises(ReceiptUnreadable):
        facts_from_json(b"[" * 100_000)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReceiptUnreadable, match="cannot read"):
        read_receipt(tmp_path / "none")


@pytest.mark.parametrize("size", shipped_sizes())
def test_the_model_of_the_receipts_size_is_run_again(size: str) -> None:
    from worker.model.shipped import load_adaptive
    from worker.model.thinking import Request, think
    from worker.model.vocabulary import read

    card, question = shipped_card(size), "Ann has the key. Ben has the cup. What does Ben have?"
    request = Request(read(question).tokens, 10**9, shipped_policy(size))
    trace = think(load_adaptive(size=size), [request])[0].trace()
    found = flops(card, trace)
    body = BODY._replace(flops=found, model_digest=card.digest(), trace=trace.encode())
    receipt = facts(
        body, flops=found, billed_nanos=cost_nanos(300_000, found), model_card=card.encode()
    )
    assert wrong(receipt) == []
    assert check_replay(receipt, question).good is True
    assert check_replay(receipt, "Ann has the cup. Ben has the key. What does Ben have?").good is (
        False
    )
    other = facts(body._replace(model_digest=bytes(32)))
    assert check_replay(other, question).good is None


def test_every_size_that_is_sold_has_a_card_to_enter() -> None:
    assert {f"adaptive-{size}" for size in shipped_sizes()} < set(shipped_cards())
