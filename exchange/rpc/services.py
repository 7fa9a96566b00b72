"""What every servicer is given."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exchange.core.commands import Command
from exchange.core.exchange import Exchange
from exchange.engine import Clock, Engine, EngineBusy, EngineStopped, Outcome
from exchange.rpc.drain import Drain
from exchange.rpc.errors import busy, draining, refused
from exchange.rpc.open_calls import OpenCalls
from exchange.rpc.streams import Queue

if TYPE_CHECKING:
    from exchange.blobs import BlobStore
    from exchange.receipts import ReceiptStore
    from exchange.rpc.history import History
    from exchange.rpc.job_blobs import JobBlobs
    from exchange.rpc.outputs import OutputHub
    from exchange.rpc.sessions import SessionHub

DEADLINE_DEFAULT_S: Final = 10.0
"""Time a unary call gets that states no deadline."""


@dataclass(slots=True)
class Services:
    """What every servicer is given; `LocalApi` makes the last two.

    Attributes:
        counters: Calls by method ("calls M") and their errors ("errors M REASON").
        streams: Streaming calls under way.
        open_calls: All calls under way, by whose they are.
        queues: Everything that can fill up, by its name in the metrics; each owner enters its own.
    """

    engine: Engine
    blobs: BlobStore
    receipts: ReceiptStore
    history: History
    clock: Clock
    outputs: OutputHub
    drain: Drain = field(default_factory=Drain)
    counters: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    open_calls: OpenCalls = field(default_factory=OpenCalls)
    queues: dict[str, Queue] = field(default_factory=dict)
    job_blobs: JobBlobs = field(init=False)
    sessions: SessionHub = field(init=False)

    @property
    def core(self) -> Exchange:
        """The state machine, to read."""
        return self.engine.core

    def refuse_new_work(self) -> None:
        """Go on only while new work is taken.

        Raises:
            RpcError: UNAVAILABLE with reason DRAINING.
        """
        if self.drain.active:
            raise draining()

    async def submit(self, command: Command) -> Outcome:
        """Sequence one command; returns once it is durable. A refusal is an outcome, not an error.

        Raises:
            RpcError: RESOURCE_EXHAUSTED (OVERLOADED) or UNAVAILABLE (DRAINING).
        """
        try:
            return await self.engine.submit(command)
        except EngineBusy as error:
            raise busy(str(error)) from error
        except EngineStopped as error:
            raise draining() from error

    async def execute(self, command: Command) -> Outcome:
        """Like `submit`, for calls whose refusal is an RPC error.

        Raises:
            RpcError: the command was refused, with its reason; or as `submit`.
        """
        outcome = await self.submit(command)
        if outcome.refused is not None:
            raise refused(outcome.first, outcome.now_ns)
        return outcome
