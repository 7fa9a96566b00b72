"""What can go wrong with a read model. None of it harms the exchange: the journal is the truth."""

from __future__ import annotations


class ReadModelError(Exception):
    """Base of the read model's errors."""


class ReadModelUrlInvalid(ReadModelError):
    """The URL names no database that is known, or its driver is not installed."""


class ReadModelUnavailable(ReadModelError):
    """The database cannot be reached, or failed."""


class ReadModelMissing(ReadModelUnavailable):
    """It was never made."""


class ReadModelMoved(ReadModelError):
    """Somebody else wrote to the read model: its sequence is not the one that was left there."""


class ReadModelLocked(ReadModelError):
    """Another process feeds this read model."""


class ReadModelOfAnother(ReadModelError):
    """The read model was fed from a journal that is not this one, or was longer than this one."""


class ReadModelBeforeUpgrade(ReadModelError):
    """It lacks what the journal holds under older rules, which this release does not replay."""

    def __init__(self, sequence: int, since: int) -> None:
        self.sequence = sequence
        self.since = since
        super().__init__(
            f"the read model would go on behind sequence {sequence}, but the journal was upgraded "
            f"at {since}, and this release replays nothing from before that: take a copy of the "
            "data directory from before the upgrade, start the release that wrote it until its "
            f"read model is at {since - 1} (flopex readmodel status), and use that read model"
        )


class ReadModelBehind(ReadModelError):
    """The answer must contain everything so far, and the read model does not yet."""


class ReadModelBusy(ReadModelError):
    """Too many questions wait already."""
