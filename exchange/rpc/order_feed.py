"""Which Trade streams hear of which events, in the journal's order.

A stream's own answers and what others did to its account's orders go through one mailbox. The
engine hands a group's answers out before its feed, so both are merged by sequence here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from exchange.core.commands import EndOrderStream
from exchange.core.event_rows import NO_EVENTS
from exchange.engine import Engine, EngineBusy, EngineStopped, Group, Outcomes
from exchange.rpc.convert.orders import Batch
from exchange.rpc.pushes import Push, Pushes
from exchange.rpc.streams import Mailbox

BEHIND_MAX: Final = 10_000
"""Answers, and commands of others, that a Trade stream may be behind before it is cut off."""
END_RETRY_S: Final = 0.01
"""Time between two tries to tell a busy engine that a stream is over."""


class Answer(NamedTuple):
    """A batch is durable (or, without outcomes, held nothing that the core could judge)."""

    request_id: int
    batch: Batch
    outcomes: Outcomes


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
        bundles: Whether a message may hold several responses, as its latest batch says.
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
        self.bundles = False
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
        # Told in order of arrival: that of a set is memory's, another in each process.
        self._streams: dict[int, dict[TradeStream, None]] = {}
        self._answered: list[tuple[TradeStream, Answer]] = []
        self._stream_ids = itertools.count(1)
        engine.subscribe(self._on_group)

    def open(self, account_id: int) -> TradeStream:
        """A stream begins."""
        stream = TradeStream(account_id)
        self._streams.setdefault(account_id, {})[stream] = None
        return stream

    def streams_of(self, account_id: int) -> int:
        """Open streams of an account."""
        return len(self._streams.get(account_id, ()))

    def deepest(self) -> int:
        """What the stream has not taken that is furthest behind. O(streams)."""
        return max(map(len, self._open()), default=0)

    def most_in_flight(self) -> int:
        """Batches without an answer of the stream that has most of them. O(streams)."""
        return max((stream.in_flight for stream in self._open()), default=0)

    def most_instructions_in_flight(self) -> int:
        """Instructions in such batches, of the stream that has most of them. O(streams)."""
        return max((stream.instructions_in_flight for stream in self._open()), default=0)

    def _open(self) -> Iterator[TradeStream]:
        return itertools.chain.from_iterable(self._streams.values())

    def close(self, stream: TradeStream) -> None:
        """A stream ended, and with it the orders that were to live as long."""
        stream.closed = True
        if stream.stream_id:
            self._end_orders(EndOrderStream(stream.account_id, stream.stream_id))
        streams = self._streams[stream.account_id]
        streams.pop(stream, None)
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
            nothing = Outcomes(sequence + 1, self._engine.core.now_ns, NO_EVENTS)
            stream.tell(sequence, Answer(request_id, batch, nothing))
            stream.deliver()

    def _on_group(self, group: Group) -> None:
        answered, self._answered = self._answered, []
        if not self._streams:
            return
        told = dict.fromkeys([stream for stream, _ in answered])
        pushes = Pushes(self._streams, group.now_ns)
        commands = group.commands
        pushes.collect(
            group.first_sequence, commands.records, commands.begins, group.outcomes.events
        )
        at, firsts = 0, [answer.outcomes.first_sequence for _, answer in answered]
        firsts.append(group.last_sequence + 1)
        for push in pushes.found:
            # Answers of earlier commands first: a fill never precedes its order's acceptance. So is
            # the answer to the command itself: what a mass cancel did follows it.
            while firsts[at] <= push.sequence:
                _tell(*answered[at])
                at += 1
            for stream in self._streams[push.account_id]:
                stream.tell(push.sequence, push)
                told[stream] = None
        for stream, answer in answered[at:]:
            _tell(stream, answer)
        for stream in told:
            stream.deliver()


def _tell(stream: TradeStream, answer: Answer) -> None:
    stream.tell(answer.outcomes.last_sequence, answer)
