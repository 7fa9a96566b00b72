"""What the audience sees: jobs, ladders, workers, a tape of what happened. It draws nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from flopex.demo.scenario import JobPart
from flopex.render.ladder import LadderView

TAPE_LINES_MAX: Final = 200
"""Lines of the tape that are kept."""


class Kind(StrEnum):
    """What a line of the tape is about."""

    SETUP = "setup"
    BID = "bid"
    FILL = "fill"
    RECEIPT = "receipt"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class TapeLine:
    """One thing that happened, `at_s` seconds after the start."""

    at_s: float
    kind: Kind
    text: str


@dataclass(slots=True)
class JobRow:
    """One job of the demo as it goes on; money in nano-dollars, compute in FLOPs."""

    buyer: str
    part: JobPart
    job_id: int = 0
    state: str = "to come"
    worker: str = ""
    price_nanos: int = 0
    escrow_nanos: int = 0
    text: str = ""
    tokens: int = 0
    attempt: int = 1
    cause: str = ""
    reason: str = ""
    flops: int = 0
    paid_nanos: int = 0
    receipt_good: bool | None = None
    steps: int = 0
    """Steps of thought, by the receipt of the adaptive model."""

    @property
    def right(self) -> bool:
        """Whether a question was answered as it should be."""
        return self.text.strip().casefold() == self.part.right_answer.casefold()

    @property
    def running(self) -> bool:
        """Whether tokens are coming."""
        return self.state == "running"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("settled", "cancelled", "expired", "failed")


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the exchange sees it."""

    name: str
    state: str
    slots: int
    in_use: int
    price_nanos: int
    leases_settled: int
    earned_nanos: int


@dataclass(slots=True)
class Stage:
    """Everything on show. Writers change it, the view reads it."""

    address: str = ""
    directory: str = ""
    began: float = field(default_factory=time.monotonic)
    jobs: list[JobRow] = field(default_factory=list)
    ladders: list[LadderView] = field(default_factory=list)
    workers: list[WorkerRow] = field(default_factory=list)
    tape: deque[TapeLine] = field(default_factory=lambda: deque(maxlen=TAPE_LINES_MAX))
    step: str = "starting"
    on_line: Callable[[TapeLine], None] | None = None

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def say(self, kind: Kind, text: str) -> None:
        """Put a line on the tape."""
        line = TapeLine(self.elapsed_s(), kind, text)
        self.tape.append(line)
        if self.on_line is not None:
            self.on_line(line)
