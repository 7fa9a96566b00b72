"""Output of running jobs: what the worker has sent so far, and who watches it.

Output never passes through the core. The hub holds each running lease's chunks once; a watcher is
only a cursor into them with a flag that says "there is news". A slow reader therefore costs no
memory and loses nothing: it finds the output where it left off, and of the job's states only the
newest. When a receipt is sequenced the output goes into the blob store and the hub forgets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Final, Self, get_args

import msgspec

from exchange.core.commands import Command, SettleLease
from exchange.core.events import (
    AnyEvent,
    JobCancelling,
    JobEnded,
    JobLegDropped,
    JobQueued,
    LeaseAccepted,
    LeaseEnded,
    LeaseOffered,
    LeaseStarted,
    ReceiptSettled,
)
from exchange.core.reasons import Reason
from exchange.engine import Group

OUTPUT_BYTES_MAX: Final = 4 << 20
"""Most output of one lease: its text and `PIECE_BYTES` for each chunk."""
PIECE_BYTES: Final = 32
"""What a chunk counts beside its text, so that empty ones cannot grow without end."""
CHUNK_BYTES_MAX: Final = 64 << 10
"""Longest text of one chunk."""
WATCHERS_PER_JOB_MAX: Final = 64
WATCHERS_MAX: Final = 10_000
TOKEN_COUNTS_MAX: Final = 200_000
"""Ended jobs whose token counts are remembered."""

News = (
    JobQueued
    | JobLegDropped
    | JobCancelling
    | JobEnded
    | LeaseOffered
    | LeaseAccepted
    | LeaseStarted
)
"""Events that a job's watchers want to hear of."""

_CONCERNS_JOB: Final = frozenset((LeaseEnded, ReceiptSettled, *get_args(News)))


class TooManyWatchers(Exception):
    """The job or the exchange has its named maximum of watchers."""


class Piece(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One chunk; its index is its place in the list."""

    text: str
    tokens: int


class StoredOutput(msgspec.Struct, frozen=True):
    """Output as the blob store keeps it."""

    attempt: int
    pieces: list[Piece]

    def encode(self) -> bytes:
        """JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The output that these bytes hold.

        Raises:
            msgspec.DecodeError: they are none.
        """
        return msgspec.json.decode(data, type=cls)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(piece.text for piece in self.pieces)


class Output:
    """What one lease has put out so far."""

    __slots__ = ("_digest", "_text_bytes", "_tokens_claimed", "attempt", "lease_id", "pieces")

    def __init__(self, lease_id: int, attempt: int) -> None:
        self.lease_id = lease_id
        self.attempt = attempt
        self.pieces: list[Piece] = []
        self._digest = hashlib.sha256()
        self._text_bytes = 0
        self._tokens_claimed = 0

    @property
    def next_index(self) -> int:
        """Index of the next chunk wanted."""
        return len(self.pieces)

    @property
    def tokens(self) -> int:
        """Tokens received: what the worker counted, but no more than the text can hold.

        A token gives at least one byte, so a worker cannot be paid for tokens that it never sent.
        The core allows for the few at the end that leave no text.
        """
        return min(self._tokens_claimed, self._text_bytes)

    def digest(self) -> bytes:
        """SHA-256 of the text so far."""
        return self._digest.digest()

    def add(self, index: int, text: str, tokens: int) -> Reason:
        """Take a chunk; NONE where it was taken or is a repeat, else why it was not."""
        if index < len(self.pieces):
            return Reason.NONE
        data = text.encode()
        size = self._text_bytes + len(data) + (len(self.pieces) + 1) * PIECE_BYTES
        too_long = len(data) > CHUNK_BYTES_MAX or size > OUTPUT_BYTES_MAX
        if index > len(self.pieces) or too_long:
            return Reason.FIELD_INVALID
        self.pieces.append(Piece(text, tokens))
        self._digest.update(data)
        self._text_bytes += len(data)
        self._tokens_claimed += tokens
        return Reason.NONE

    def stored(self) -> StoredOutput:
        """The same, to be kept."""
        return StoredOutput(self.attempt, self.pieces)


class Watcher:
    """Somebody's wish to hear of a job."""

    __slots__ = ("_news",)

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether there was news within the time; news are taken by this call."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class OutputHub:
    """The outputs of all leases that run, by job, and the watchers of all jobs.

    A reader of the event feed: give `on_group` to the replay too, for the token counts.
    """

    def __init__(self) -> None:
        self._outputs: dict[int, Output] = {}
        self._token_counts: dict[int, int] = {}
        # Told in order of arrival: that of a set is memory's, another in each process.
        self._watchers: dict[int, dict[Watcher, None]] = {}
        self._watching = 0

    def find(self, job_id: int) -> Output | None:
        """The output of the job's present lease, if any is here."""
        return self._outputs.get(job_id)

    def open(self, job_id: int, lease_id: int, attempt: int) -> Output:
        """The lease's output, empty where it is new; that of an earlier lease is void."""
        output = self._outputs.get(job_id)
        if output is None or output.lease_id != lease_id:
            output = self._outputs[job_id] = Output(lease_id, attempt)
        return output

    def close(self, job_id: int, lease_id: int) -> None:
        """Forget a lease's output: it is stored or void."""
        output = self._outputs.get(job_id)
        if output is not None and output.lease_id == lease_id:
            del self._outputs[job_id]

    def tokens(self, job_id: int) -> int:
        """Output tokens received for a job: of the running lease, or of the settled one."""
        output = self._outputs.get(job_id)
        return self._token_counts.get(job_id, 0) if output is None else output.tokens

    def fill(self, token_counts: Mapping[int, int]) -> None:
        """Add the token counts of jobs that ended before what was replayed, as many as may be."""
        counts = {**token_counts, **self._token_counts}
        too_many = max(0, len(counts) - TOKEN_COUNTS_MAX)
        self._token_counts = dict(itertools.islice(counts.items(), too_many, None))

    def on_group(self, group: Group) -> None:
        """Take in one durable group. O(events)."""
        for place, event in group.events_of(_CONCERNS_JOB):
            if isinstance(event, LeaseEnded):
                self.close(event.job_id, event.lease_id)
            elif isinstance(event, ReceiptSettled):
                self._count(group.commands[place], event)
            elif isinstance(event, News):
                self.notify(event.job_id)

    def _count(self, command: Command, event: AnyEvent) -> None:
        # A repeated receipt gets the first event again, and brings no count of its own.
        if isinstance(command, SettleLease) and isinstance(event, ReceiptSettled):
            if event.job_id not in self._token_counts:
                self._token_counts[event.job_id] = command.tokens_received
            if len(self._token_counts) > TOKEN_COUNTS_MAX:
                del self._token_counts[next(iter(self._token_counts))]

    def notify(self, job_id: int) -> None:
        """Tell the job's watchers that there is news."""
        for watcher in self._watchers.get(job_id, ()):
            watcher.wake()

    @contextlib.contextmanager
    def watch(self, job_id: int) -> Iterator[Watcher]:
        """A watcher of the job.

        Raises:
            TooManyWatchers: WATCHERS_PER_JOB_MAX or WATCHERS_MAX is reached.
        """
        of_job = self._watchers.get(job_id, ())
        if len(of_job) >= WATCHERS_PER_JOB_MAX or self._watching >= WATCHERS_MAX:
            raise TooManyWatchers(f"job {job_id} has {len(of_job)} watchers")
        watcher = Watcher()
        self._watchers.setdefault(job_id, {})[watcher] = None
        self._watching += 1
        try:
            yield watcher
        finally:
            self._watching -= 1
            del self._watchers[job_id][watcher]
            if not self._watchers[job_id]:
                del self._watchers[job_id]
