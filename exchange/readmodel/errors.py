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


class ReadModelBehind(ReadModelError):
    """The answer must contain everything so far, and the read model does not yet."""


class ReadModelBusy(ReadModelError):
    """Too many questions wait already."""
