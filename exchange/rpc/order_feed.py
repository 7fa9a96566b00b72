"""Which Trade streams hear of which events, in the journal's order.

A stream's own answers and what others did to its account's orders go through one mailbox. The
engine hands a group's answers out before its feed, so both are merged by sequence here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from exchange.core.commands import (
    CancelOrder,
    EndOrderStream,
    PlaceConditionalOrder,
    PlaceMultiLegOrder,
    PlaceOrder,
    ReplaceOrder,
)
from exchange.core.events import (
    AnyEvent,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrderTriggered,
)
from exchange.engine import Engine, EngineBusy, EngineStopped, Group, Outcomes
from exchange.rpc.convert.orders import Batch
from exchange.rpc.streams import Mailbox

BEHIND_MAX: Final = 10_000
"""Answers, and commands of others, that a Trade stream may be behind before it is cut off."""
END_RETRY_S: Final = 0.01
"""Time between two tries to tell a busy engine that a stream is over."""

_ANSWERED: Final[frozenset[type]] = frozenset(
    {PlaceOrder, PlaceConditionalOrder, PlaceMultiLegOrder, CancelOrder, ReplaceOrder}
)
"""Whose account hears of it in the command's answer."""
_CONCERNS_ORDER: Final[frozenset[type]] = frozenset(
    {OrderFilled, OrderClosed, OrderReplaced, OrderTriggered}
)


class Answer(NamedTuple):
    """A batch is durable (or, without outcomes, held nothing that the core could judge)."""

    request_id: int
    batch: Batch
    outcomes: Outcomes


class Push(NamedTuple):
    """What another's command did to the account's orders."""

    sequence: int
    now_ns: int
    events: list[AnyEvent]


class TradeStream(Mailbox[Answer | Push]):
    """One open Trade stream: what it still has to be told.

    Attributes:
        in_flight: Batches taken from the client and not yet answered to it.
        instructions_in_flight: Instructions in them.
        last_sequence: Up to here the mailbox is complete, once it overflowed.
        failure: Why the engine cannot answer any more.
        stream_id: Marks the orders that are cancelled when the stream ends; 0: none is.
        closed: Whether it has ended: nothing more may be placed.
        packed: Whether its latest batch came in rows: what others do is told in rows then, too.
        tell_now: Tells the client what waits, where that can be done without the stream's task;
            returns whether all is done. None where it never can.
    """

    def __init__(self, account_id: int) -> None:
        super().__init__(BEHIND_MAX)
        self.account_id = account_id
        self.in_flight = 0
        self.instructions_in_flight = 0
        self.last_sequence = 0
        self.failure: EngineStopped | None = None
        self.stream_id = 0
        self.closed = False
        self.packed = False
        self.tell_now: Callable[[], bool] | None = None

    def tell(self, sequence: int, item: Answer | Push) -> None:
        """Add an item, to be followed by `deliver`; remembers the last sequence before overflow."""
        if not self.overflowed:
            self.add(item)
            if not self.overflowed:
                self.last_sequence = sequence

    def deliver(self) -> None:
        """All is added for now: tell it at once, or let the task do it."""
        tell = self.tell_now
        if tell is None or not self.idle or self.overflowed or not tell():
            self.wake()


class OrderFeed:
    """Sends the engine's events to the Trade streams of the accounts concerned."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._streams: dict[int, set[TradeStream]] = {}
        self._answered: list[tuple[TradeStream, Answer]] = []
        self._stream_ids = itertools.count(1)
        engine.subscribe(self._on_group)

    def open(self, account_id: int) -> TradeStream:
        """A stream begins."""
        stream = TradeStream(account_id)
        self._streams.setdefault(account_id, set()).add(stream)
        return stream

    def streams_of(self, account_id: int) -> int:
        """Open streams of an account."""
        return len(self._streams.get(account_id, ()))

    def deepest(self) -> int:
        """What the stream has not taken that is furthest behind. O(streams)."""
        streams = (stream for found in self._streams.values() for stream in found)
        return max(map(len, streams), default=0)

    def close(self, stream: TradeStream) -> None:
        """A stream ended, and with it the orders that were to live as long."""
        stream.closed = True
        if stream.stream_id:
            self._end_orders(EndOrderStream(stream.account_id, stream.stream_id))
        streams = self._streams[stream.account_id]
        streams.discard(stream)
        if not streams:
            del self._streams[stream.account_id]

    def new_stream_id(self) -> int:
        """Marks the orders of one stream. A restart ends all streams, so ids may begin anew."""
        return next(self._stream_ids)

    def _end_orders(self, command: EndOrderStream) -> None:
        # Nobody waits for it. Where the engine has stopped, the next start ends every stream.
        try:
            self._engine.submit_with([command], lambda _: None)
        except EngineBusy:
            asyncio.get_running_loop().call_later(END_RETRY_S, self._end_orders, command)
        except EngineStopped:
            pass

    def submit(self, stream: TradeStream, request_id: int, batch: Batch) -> None:
        """Sequence a batch; its answer comes to the stream's mailbox.

        Raises:
            EngineBusy: too much waits.
            EngineStopped: the engine does not run, or the stream is closed.
        """
        if stream.closed:
            raise EngineStopped("the stream is closed")

        def answered(result: Outcomes | EngineStopped) -> None:
            if isinstance(result, EngineStopped):
                stream.failure = result
                stream.wake()
            else:
                self._answered.append((stream, Answer(request_id, batch, result)))

        if batch.commands:
            self._engine.submit_with(batch.commands, answered, batch.payload)
        stream.in_flight += 1
        stream.instructions_in_flight += batch.size
        if not batch.commands:
            sequence = self._engine.core.sequence
            nothing = Outcomes(sequence + 1, self._engine.core.now_ns, ())
            stream.tell(sequence, Answer(request_id, batch, nothing))
            stream.deliver()

    def _on_group(self, group: Group) -> None:
        answered, self._answered = self._answered, []
        if not self._streams:
            return
        told = dict.fromkeys([stream for stream, _ in answered])
        waiting = iter(answered)
        following = next(waiting, None)
        for push_to, push in self._pushes(group):
            # Answers of earlier commands first: a fill never precedes its order's acceptance. So is
            # the answer to the command itself: what a mass cancel did follows it.
            while following is not None and _first(following[1]) <= push.sequence:
                following[0].tell(_last(following[1]), following[1])
                following = next(waiting, None)
            for stream in push_to:
                stream.tell(push.sequence, push)
                told[stream] = None
        while following is not None:
            following[0].tell(_last(following[1]), following[1])
            following = next(waiting, None)
        for stream in told:
            stream.deliver()

    def _pushes(self, group: Group) -> list[tuple[Sequence[TradeStream], Push]]:
        """Pushes of what concerns an account with a stream, and was not done by itself."""
        found: list[tuple[Sequence[TradeStream], Push]] = []
        last: dict[int, Push] = {}
        streams = self._streams
        for command, sequence, event in group.events_of(_CONCERNS_ORDER):
            # Time, the operator and mass cancels answer nobody with what happened to an order.
            told: int = command.account_id if type(command) in _ANSWERED else 0  # type: ignore[union-attr]
            if type(event) is OrderFilled:  # a stop or an auction trades by another's command
                concerned: tuple[int, ...] = (event.maker_account_id, event.taker_account_id)
            else:
                concerned = (event.account_id,)  # type: ignore[union-attr]
            for account_id in concerned:
                if account_id == told or account_id not in streams:
                    continue
                push = last.get(account_id)
                if push is not None and push.sequence == sequence:
                    push.events.append(event)
                    continue
                push = last[account_id] = Push(sequence, group.now_ns, [event])
                found.append((tuple(streams[account_id]), push))
        return found


def _first(answer: Answer) -> int:
    return answer.outcomes.first_sequence


def _last(answer: Answer) -> int:
    return answer.outcomes.last_sequence
