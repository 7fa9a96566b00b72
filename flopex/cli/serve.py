"""`flopex serve`: an exchange."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flopex import gateway
from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.cli.output import Output
from flopex.cli.units import money_option
from flopex.config import ADDRESS_DEFAULT, HTTP_DEFAULT, HTTP_OFF, JournalWrites
from flopex.logs import LogLevel, configure_logs

if TYPE_CHECKING:
    from exchange.recovery import SnapshotConfig
    from exchange.server import Server

app = typer.Typer()

_ReadModel = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Database for queries: sqlite:////path or postgresql://user@host/name; off for none. "
        "Default: a file in the data directory.",
    ),
]
_FreshWithin = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="How long a query waits for what was durable when it was asked; then it is answered "
        "with what the read model has.",
    ),
]
_TwoProcesses = Annotated[
    bool,
    typer.Option(
        "--two-processes/--single-process",
        help="gRPC and HTTP in a process of their own, or in the engine's, as on a laptop.",
    ),
]
_Traces = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Where OpenTelemetry traces of jobs go: http://collector:4318/v1/traces, or console. "
        "Needs the extra otel and a read model.",
    ),
]
_DefaultValue = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ACCOUNT=MONEY",
        help="What an answer over the OpenAI-compatible API is worth to an account where a request "
        "does not say; may be repeated.",
    ),
]
_SnapshotRecords = Annotated[
    int,
    typer.Option(
        metavar="COUNT",
        min=0,
        help="Commands from one snapshot of the state to the next; at least 1,000. 0: none.",
    ),
]
_SnapshotPeriod = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=1, help="Longest time between two, while commands come in."
    ),
]
_WebhooksPrivate = Annotated[
    bool,
    typer.Option(
        "--webhooks-private",
        help="Let webhooks lead to private addresses and by plain http: for closed nets.",
    ),
]
_JournalWrites = Annotated[
    JournalWrites,
    typer.Option(
        help="How a commit becomes durable; where the file system has no such way, by the next of "
        "overlapped, direct, dsync, fdatasync."
    ),
]
_SnapshotsKept = Annotated[int, typer.Option(min=2, help="Newest snapshots that stay.")]


@command(app, "serve", example="flopex serve --data ./exchange --address 127.0.0.1:7411")
async def serve(
    session: Session,
    address: Annotated[
        str, typer.Option(help="host:port to listen on; port 0 lets the system choose.")
    ] = ADDRESS_DEFAULT,
    http: Annotated[
        str,
        typer.Option(
            help="host:port of the page, the OpenAI-compatible API, REST and metrics; off for none."
        ),
    ] = HTTP_DEFAULT,
    log_level: Annotated[LogLevel, typer.Option(help="Least serious log lines.")] = LogLevel.INFO,
    cut_damaged_tail: Annotated[
        bool,
        typer.Option(
            "--cut-damaged-tail",
            help="Give up a damaged last group of the journal. It may have been acknowledged.",
        ),
    ] = False,
    journal_writes: _JournalWrites = JournalWrites.DIRECT,
    read_model: _ReadModel = "",
    fresh_within: _FreshWithin = 1,
    traces: _Traces = "",
    webhooks_private: _WebhooksPrivate = False,
    snapshot_records: _SnapshotRecords = 1_000_000,
    snapshot_period: _SnapshotPeriod = 600,
    snapshots_kept: _SnapshotsKept = 3,
    default_value: _DefaultValue = None,
    reflection: Annotated[bool, typer.Option(help="Let clients ask for the gRPC schema.")] = True,
    two_processes: _TwoProcesses = True,
    grace: Annotated[float, typer.Option(help="Seconds that calls get to finish at the end.")] = 10,
) -> None:
    """Run an exchange until Ctrl-C or SIGTERM; then drain it.

    One command, two processes: the engine, and the gateway that it starts, watches and drains.

    The first start makes the data directory and writes the operator's key into it (operator.key).
    FLOPEX_OPERATOR_KEY gives another key the operator's role.
    """
    from exchange.journal.writers import WriteMode
    from exchange.server import ServerConfig
    from exchange.server import serve as run_server

    configure_logs(log_level, session.json)
    _check_addresses(address, *(() if http in ("", HTTP_OFF) else (http,)))
    config = ServerConfig(
        session.data,
        address,
        "" if http == HTTP_OFF else http,
        operator_secret=os.environ.get("FLOPEX_OPERATOR_KEY", ""),
        write_mode=WriteMode(journal_writes),
        cut_damaged_tail=cut_damaged_tail,
        reflection=reflection,
        read_model=read_model,
        fresh_within_s=fresh_within,
        traces=traces,
        webhooks_private=webhooks_private,
        snapshots=_snapshots(snapshot_records, snapshot_period, snapshots_kept),
        default_values=_default_values(default_value or []),
        gateway_command=gateway.command(log_level, session.json) if two_processes else (),
    )

    def on_started(server: Server) -> None:
        _announce(session.output, server)

    with _named_errors(session, address, http):
        await run_server(config, on_started, grace)
    session.output.summary(address=config.address, data=str(session.data))


def _check_addresses(*addresses: str) -> None:
    """Refuse what is no address before anything is made or journalled.

    Raises:
        CommandError: one of them is not host:port.
    """
    from exchange.http.addresses import split_address

    for address in addresses:
        try:
            split_address(address)
        except ValueError as error:
            hint = "--address 127.0.0.1:7411 --http 127.0.0.1:7412"
            raise CommandError(str(error), hint, ExitCode.USAGE, "USAGE") from error


def _default_values(named: list[str]) -> dict[str, int]:
    """Nano-dollars by account.

    Raises:
        CommandError: one of them cannot be read.
    """
    found = {}
    for text in named:
        account, _, value = text.rpartition("=")
        try:
            found[account] = money_option(value)
            if not account or found[account] <= 0:
                raise typer.BadParameter("an account and more than nothing is wanted")
        except typer.BadParameter as error:
            hint = "--default-value alice='$0.001'"
            raise CommandError(
                f"{text!r} is no default value: {error.message}", hint, ExitCode.USAGE, "USAGE"
            ) from error
    return found


@contextlib.contextmanager
def _named_errors(session: Session, address: str, http: str) -> Iterator[None]:
    """What may go wrong, said with what to do."""
    from exchange.blobs import BlobError
    from exchange.journal import JournalError
    from exchange.readmodel.errors import ReadModelUrlInvalid
    from exchange.readmodel.traces import TracesUnavailable
    from exchange.receipts import ReceiptsError
    from exchange.server import ServerFailed

    try:
        yield
    except (ReadModelUrlInvalid, TracesUnavailable) as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="USAGE") from error
    except JournalError as error:
        hint = "see docs/operating/running.md: what you see at start"
        raise CommandError(f"the journal: {error}", hint, reason="JOURNAL") from error
    except BlobError as error:
        raise CommandError(f"the blob store: {error}", reason="BLOBS") from error
    except ReceiptsError as error:
        raise CommandError(f"the receipts: {error}", reason="RECEIPTS") from error
    except ServerFailed as error:
        hint = "nothing that was not durable has been published; start it again once it is mended"
        raise CommandError(str(error), hint, reason="SERVER_FAILED") from error
    except (OSError, RuntimeError, ValueError) as error:
        ports = address if http == HTTP_OFF else f"{address} and {http}"
        hint = (
            f"free {ports} and make {session.data} writable, "
            "or choose others with --address, --http, --data"
        )
        raise CommandError(
            f"cannot start: {in_words(error)}", hint, ExitCode.FAILED, "START"
        ) from error


def _snapshots(records: int, period_s: float, keep: int) -> SnapshotConfig:
    from exchange.recovery import SnapshotConfig

    try:
        return SnapshotConfig(records, period_s, keep)
    except ValueError as error:
        hint = "see --snapshot-records, --snapshot-period and --snapshots-kept in --help"
        raise CommandError(f"snapshots: {error}", hint, ExitCode.USAGE, "USAGE") from error


def _announce(output: Output, server: Server) -> None:
    recovered, config = server.recovered, server.config
    if output.json:
        output.line(
            {
                "type": "started",
                "address": server.address,
                "http": server.http_address,
                "data": str(config.directory.absolute()),
                "operator_key_file": str(config.operator_key_path.absolute()),
                "epoch": server.engine.core.epoch,
                "records": recovered.records,
                "recovery_s": round(recovered.elapsed_s, 3),
                "snapshot": recovered.snapshot.name if recovered.snapshot else None,
                "outage_ns": recovered.outage_ns,
                "torn_tail": None if recovered.torn_tail is None else str(recovered.torn_tail),
            }
        )
        return
    output.show(f"address  {server.address}")
    if server.http_address:
        output.show(f"page     http://{server.http_address}/")
    output.show(f"data     {config.directory.absolute()}")
    if config.operator_key_path.exists():
        output.show(f"key      {config.operator_key_path.absolute()} (the operator's)")
    if recovered.records or recovered.snapshot:
        after = ""
        if recovered.snapshot is not None:
            after = f" after the snapshot of {int(recovered.snapshot.stem):,}"
        output.show(
            f"journal  {recovered.records:,} records{after} replayed in "
            f"{recovered.elapsed_s:.2f} s; "
            f"the exchange was away for {recovered.outage_ns / 1e9:.1f} s"
        )
    if recovered.torn_tail is not None:
        output.show(f"[yellow]journal[/]  a torn tail was cut: {recovered.torn_tail}")
    output.show("Ctrl-C stops it.")
