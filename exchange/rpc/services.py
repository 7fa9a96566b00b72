"""What every servicer is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import structlog
from google.protobuf.message import Message

from exchange.core.commands import Command
from exchange.core.exchange import Exchange
from exchange.engine import Clock, Engine, EngineBusy, EngineStopped, Outcome, Outcomes
from exchange.readmodel.errors import ReadModelBehind, ReadModelBusy, ReadModelError
from exchange.rpc.drain import Drain
from exchange.rpc.errors import RpcError, busy, draining, read_model_unavailable, refused
from exchange.rpc.open_calls import OpenCalls
from exchange.rpc.streams import Queue

if TYPE_CHECKING:
    from exchange.blobs import BlobStore
    from exchange.readmodel.database import Database
    from exchange.readmodel.model import Answer, ReadModel
    from exchange.receipts import ReceiptStore
    from exchange.rpc.history import History
    from exchange.rpc.job_blobs import JobBlobs
    from exchange.rpc.outputs import OutputHub
    from exchange.rpc.sessions import SessionHub

T = TypeVar("T")

DEADLINE_DEFAULT_S: Final = 10.0
"""Time a unary call gets that states no deadline."""

_log = structlog.get_logger(__name__)


class Intent(NamedTuple):
    """What a request wants of the core: a command, and the response that its outcome makes."""

    command: Command
    respond: Callable[[Outcome], Message]


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
    read_model: ReadModel | None = None
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

    def begin(self, command: Command, callback: Callable[[Outcome | RpcError], None]) -> None:
        """As `submit`, for whom no task waits: the callback gets the outcome or the error.

        Raises:
            RpcError: RESOURCE_EXHAUSTED (OVERLOADED) or UNAVAILABLE (DRAINING).
        """

        def done(result: Outcomes | EngineStopped) -> None:
            callback(draining() if isinstance(result, EngineStopped) else result[0])

        try:
            self.engine.submit_with((command,), done)
        except EngineBusy as error:
            raise busy(str(error)) from error
        except EngineStopped as error:
            raise draining() from error

    async def carry_out(self, intent: Intent | Message) -> Any:
        """What an intent comes to; raises as `submit`."""
        if isinstance(intent, Message):
            return intent
        return intent.respond(await self.submit(intent.command))

    async def execute(self, command: Command) -> Outcome:
        """Like `submit`, for calls whose refusal is an RPC error.

        Raises:
            RpcError: the command was refused, with its reason; or as `submit`.
        """
        outcome = await self.submit(command)
        if outcome.refused is not None:
            raise refused(outcome.first, outcome.now_ns)
        return outcome

    async def ask(
        self,
        question: Callable[[Database], T],
        *,
        wait: bool = True,
        must_be_fresh: bool = False,
    ) -> Answer[T]:
        """Put a question to the read model.

        Args:
            question: Called in a thread; see `exchange.readmodel.queries`.
            wait: Whether to wait a little for what is durable now.
            must_be_fresh: Whether an answer without all that is durable now is no use.

        Raises:
            RpcError: RESOURCE_EXHAUSTED (OVERLOADED) or UNAVAILABLE (READ_MODEL_UNAVAILABLE).
        """
        if self.read_model is None:
            raise read_model_unavailable("this exchange keeps no read model")
        try:
            return await self.read_model.ask(question, wait=wait, must_be_fresh=must_be_fresh)
        except ReadModelBusy as error:
            raise busy(str(error)) from error
        except ReadModelBehind as error:
            raise read_model_unavailable(str(error)) from error
        except ReadModelError as error:
            _log.error("the read model does not answer", reason=str(error))
            raise read_model_unavailable("the read model does not answer now") from error

    async def ask_if_possible(self, question: Callable[[Database], T]) -> T | None:
        """What `ask` finds, where the answer can do without: None where nothing answers."""
        try:
            return (await self.ask(question)).found
        except RpcError:
            return None
