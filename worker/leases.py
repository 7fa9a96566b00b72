"""What the worker holds of each lease: its output and its receipt, kept until they are answered.

A lease is a small machine that is asked for its next message. Nothing is sent from here: the
session sends, and after a reconnection it simply rewinds and asks again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Self

from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.job_service_pb2 import StopCause
from worker.engines.base import Piece, StopSignal

CHUNK_BYTES: Final = 4 << 10
"""Text that waits to be sent is joined into chunks of about this size."""
CHUNK_OVERHEAD_BYTES: Final = 32
"""What the exchange counts for a chunk beside its text."""
OUTPUT_BYTES_MAX: Final = 3 << 20
"""Most output of a lease; then it is stopped. The exchange refuses more than 4 MiB."""
RECEIPT_RETRY_S: Final = 5.0
"""A receipt that nobody answers is sent again after this time, seconds."""


class HeldLease:
    """An accepted lease.

    Attributes:
        offer: As the exchange made it.
        stop: Tells the engine to stop.
        void: The lease is not ours any more: nothing is sent for it.
    """

    def __init__(self, offer: pb.LeaseOffer) -> None:
        self.offer = offer
        self.stop = StopSignal()
        self.void = False
        self.receipt: pb.Receipt | None = None
        self.tokens = 0
        self._digest = hashlib.sha256()
        self._output_bytes = 0
        self._chunks: list[pb.Chunk] = []
        self._last_bytes = 0
        self._sealed = 0  # chunks that were sent once: they never change again
        self._started = False
        # What this session still has to send.
        self._accept_due = True
        self._start_due = False
        self._next_chunk = 0
        self._receipt_due_at = 0.0

    @classmethod
    def finished(cls, receipt: pb.Receipt, chunks: Sequence[pb.Chunk]) -> Self:
        """A lease that an earlier process finished: all that is left is to have it settled."""
        lease = cls(pb.LeaseOffer(lease_id=receipt.lease_id, fence=receipt.fence))
        lease._chunks = list(chunks)
        lease._sealed = lease._next_chunk = len(chunks)
        lease._started, lease._accept_due = bool(chunks), False
        lease.finish(receipt)
        return lease

    @property
    def chunks(self) -> Sequence[pb.Chunk]:
        """The output so far, as it is sent."""
        return self._chunks

    @property
    def lease_id(self) -> int:
        """Id given by the exchange."""
        return self.offer.lease_id

    @property
    def running(self) -> bool:
        """Whether it still takes a slot: it has no receipt yet, and stands."""
        return self.receipt is None and not self.void

    @property
    def output_digest(self) -> bytes:
        """SHA-256 of the output so far."""
        return self._digest.digest()

    def start(self) -> None:
        """The engine has begun."""
        self._started = True
        self._start_due = True

    def add(self, piece: Piece) -> None:
        """Take output; joins what has not been sent yet. Too much of it stops the engine."""
        self.tokens += piece.tokens
        size = len(piece.text.encode())
        self._digest.update(piece.text.encode())
        if len(self._chunks) > self._sealed and self._last_bytes + size <= CHUNK_BYTES:
            last = self._chunks[-1]
            last.text += piece.text
            last.tokens += piece.tokens
            self._last_bytes += size
        else:
            self._chunks.append(
                pb.Chunk(
                    lease_id=self.lease_id,
                    fence=self.offer.fence,
                    index=len(self._chunks),
                    text=piece.text,
                    tokens=piece.tokens,
                )
            )
            self._last_bytes = size
            self._output_bytes += CHUNK_OVERHEAD_BYTES
        self._output_bytes += size
        if self._output_bytes > OUTPUT_BYTES_MAX:
            self.stop.stop(StopCause.STOP_CAUSE_LENGTH)

    def finish(self, receipt: pb.Receipt) -> None:
        """The engine has ended; the receipt is kept until it is answered."""
        self.receipt = receipt
        self._receipt_due_at = 0.0

    def rewind(self, next_index: int) -> None:
        """A new session: send again what the exchange may not have."""
        self._next_chunk = min(next_index, len(self._chunks))
        # Output got through, so what came before it did, too.
        self._accept_due = self._start_due = next_index == 0
        self._start_due &= self._started
        self._receipt_due_at = 0.0

    def rewind_to_receipt(self) -> None:
        """A new session, and the exchange wants nothing of this lease: only ask for an answer."""
        self._next_chunk = len(self._chunks)
        self._accept_due = self._start_due = False
        self._receipt_due_at = 0.0

    def next_message(self, now_s: float) -> pb.SessionRequest | None:
        """What to send next, if anything; asking for it counts as sending it."""
        if self.void:
            return None
        if self._accept_due:
            self._accept_due = False
            accept = pb.Accept(lease_id=self.lease_id, fence=self.offer.fence)
            return pb.SessionRequest(accept=accept)
        if self._start_due:
            self._start_due = False
            started = pb.Started(lease_id=self.lease_id, fence=self.offer.fence)
            return pb.SessionRequest(started=started)
        if self._next_chunk < len(self._chunks):
            chunk = self._chunks[self._next_chunk]
            self._next_chunk += 1
            self._sealed = max(self._sealed, self._next_chunk)
            return pb.SessionRequest(chunk=chunk)
        if self.receipt is not None and now_s >= self._receipt_due_at:
            self._receipt_due_at = now_s + RECEIPT_RETRY_S
            return pb.SessionRequest(receipt=self.receipt)
        return None

    def due_at(self) -> float | None:
        """When there will be something to send again without news; None for never."""
        return None if self.receipt is None or self.void else self._receipt_due_at
