"""Checking a receipt without trusting the exchange: signature, FLOPs, bill, output.

All that is needed is the stored receipt: the bytes that the worker signed, the signature, the
worker's public key, and the model card. The exchange's own findings are compared, never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.core.commands import StopCause
from exchange.metering import signing
from exchange.metering.adaptive import AdaptiveTrace, inconsistencies
from exchange.metering.cards import INSTANT, SMOLLM2_135M, CardError, ModelCard, decode_card
from exchange.metering.costs import cost_nanos
from exchange.metering.receipts import ReceiptBody, ReceiptError, parse_signed_bytes
from exchange.metering.traces import DenseTrace, TraceError, decode_trace, flops
from worker.model.errors import WeightsError
from worker.model.shipped import shipped_card, shipped_sizes

if TYPE_CHECKING:
    from exchange.client import Receipt

RECEIPT_BYTES_MAX: Final = 4 << 20
_HEX_FIELDS: Final = ("public_key", "signed_bytes", "signature", "model_card")
_NUMBER_FIELDS: Final = ("lease_id", "job_id", "flops", "price_nanos", "billed_nanos")
_NUMBER_MAX: Final = (1 << 64) - 1
_NO_CAUSE: Final = "unspecified"
"""What the exchange tells of a refused receipt's cause, and of one that this version knows not."""


def shipped_cards() -> dict[str, ModelCard]:
    """The cards that come with this version, by name.

    Those of the adaptive model hold their weights' digests, and are left out where these are
    missing.
    """
    cards = [SMOLLM2_135M, INSTANT]
    with contextlib.suppress(WeightsError):
        cards += [shipped_card(size) for size in shipped_sizes()]
    return {card.name: card for card in cards}


class ReceiptUnreadable(ValueError):
    """The file or the answer holds no receipt."""


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """A receipt as it is stored or exported; units as in `exchange.v1.StoredReceipt`.

    Attributes:
        stop_cause: Why the engine stopped, by its name in lower case.
    """

    lease_id: int
    job_id: int
    worker: str
    public_key: bytes
    signed_bytes: bytes
    signature: bytes
    flops: int
    price_nanos: int
    billed_nanos: int
    accepted: bool
    stop_cause: str
    model_card: bytes


_FIELDS: Final = tuple(field.name for field in fields(ReceiptFacts))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        check: What.
        good: Whether it holds; None where it could not be checked.
        detail: The numbers behind it.
    """

    check: str
    good: bool | None
    detail: str


_UNSIGNED: Final = Finding(
    "not signed", None, "job, worker's name, price, acceptance: the exchange's word alone"
)


def facts_from_json(data: bytes) -> ReceiptFacts:
    """A receipt as `flopex receipt show --json` prints it.

    Raises:
        ReceiptUnreadable: it is not one.
    """
    try:
        found: dict[str, Any] = json.loads(data)
        values = {name: found[name] for name in _FIELDS}
        for name in _HEX_FIELDS:
            values[name] = bytes.fromhex(values[name])
        _require_types(values)
        return ReceiptFacts(**values)
    except ReceiptUnreadable:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReceiptUnreadable(f"not a receipt: {error!r}") from error


def _require_types(values: dict[str, Any]) -> None:
    """Refuse what only looks like a fact: the text "false" would count as true, -5 as a price."""
    for name in _NUMBER_FIELDS:
        if type(values[name]) is not int or not 0 <= values[name] <= _NUMBER_MAX:
            raise ReceiptUnreadable(
                f"not a receipt: {name} must be a whole number from 0 to 2^64-1"
            )
    if type(values["accepted"]) is not bool:
        raise ReceiptUnreadable("not a receipt: accepted must be true or false")
    for name in ("worker", "stop_cause"):
        # Both are shown on a terminal, which must not be told what to do.
        if type(values[name]) is not str or not values[name].isprintable():
            raise ReceiptUnreadable(f"not a receipt: {name} must be printable text")


def facts_of(receipt: Receipt) -> ReceiptFacts:
    """What is checked of a receipt that the exchange sent."""
    values = {name: getattr(receipt, name) for name in _FIELDS}
    return ReceiptFacts(**{**values, "stop_cause": receipt.stop_cause.name.lower()})


def read_receipt(path: Path) -> ReceiptFacts:
    """The receipt in a file.

    Raises:
        ReceiptUnreadable: there is none.
    """
    try:
        with path.open("rb") as file:
            return facts_from_json(file.read(RECEIPT_BYTES_MAX))
    except OSError as error:
        raise ReceiptUnreadable(f"cannot read {path}: {error.strerror}") from error


def check_receipt(
    facts: ReceiptFacts, output: str | None = None, public_key: bytes | None = None
) -> list[Finding]:
    """What holds of a receipt and what does not.

    Args:
        facts: The receipt.
        output: The answer as the buyer received it, to compare with the signed digest.
        public_key: The worker's key as known from elsewhere; without it the receipt's own is used.
    """
    findings = [_check_key(facts, public_key)]
    key = public_key or facts.public_key
    signed = signing.verify(key, facts.signature, facts.signed_bytes)
    findings.append(Finding("signature", signed, f"Ed25519, public key {key.hex()[:16]}..."))
    try:
        body = parse_signed_bytes(facts.signed_bytes)
        card = decode_card(facts.model_card)
    except (ReceiptError, CardError) as error:
        return [*findings, Finding("contents", False, str(error))]
    findings.append(
        Finding("lease", body.lease_id == facts.lease_id, f"signed for lease {body.lease_id}")
    )
    findings.append(_check_cause(facts, body))
    findings += _check_model(facts, body, card)
    findings += _check_flops(facts, body, card)
    findings.append(_check_output(body, output))
    findings.append(_UNSIGNED)
    return findings


def _check_key(facts: ReceiptFacts, public_key: bytes | None) -> Finding:
    if public_key is None:
        return Finding("worker's key", None, "taken from the receipt; pin it with --public-key")
    same = public_key == facts.public_key
    return Finding("worker's key", same, "as pinned" if same else "another key than the pinned one")


def _check_cause(facts: ReceiptFacts, body: ReceiptBody) -> Finding:
    known = body.cause in {cause.value for cause in StopCause}
    signed = StopCause(body.cause).name.lower() if known else _NO_CAUSE
    if facts.stop_cause == _NO_CAUSE and not facts.accepted:
        return Finding("stop cause", None, f"signed {signed}; none is told of a refused receipt")
    detail = f"signed {signed}, recorded {facts.stop_cause}"
    return Finding("stop cause", signed == facts.stop_cause, detail)


def _check_model(facts: ReceiptFacts, body: ReceiptBody, card: ModelCard) -> list[Finding]:
    named = hashlib.sha256(facts.model_card).digest() == body.model_digest
    shipped = shipped_cards().get(card.name)
    if shipped is None:
        known = Finding("model card", None, f"{card.name} is not shipped with this version")
    else:
        same = shipped.encode() == facts.model_card
        detail = "as shipped with this version" if same else "differs from the shipped one"
        known = Finding("model card", same, f"{card.name}: {detail}")
    return [Finding("model", named, f"the signed digest names the card of {card.name}"), known]


def _check_flops(facts: ReceiptFacts, body: ReceiptBody, card: ModelCard) -> list[Finding]:
    try:
        trace = decode_trace(body.trace)
        found = flops(card, trace)
    except TraceError as error:
        return [Finding("FLOPs", False, str(error))]
    if isinstance(trace, DenseTrace):
        done = f"{trace.prompt_tokens} prompt + {trace.decode_steps} decode steps"
    else:
        done = f"{trace.steps} steps for {trace.tokens_given} tokens"
    detail = f"{done} give {found:,}; signed {body.flops:,}, recorded {facts.flops:,}"
    findings = [Finding("FLOPs", found == body.flops == facts.flops, detail)]
    if isinstance(trace, AdaptiveTrace) and trace.prompt_tokens:
        findings.append(_check_decisions(card, trace))
    if not facts.accepted:
        return [*findings, Finding("bill", facts.billed_nanos == 0, "refused: nothing billed")]
    cost = cost_nanos(facts.price_nanos, found)
    detail = (
        f"{facts.price_nanos:,} nano$/CU x FLOPs = {cost:,} nano$; billed {facts.billed_nanos:,}"
    )
    return [*findings, Finding("bill", cost == facts.billed_nanos, detail)]


def _check_decisions(card: ModelCard, trace: AdaptiveTrace) -> Finding:
    """Whether every recorded decision follows from the recorded policy, budget and gate."""
    broken = inconsistencies(card.shape, trace)
    detail = broken[0] if broken else f"{trace.steps} steps follow from {trace.policy}"
    return Finding("decisions", not broken, detail)


def check_replay(facts: ReceiptFacts, question: str) -> Finding:
    """Whether the shipped adaptive model of the receipt's size, run again here, decides so."""
    name = "replay"
    try:
        from worker.model.shipped import load_adaptive
        from worker.model.verify import replay
        from worker.model.vocabulary import PromptError, read

        body = parse_signed_bytes(facts.signed_bytes)
        trace = decode_trace(body.trace)
        digests = {shipped_card(size).digest(): size for size in shipped_sizes()}
        if not isinstance(trace, AdaptiveTrace) or body.model_digest not in digests:
            return Finding(name, None, "only the shipped adaptive models can be run again")
        form = load_adaptive(size=digests[body.model_digest])
        broken = replay(form, read(question).tokens, trace)
    except (ImportError, WeightsError) as error:
        return Finding(name, None, f"the model cannot be run here: {error}")
    except (ReceiptError, TraceError, PromptError) as error:
        return Finding(name, False, str(error))
    detail = broken[0] if broken else f"{trace.steps} steps decided the same again"
    return Finding(name, not broken, detail)


def _check_output(body: ReceiptBody, output: str | None) -> Finding:
    if output is None:
        return Finding("output", None, "the answer is not at hand; --output FILE compares yours")
    shown = f"the answer ({len(output)} characters)"
    if _is_signed(body, output):
        return Finding("output", True, f"{shown} has the signed digest")
    # `flopex submit` ends its line, and so do editors.
    if output.endswith("\n") and _is_signed(body, output[:-1]):
        return Finding("output", True, f"{shown} has the signed digest without its last line end")
    return Finding("output", False, f"{shown} is not what was signed")


def _is_signed(body: ReceiptBody, output: str) -> bool:
    return hashlib.sha256(output.encode()).digest() == body.output_digest


def verdict(findings: list[Finding]) -> bool:
    """Whether nothing that was checked is wrong."""
    return all(finding.good is not False for finding in findings)
