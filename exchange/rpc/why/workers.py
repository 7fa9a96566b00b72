"""Why a worker gets no leases, or fewer than its owner expects: its asks beside the market's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.events import WorkerState
from exchange.core.exchange import Exchange
from exchange.core.reasons import Reason
from exchange.core.workers import Quote, Worker
from exchange.readmodel import queries
from exchange.readmodel.queries import LeaseRow
from exchange.rpc.convert import enums
from exchange.rpc.why.supply import LEVELS_MAX, supply
from exchange.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from exchange.readmodel.database import Database

LEASES_MAX: Final = 100
"""Of an instrument, the latest leases that are looked at."""
QUOTES_MAX: Final = 256
"""Standing quotes of one worker that are looked at."""
_STATES: Final = {
    WorkerState.PAUSED: (Reason.WORKER_PAUSED, "it is paused", "resume it"),
    WorkerState.DRAINING: (Reason.WORKER_DRAINED, "it drains", "resume it, or start it again"),
    WorkerState.LOST: (Reason.WORKER_LOST, "its session was lost", "start it again"),
    WorkerState.LEFT: (Reason.WORKER_LOST, "it has left", "start it again"),
}
_LUCK: Final = (
    Reason.NONE,
    Reason.PRICE_BELOW_ASK,
    Reason.NO_LIQUIDITY,
    Reason.NO_FREE_SLOT,
    Reason.INSTRUMENT_HALTED,
)
"""What a quote waits for, the nearest to a lease first."""
_NOT_RECORDED: Final = (
    "what this worker asked when those leases were granted; they are compared with its asks now"
)
_NO_READ_MODEL: Final = "the latest leases: this exchange cannot read what lies further back now"


def quoted(worker: Worker) -> list[int]:
    """The instruments that a worker quotes, by id."""
    return sorted({instrument_id for instrument_id, _ in worker.quotes})[:QUOTES_MAX]


def past(database: Database, instrument_ids: list[int]) -> dict[int, list[LeaseRow]]:
    """The latest leases of each instrument: a page each."""
    return {i: queries.instrument_leases(database, i, LEASES_MAX) for i in instrument_ids}


def explain_worker(
    core: Exchange, message: pb.Worker, worker: Worker, leases: dict[int, list[LeaseRow]] | None
) -> pb.ExplainWorkerResponse:
    """The answer.

    Args:
        core: The state.
        message: The worker, as it is told.
        worker: The same.
        leases: The latest leases by instrument; None where they cannot be read.
    """
    answer = pb.ExplainWorkerResponse(
        worker=message, sequence=core.sequence, event_time_ns=core.now_ns
    )
    for key in sorted(worker.quotes)[:QUOTES_MAX]:
        latest = (leases or {}).get(key[0], [])
        answer.quotes.append(_standing(core, worker, worker.quotes[key], latest))
    answer.unknown.append(_NO_READ_MODEL if leases is None else _NOT_RECORDED)
    _explain(core, worker, answer)
    return answer


def _standing(
    core: Exchange, worker: Worker, quote: Quote, leases: list[LeaseRow]
) -> pb.QuoteStanding:
    """One quote beside the market."""
    instrument = core.instruments[quote.instrument_id]
    bids, asks = core.depth(quote.instrument_id, LEVELS_MAX)
    listed = quote.listed
    ask = listed.ask() or 0
    best_bid = bids[0][0] if bids else 0
    standing = pb.QuoteStanding(
        instrument=instrument.name,
        pool=quote.pool,
        ask_nanos=ask,
        slots_free=listed.free_slots(),
        cheaper_slots=sum(free for price, free, _ in asks if price < ask),
        best_ask_nanos=supply(core, quote.instrument_id).best_ask_nanos,
        best_bid_nanos=best_bid,
        jobs_waiting=sum(jobs for _, jobs, _ in bids),
        last_price_nanos=instrument.last_price_nanos,
        leases=len(leases),
        leases_own=sum(lease.worker_id == worker.worker_id for lease in leases),
        leases_cheaper=sum(
            lease.worker_id != worker.worker_id and lease.ask_nanos < ask for lease in leases
        ),
        price_low_nanos=min((lease.price_nanos for lease in leases), default=0),
        price_high_nanos=max((lease.price_nanos for lease in leases), default=0),
    )
    if not instrument.is_open:
        reason = Reason.INSTRUMENT_HALTED
    elif not ask:
        reason = Reason.NO_FREE_SLOT
    elif not bids:
        reason = Reason.NO_LIQUIDITY
    else:
        reason = Reason.PRICE_BELOW_ASK if best_bid < ask else Reason.NONE
    standing.reason = enums.reason(reason)
    return standing


def _explain(core: Exchange, worker: Worker, answer: pb.ExplainWorkerResponse) -> None:
    """In words: what keeps all quotes from selling, or the quote that is nearest to a lease."""
    if worker.state in _STATES:
        reason, text, remedy = _STATES[worker.state]
        answer.remedies.append(remedy)
    elif core.accounts[worker.account_id].halted:
        reason, text = Reason.ACCOUNT_HALTED, "the operator has halted its account"
    elif not answer.quotes:
        reason, text = Reason.NO_QUOTES, "it quotes nothing"
        answer.remedies.append("quotes end with their time to live, or when a lease is declined")
    else:
        best = min(answer.quotes, key=_luck)
        reason = Reason(best.reason)
        text = _quote_text(best)
        answer.remedies.extend(_quote_remedies(best))
    answer.reason = enums.reason(reason)
    answer.explanation = text


def _luck(quote: pb.QuoteStanding) -> tuple[int, int]:
    return _LUCK.index(Reason(quote.reason)), quote.ask_nanos - quote.best_bid_nanos


def _quote_text(best: pb.QuoteStanding) -> str:
    name, reason = best.instrument, Reason(best.reason)
    if reason == Reason.INSTRUMENT_HALTED:
        return f"{name} does not trade now"
    if reason == Reason.NO_FREE_SLOT:
        return f"all its slots for {name} are busy"
    if reason == Reason.NO_LIQUIDITY:
        return f"no job waits for {name}"
    if reason == Reason.PRICE_BELOW_ASK:
        return f"it asks {best.ask_nanos} in {name}, and the best bid is {best.best_bid_nanos} now"
    return f"a waiting job in {name} pays what it asks: the next batch decides"


def _quote_remedies(best: pb.QuoteStanding) -> list[str]:
    """What would get its next lease sooner."""
    remedies = []
    if Reason(best.reason) == Reason.PRICE_BELOW_ASK and best.best_bid_nanos:
        remedies.append(f"an ask of {best.best_bid_nanos} sells a slot in the next batch")
    if best.cheaper_slots:
        remedies.append(
            f"{best.cheaper_slots} free slots of others cost less and sell first: "
            f"an ask below {best.best_ask_nanos} goes before all of them"
        )
    if best.leases_cheaper:
        remedies.append(
            f"{best.leases_cheaper} of the last {best.leases} leases went to asks below "
            f"{best.ask_nanos}, at {best.price_low_nanos} to {best.price_high_nanos}"
        )
    return remedies
