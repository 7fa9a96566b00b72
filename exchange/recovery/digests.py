"""What the live engine says of itself, for whoever replays the same commands.

A text file of lines `sequence outcomes state`, digests in hexadecimal, `-` for a state's digest
that was not taken. It is advice and not part of the journal: nothing waits for it to be durable,
and a line that was cut short is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from exchange.recovery.replay import Replica

DIGESTS_NAME: Final = "DIGESTS"
LINES_MAX: Final = 1_024
"""The file begins anew once it has so many."""
_NONE: Final = "-"
_DIGEST_BYTES: Final = 32


class Published(NamedTuple):
    """The live engine's digests right after a sequence.

    Attributes:
        sequence: Of the last command of a group.
        outcomes: See `Replica.outcomes`.
        state: `Exchange.digest`, where the state was small enough to take it.
    """

    sequence: int
    outcomes: bytes
    state: bytes | None


class Differs(Exception):
    """A replay of the journal gave something else than the live engine: one of them is wrong.

    Attributes:
        sequence: After which command it was noticed.
        what: "outcomes" or "state".
    """

    def __init__(self, sequence: int, what: str, published: bytes, found: bytes) -> None:
        self.sequence = sequence
        self.what = what
        self.published = published
        self.found = found
        super().__init__(
            f"after sequence {sequence} a replay has {what} {found.hex()[:16]}, the live engine "
            f"published {published.hex()[:16]}: the same commands did not do the same; no snapshot "
            "is taken; keep the data directory and report this"
        )


class DigestFile:
    """The published digests of one journal."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / DIGESTS_NAME

    def publish(self, line: Published) -> None:
        """Add a line.

        Raises:
            OSError: the file cannot be written.
        """
        self._path.parent.mkdir(0o700, parents=True, exist_ok=True)
        mode = "a" if len(self.read()) < LINES_MAX else "w"
        state = line.state.hex() if line.state else _NONE
        with self._path.open(mode) as file:
            file.write(f"{line.sequence} {line.outcomes.hex()} {state}\n")

    def read(self, *, strict: bool = False) -> list[Published]:
        """All lines that are whole, in order; none where there is no file.

        Raises:
            OSError: it cannot be read; only if `strict`, otherwise that is as if it had no line.
        """
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError:
            if strict:
                raise
            return []
        return [found for line in lines if (found := _parsed(line)) is not None]

    def forget(self) -> None:
        """Begin anew: what was published is checked.

        Raises:
            OSError: the file cannot be removed.
        """
        self._path.unlink(missing_ok=True)


class Comparison:
    """Holds a replay against published digests as it comes by them."""

    def __init__(self, published: Iterable[Published]) -> None:
        self._published = {line.sequence: line for line in published}
        self.compared = 0

    def check(self, replica: Replica) -> None:
        """Compare after a group.

        Raises:
            Differs: the live engine had other digests there.
        """
        line = self._published.get(replica.core.sequence)
        if line is None:
            return
        if line.outcomes != replica.outcomes:
            raise Differs(line.sequence, "outcomes", line.outcomes, replica.outcomes)
        if line.state is not None and line.state != (found := replica.core.digest()):
            raise Differs(line.sequence, "state", line.state, found)
        self.compared += 1


def _parsed(line: str) -> Published | None:
    try:
        sequence, outcomes, state = line.split()
        published = Published(
            int(sequence), bytes.fromhex(outcomes), None if state == _NONE else bytes.fromhex(state)
        )
    except ValueError:
        return None
    sizes = {len(published.outcomes), len(published.state or published.outcomes)}
    return published if sizes == {_DIGEST_BYTES} else None
