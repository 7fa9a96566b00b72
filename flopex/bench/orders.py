"""`flopex bench orders`: what one batched order costs the exchange, part by part.

Method. One process, no network and no disk: seeded batches of both forms (messages and packed rows)
go through the server's own functions, and the CPU time of each part is taken. The forms alternate
batch by batch, each with an exchange of its own, so that both see the same machine. Rows become the
journal's bytes together with commands, so they have no `encode` of their own. `core` is the
engine's share: applying them, and the digest over the answers. `feed` is what the readers of the
event feed do with the batch as a group: they keep trades, count refusals, and tell the other trader
what became of its orders. Per round, the mean per order; of the rounds, the median with the least
and the most. What gRPC and the journal cost comes on top: `flopex bench exchange` measures the
whole.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from exchange.client import packed_orders
from exchange.core.commands import (
    AccountKind,
    AddInstrument,
    Advance,
    ClearingMode,
    Deposit,
    OpenAccount,
    Settlement,
)
from exchange.core.exchange import Exchange
from exchange.engine import Engine, Group, Outcomes, Subscriber
from exchange.engine.opening import apply
from exchange.http.counts import EventCounts
from exchange.recovery import Replica
from exchange.rpc.convert import orders, packed
from exchange.rpc.history import History
from exchange.rpc.order_feed import OrderFeed, TradeStream
from exchange.rpc.orders import MESSAGE_REPORTS_MAX, unasked
from exchange.rpc.pushes import Push
from exchange.testing import uuid7
from exchange.v1 import order_service_pb2 as pb
from flopex.bench.flow import TICK_NANOS, Flow
from flopex.bench.machine import machine
from matching import COMPILED

FORMS: Final = ("messages", "rows")
PARTS: Final = ("parse", "commands", "encode", "core", "answer", "feed")
TRADERS: Final = 2
FUNDS_NANOS: Final = 10**17


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run: `rounds` of `batches` batches of `batch` orders, in each form."""

    rounds: int = 5
    batches: int = 150
    batch: int = 256
    seed: int = 1


class _Feed:
    """The readers of the event feed to whom orders are news, and each trader's open stream.

    It is given to them as the engine, of which they want the state and to be called.
    """

    def __init__(self, core: Exchange) -> None:
        self.core = core
        self.told_bytes = 0  # of what the traders did not ask for
        self._history = History()
        self._subscribers: list[Subscriber] = [self._history.on_group]
        engine = cast("Engine", self)
        EventCounts(engine)
        self._orders = OrderFeed(engine)
        self._streams: list[TradeStream] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """See `Engine`."""
        self._subscribers.append(subscriber)

    def open(self, account_id: int, *, packed: bool) -> None:
        """A trader's stream begins, and is told in one form."""
        stream = self._orders.open(account_id)
        stream.packed = packed
        self._streams.append(stream)

    def tell(self, group: Group) -> None:
        """What the engine and the streams do once a group is durable."""
        for subscriber in self._subscribers:
            subscriber(group)
        for stream in self._streams:
            while stream:
                pushes = [one for one in stream.take(MESSAGE_REPORTS_MAX) if isinstance(one, Push)]
                for response in unasked(stream, pushes):
                    self.told_bytes += len(response.SerializeToString())


class _Desk:
    """An exchange with one paper instrument and funded traders, fed in one form."""

    def __init__(self, form: str, seed: int) -> None:
        self.form = form
        self.replica = Replica(Exchange())
        self.core = self.replica.core
        self.feed = _Feed(self.core)
        now_ns = time.time_ns()
        self.core.apply([Advance(now_ns), _instrument()])
        self._traders: list[tuple[int, Flow]] = []
        for number in range(TRADERS):
            name = f"trader-{number}"
            self.core.apply([OpenAccount(AccountKind.PAPER, name)])
            account_id = self.core.account_by_name[name]
            self.core.apply([Deposit(account_id, uuid7(now_ns), FUNDS_NANOS)])
            self._traders.append((account_id, Flow(seed, number, 1)))
            self.feed.open(account_id, packed=form == "rows")
        self.spent_ns = dict.fromkeys(PARTS, 0)

    def take(self, request_id: int, count: int) -> None:
        """Carry the next trader's batch through, as the order stream and the engine do."""
        account_id, flow = self._traders[request_id % TRADERS]
        instructions = [flow.instruction() for _ in range(count)]
        request = pb.TradeRequest(request_id=request_id)
        if self.form == "rows":
            packed_orders.put(request, instructions)
        else:
            request.instructions.extend(instructions)
        data = request.SerializeToString()
        clock = _Stopwatch(self.spent_ns)
        read = clock.part("parse", lambda: pb.TradeRequest.FromString(data))
        made = clock.part("commands", lambda: self._commands(account_id, read))
        payload = clock.part("encode", lambda: made.payload or _payload(made))
        group = clock.part("core", lambda: self._apply(payload))
        outcomes = group.outcomes[1:]
        clock.part("answer", lambda: self._answer(read.request_id, account_id, made, outcomes))
        clock.part("feed", lambda: self.feed.tell(group))

    def _commands(self, account_id: int, request: pb.TradeRequest) -> orders.Batch:
        if self.form == "rows":
            return packed.batch(account_id, request.packed)
        return orders.batch(account_id, request.instructions)

    def _apply(self, payload: bytes) -> Group:
        records = Advance(time.time_ns()).encode() + payload
        return apply(self.replica, self.core.sequence + 1, records)

    def _answer(
        self, request_id: int, account_id: int, made: orders.Batch, outcomes: Outcomes
    ) -> bytes:
        if made.packed:
            return packed.answer(self.core, request_id, account_id, made, outcomes)
        return orders.answer(self.core, request_id, made, outcomes).SerializeToString()


def _payload(made: orders.Batch) -> bytes:
    return b"".join([command.encode() for command in made.commands])


class _Stopwatch:
    """CPU time of named parts, added to `spent_ns`."""

    def __init__(self, spent_ns: dict[str, int]) -> None:
        self._spent_ns = spent_ns

    def part(self, name: str, run: Callable[[], Any]) -> Any:
        """Run a part and note what it took; its result."""
        began_ns = time.process_time_ns()
        result = run()
        self._spent_ns[name] += time.process_time_ns() - began_ns
        return result


def run(settings: Settings, report: Callable[[int, dict[str, float]], None]) -> dict[str, Any]:
    """Measure both forms; the JSON object, times in microseconds of CPU per order.

    Args:
        settings: What to run.
        report: Told of every round: its number, and the whole cost per order of each form.
    """
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(settings.rounds):
        rounds.append(_round(settings, settings.seed + number))
        report(number + 1, {form: round(sum(rounds[-1][form].values()), 2) for form in FORMS})
    return {
        "bench": "orders",
        "machine": machine(),
        "compiled": bool(COMPILED),
        "settings": asdict(settings),
        **{form: _spread([made[form] for made in rounds]) for form in FORMS},
    }


def _round(settings: Settings, seed: int) -> dict[str, dict[str, float]]:
    desks = [_Desk(form, seed) for form in FORMS]
    gc.collect()
    gc.disable()
    try:
        for request_id in range(1, settings.batches + 1):
            for desk in desks:
                desk.take(request_id, settings.batch)
    finally:
        gc.enable()
    for desk in desks:
        desk.core.check()
    count = settings.batches * settings.batch
    return {
        desk.form: {part: desk.spent_ns[part] / 1e3 / count for part in PARTS} for desk in desks
    }


def _spread(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """[median, least, most] of each part and of the whole."""
    by_part = {part: [made[part] for made in rounds] for part in PARTS}
    by_part["whole"] = [sum(made.values()) for made in rounds]
    return {
        part: [round(x, 2) for x in (statistics.median(found), min(found), max(found))]
        for part, found in by_part.items()
    }


def _instrument() -> AddInstrument:
    return AddInstrument(
        settlement=Settlement.PAPER,
        mode=ClearingMode.CONTINUOUS,
        model_id=0,
        tick_nanos=TICK_NANOS,
        lot_mflop=1,
        price_min_nanos=TICK_NANOS,
        price_max_nanos=10**6 * TICK_NANOS,
        quantity_max_mflop=10**9,
        prefill_millitokens_per_s=0,
        decode_millitokens_per_s=0,
        context_tokens_max=0,
        latest_start_ns=0,
        name="paper/bench",
    )
