"""Settings of a server and of its edges."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exchange.journal import SEGMENT_BYTES
from exchange.journal.writers import WRITE_MODE, WriteMode
from exchange.readmodel.model import FRESH_WITHIN_S
from exchange.recovery import SnapshotConfig
from exchange.rpc.sessions import SessionConfig

ADDRESS_DEFAULT: Final = "127.0.0.1:7411"
GATEWAY_COMMAND: Final = (sys.executable, "-P", "-m", "exchange.server.gateway_main")
"""Starts the gateway's process; the number of a file descriptor is added. It has -P, as all that
are started from modules here: no file of the current folder may stand in for a library's."""


@dataclass(frozen=True, slots=True)
class EdgesConfig:
    """Settings of gRPC and HTTP.

    Attributes:
        address: host:port of gRPC; port 0 lets the system choose.
        http_address: The same for HTTP; empty: no HTTP.
        reflection: Whether the gRPC schema can be asked for.
        default_values: By account, what an answer over the OpenAI-compatible API is worth where the
            request does not say, nano-dollars.
    """

    address: str
    http_address: str = ""
    reflection: bool = True
    default_values: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings of a server.

    Attributes:
        directory: The data directory: journal, blobs, receipts, keys. Made if it does not exist.
        address: host:port to listen on; port 0 lets the system choose.
        http_address: The same for HTTP; empty: no HTTP.
        operator_secret: An API key that shall have the operator role; empty: a new exchange makes
            one and writes it to `operator.key` in the data directory.
        segment_bytes: Size of a journal segment, bytes.
        write_mode: How the journal's groups become durable, where the file system has that way.
        cut_damaged_tail: The operator's decision to give up a damaged last group of the journal or
            of the receipts.
        reflection: Whether the gRPC schema can be asked for.
        sessions: How long workers may be silent or away.
        read_model: URL of the database for queries; empty: a file in the data directory; "off".
        fresh_within_s: How long a query waits for the read model to contain what was durable when
            it was asked, seconds; then it is answered with what there is.
        traces: Where traces of jobs go: an OTLP endpoint, or "console"; empty: nowhere.
        read_model_process: Whether a process of its own feeds it, and not a thread of this one.
        webhooks_private: Whether webhooks may lead anywhere: to private addresses, and by http.
        snapshots: When snapshots of the state are taken, and how many stay.
        default_values: By account, what an answer over the OpenAI-compatible API is worth where the
            request does not say, nano-dollars.
        gateway_command: Starts the gateway as a process of its own; empty: it is in this one.
    """

    directory: Path
    address: str = ADDRESS_DEFAULT
    http_address: str = ""
    operator_secret: str = ""
    segment_bytes: int = SEGMENT_BYTES
    write_mode: WriteMode = WRITE_MODE
    cut_damaged_tail: bool = False
    reflection: bool = True
    sessions: SessionConfig = field(default_factory=SessionConfig)
    read_model: str = ""
    fresh_within_s: float = FRESH_WITHIN_S
    traces: str = ""
    read_model_process: bool = True
    webhooks_private: bool = False
    snapshots: SnapshotConfig = field(default_factory=SnapshotConfig)
    default_values: dict[str, int] = field(default_factory=dict)
    gateway_command: tuple[str, ...] = ()

    @property
    def operator_key_path(self) -> Path:
        """Where a new exchange writes its operator's key."""
        return self.directory / "operator.key"

    @property
    def edges(self) -> EdgesConfig:
        """What of it concerns gRPC and HTTP."""
        return EdgesConfig(self.address, self.http_address, self.reflection, self.default_values)
