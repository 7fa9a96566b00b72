"""What feeds the read model beside the exchange: a process of its own, or a thread.

What it gives nobody must lose, and it catches up by itself.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Final

from exchange.journal import JournalError
from exchange.readmodel.database import sqlite_url
from exchange.readmodel.errors import ReadModelError
from exchange.readmodel.follow import follow
from exchange.readmodel.traces import closing_traces
from exchange.server.helpers import HelperProcess, HelperThread

OFF: Final = "off"
"""In place of a URL: no read model."""
WHAT: Final = "the read model's feed"


def read_model_url(directory: Path, asked: str) -> str:
    """The URL of the read model: as asked for, or of a file in the data directory; "" for none."""
    if asked == OFF:
        return ""
    return asked or sqlite_url(directory / "read-model" / "read-model.sqlite3")


class ReadModelProcess(HelperProcess):
    """Runs `python -m exchange.readmodel`.

    Args:
        journal: The journal's folder; it holds a segment.
        snapshots: The snapshots' folder.
        url: Of the database; it may hold a password.
        traces: Where traces of jobs go (`exchange.readmodel.traces`); empty: nowhere.
    """

    def __init__(self, journal: Path, snapshots: Path, url: str, traces: str = "") -> None:
        folders = str(journal.absolute()), str(snapshots.absolute())
        super().__init__(WHAT, ("exchange.readmodel", *folders), (url, traces))


class ReadModelThread(HelperThread):
    """Runs the same in a thread of this process; the arguments are the same."""

    def __init__(self, journal: Path, snapshots: Path, url: str, traces: str = "") -> None:
        def run(stop: Event) -> None:
            with closing_traces(traces) as opened:
                follow(journal, url, stop, traces=opened, snapshots=snapshots)

        super().__init__(WHAT, run, (ReadModelError, JournalError))
