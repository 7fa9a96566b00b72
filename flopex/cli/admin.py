"""`flopex admin`: the operator's commands."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.cli.units import compute_option, duration_option, money_option, price_option
from flopex.render.format import grouped, money, words
from flopex.render.tables import account_table, instruments_table

CARD_BYTES_MAX: Final = 64 << 10

app = typer.Typer(no_args_is_help=True, help="The operator's commands; each is journalled.")

_ACCOUNT = typer.Argument(help="The account's name.")
_AMOUNT = typer.Argument(parser=money_option, metavar="MONEY", help="How much.")
_REQUEST = typer.Option(
    metavar="HEX", help="Id of the request, 32 hexadecimal digits (UUIDv7): repeat it safely."
)


class RoleName(StrEnum):
    """What a key may do."""

    TRADER = "trader"
    WORKER = "worker"
    OPERATOR = "operator"
    READER = "reader"


class Target(StrEnum):
    """What can be halted."""

    INSTRUMENT = "instrument"
    ACCOUNT = "account"
    WORKER = "worker"


@command(app, "account", example="flopex admin account ada\nflopex admin account --list")
async def account(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of a new account.")] = "",
    paper: Annotated[
        bool, typer.Option("--paper", help="A paper account: it trades paper instruments only.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show all accounts instead.")] = False,
) -> None:
    """Open an account, or list all of them."""
    if list_all == bool(name):
        raise CommandError("name a new account, or use --list", code=ExitCode.USAGE, reason="NAME")
    async with session.connect() as client:
        if list_all:
            found = await client.admin.accounts()
            session.output.answer({"accounts": found}, account_table(found))
            return
        opened = await client.admin.create_account(name, paper=paper)
    session.output.answer(opened, f"account {opened.name} is open; give it a key: flopex admin key")


@command(
    app,
    "key",
    example="flopex admin key ada --role trader\n"
    "flopex admin key old-laptop --role worker --label 'the laptop' > laptop.key\n"
    "flopex admin key --revoke 3f9a01bc",
)
async def key(
    session: Session,
    account_name: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="The account's name.")
    ] = "",
    role: Annotated[list[RoleName] | None, typer.Option(help="May be repeated.")] = None,
    label: Annotated[str, typer.Option(help="For people.")] = "",
    revoke: Annotated[
        str, typer.Option(metavar="KEY_ID", help="End a key instead, by its id's first digits.")
    ] = "",
) -> None:
    """Make an API key, or end one. A key is shown once: the exchange keeps only its hash."""
    if bool(revoke) == bool(account_name):
        raise CommandError(
            "name an account and its roles, or use --revoke", code=ExitCode.USAGE, reason="NAME"
        )
    async with session.connect() as client:
        if revoke:
            await client.admin.revoke_key(revoke)
            session.output.answer({"revoked": revoke}, f"key {revoke} is valid no more")
            return
        roles = [one.value for one in role or [RoleName.TRADER]]
        made = await client.admin.create_key(account_name, roles, label=label)
    answer = {"account": account_name, "roles": roles, "key_id": made.key_id, "key": made.secret}
    session.output.answer(answer, made.secret)
    session.output.note(f"key {made.key_id} of {account_name}, shown this once: keep it")


@command(app, "deposit", example="flopex admin deposit ada 5")
async def deposit(
    session: Session,
    account_name: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")],
    amount: Annotated[int, _AMOUNT],
    request_id: Annotated[str, _REQUEST] = "",
) -> None:
    """Put credit into an account."""
    async with session.connect() as client:
        after = await client.admin.deposit(account_name, amount, request_id=_id(request_id))
    session.output.answer(after, account_table([after]))


@command(app, "withdraw", example="flopex admin withdraw ada 1.50")
async def withdraw(
    session: Session,
    account_name: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")],
    amount: Annotated[int, _AMOUNT],
    request_id: Annotated[str, _REQUEST] = "",
) -> None:
    """Pay credit out of an account, at most what is available."""
    async with session.connect() as client:
        after = await client.admin.withdraw(account_name, amount, request_id=_id(request_id))
    session.output.answer(after, account_table([after]))


@command(
    app, "model", example="flopex admin model smollm2-135m\nflopex admin model --card card.json"
)
async def model(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(
            help="A card that is shipped: smollm2-135m, adaptive-tiny, adaptive-small or instant."
        ),
    ] = "",
    card: Annotated[Path | None, typer.Option(help="A model card (JSON) instead.")] = None,
) -> None:
    """Enter a model card: the numbers from which a model's FLOPs follow."""
    from exchange.metering.cards import CardError, decode_card
    from flopex.receipts import shipped_cards

    shipped = shipped_cards()
    if (card is None) != bool(name) or (name and name not in shipped):
        raise CommandError(
            f"name a shipped card ({', '.join(shipped)}) or use --card FILE",
            code=ExitCode.USAGE,
            reason="CARD",
        )
    try:
        found = shipped[name] if card is None else decode_card(card.read_bytes()[:CARD_BYTES_MAX])
    except (OSError, CardError) as error:
        raise CommandError(
            f"{card}: {in_words(error)}", code=ExitCode.USAGE, reason="CARD"
        ) from error
    async with session.connect() as client:
        entered = await client.admin.create_model(found.encode())
    session.output.answer(entered, f"model {entered.name} is entered, number {entered.model_id}")


@command(
    app,
    "instrument",
    example="flopex admin instrument smollm2-135m/cpu/interactive --decode 8 --prefill 40\n"
    "flopex admin instrument paper-h100 --paper --tick '1 nanos' --max '100000 nanos'",
)
async def instrument(
    session: Session,
    name: Annotated[
        str, typer.Argument(help="model/class/tier, or any name for a paper instrument.")
    ],
    paper: Annotated[
        bool, typer.Option("--paper", help="A continuous book in paper money; nothing is computed.")
    ] = False,
    tick: Annotated[
        int, typer.Option(parser=price_option, metavar="PRICE", help="Smallest price step.")
    ] = "1000 nanos",  # type: ignore[assignment]
    lowest: Annotated[
        int,
        typer.Option(
            "--min",
            parser=price_option,
            metavar="PRICE",
            help="Lowest price.",
            show_default="a tick",
        ),
    ] = 0,
    highest: Annotated[
        int, typer.Option("--max", parser=price_option, metavar="PRICE", help="Highest price.")
    ] = "0.05",  # type: ignore[assignment]
    lot: Annotated[
        int, typer.Option(parser=compute_option, metavar="COMPUTE", help="Smallest quantity step.")
    ] = "1 MFLOP",  # type: ignore[assignment]
    largest: Annotated[
        int,
        typer.Option(
            "--quantity-max", parser=compute_option, metavar="COMPUTE", help="Largest order or job."
        ),
    ] = "1000 CU",  # type: ignore[assignment]
    prefill: Annotated[
        float, typer.Option(min=0, help="Prompt tokens per second and slot, all slots busy.")
    ] = 40.0,
    decode: Annotated[
        float, typer.Option(min=0, help="Output tokens per second and slot, all slots busy.")
    ] = 8.0,
    context: Annotated[int, typer.Option(min=1, help="Longest context, tokens.")] = 2_048,
    latest_start: Annotated[
        int,
        typer.Option(
            parser=duration_option, metavar="DURATION", help="Start after the match within this."
        ),
    ] = "2s",  # type: ignore[assignment]
) -> None:
    """Enter an instrument: a batch book of leases for a model, or a continuous paper book.

    The rates are a promise of the hardware class, not of one worker: state what it keeps when it is
    busy.
    """
    from exchange.client import ClearingMode, Instrument, Settlement

    terms = Instrument(
        name=name,
        model="" if paper else name.split("/")[0],
        settlement=Settlement.PAPER if paper else Settlement.LEASE,
        clearing_mode=ClearingMode.CONTINUOUS if paper else ClearingMode.BATCH,
        tick_nanos=tick,
        lot_mflop=lot,
        price_min_nanos=lowest or tick,
        price_max_nanos=highest,
        quantity_max_mflop=largest,
        prefill_millitokens_per_s=0 if paper else round(prefill * 1_000),
        decode_millitokens_per_s=0 if paper else round(decode * 1_000),
        context_tokens_max=0 if paper else context,
        latest_start_ns=0 if paper else latest_start,
    )
    async with session.connect() as client:
        entered = await client.admin.create_instrument(terms)
    session.output.answer(entered, instruments_table([entered]))


@command(
    app,
    "halt",
    example="flopex admin halt instrument smollm2-135m/cpu/batch\nflopex admin halt account ada",
)
async def halt(
    session: Session,
    what: Annotated[Target, typer.Argument(help="What to halt.")],
    name: Annotated[str, typer.Argument(help="Its name; a worker's number.")],
    close: Annotated[
        bool, typer.Option("--close", help="Close an instrument for good; what rests is cancelled.")
    ] = False,
) -> None:
    """Halt an instrument, an account or a worker. Cancels and receipts still work."""
    if close and what is not Target.INSTRUMENT:
        raise CommandError("only an instrument can be closed", code=ExitCode.USAGE, reason="CLOSE")
    await set_state(session, what, name, "CLOSED" if close else "HALTED")


@command(app, "resume", example="flopex admin resume account ada")
async def resume(
    session: Session,
    what: Annotated[Target, typer.Argument(help="What to resume.")],
    name: Annotated[str, typer.Argument(help="Its name; a worker's number.")],
) -> None:
    """Let an instrument, an account or a worker go on; an auction ends with its trades."""
    await set_state(session, what, name, "OPEN")


async def set_state(
    session: Session, what: Target, name: str, state: str, call_ns: int = 0
) -> None:
    """Change the state of an instrument, an account or a worker, and show it."""
    from exchange.client import TradingState, WorkerAction

    after: Any
    async with session.connect() as client:
        if what is Target.INSTRUMENT:
            after = await client.admin.set_instrument_state(
                name, TradingState[state], call_ns=call_ns
            )
            shown = f"{name}: {words(after.state.name)}"
        elif what is Target.ACCOUNT:
            after = await client.admin.set_account_halted(name, state != "OPEN")
            shown = f"account {name}: {'halted' if after.halted else 'not halted'}"
        else:
            action = WorkerAction.RESUME if state == "OPEN" else WorkerAction.PAUSE
            after = await client.admin.set_worker(await _worker_id(client, name), action)
            shown = f"worker {after.name}: {words(after.state.name)}"
    session.output.answer(after, shown)


async def _worker_id(client: Any, name: str) -> int:
    found = [w.worker_id for w in await client.workers.list() if name in (w.name, str(w.worker_id))]
    if len(found) != 1:
        raise CommandError(
            f"{len(found) or 'no'} workers are called {name!r}",
            "flopex worker status shows their numbers",
            ExitCode.NOT_FOUND,
            "UNKNOWN_WORKER",
        )
    return int(found[0])


@command(app, "invariants", example="flopex admin invariants --full")
async def invariants(
    session: Session,
    full: Annotated[
        bool, typer.Option("--full", help="Also run every check and compute the state digest.")
    ] = False,
) -> None:
    """Show what must always hold, and whether it does. Exit code 1 if anything does not."""
    async with session.connect() as client:
        found = await client.admin.invariants(full=full)
    table = Table.grid(padding=(0, 3))
    rows = [
        ("sum over all accounts", money(found.ledger_imbalance_nanos)),
        ("billed above any escrow or lease", money(found.overspend_nanos)),
        ("journal records", grouped(found.journal_records)),
        ("epoch", str(found.epoch)),
        (
            "open orders, jobs, leases",
            f"{found.open_orders}, {found.open_jobs}, {found.open_leases}",
        ),
        ("jobs settled, failed", f"{found.jobs_settled}, {found.jobs_failed}"),
        ("workers connected", str(found.workers_connected)),
    ]
    if full:
        rows += [("state digest", found.digest.hex()), ("checks", found.failure or "all hold")]
    for name, value in rows:
        table.add_row(name, Text(value))
    session.output.answer(found, Group(table))
    if found.ledger_imbalance_nanos or found.overspend_nanos or found.failure:
        raise CommandError(
            "an invariant does not hold",
            "halt the exchange and keep its data directory",
            reason="INVARIANT",
        )


@command(app, "export", example="flopex admin export --json > ledger.ndjson")
async def export(session: Session) -> None:
    """Print every ledger entry from the first on, and the balances that follow from them.

    The balances are added up here, from the entries alone; the summary compares them with those
    that the exchange states.
    """
    balances: dict[int, int] = {}
    count = 0
    async with session.connect() as client:
        async for entry in client.admin.export_ledger():
            count += 1
            for account_id, sign in ((entry.debit_account_id, -1), (entry.credit_account_id, 1)):
                balances[account_id] = balances.get(account_id, 0) + sign * entry.amount_nanos
            if session.json:
                session.output.line({"type": "entry", "number": count, **_plain(entry)})
            else:
                session.output.show(
                    f"{entry.sequence:>8}  {words(entry.kind.name):10}  "
                    f"{entry.debit_account_id:>4} -> {entry.credit_account_id:<4}  "
                    f"{money(entry.amount_nanos)}"
                )
        stated = {one.account_id: one for one in await client.admin.accounts()}
    wrong = [i for i, one in stated.items() if balances.get(i, 0) != one.balance_nanos]
    session.output.summary(
        entries=count,
        balances={stated[i].name if i in stated else i: n for i, n in balances.items()},
        sum_nanos=sum(balances.values()),
        differing=[stated[i].name for i in wrong],
    )
    session.output.show(
        f"{grouped(count)} entries; the balances add up to {money(sum(balances.values()))}; "
        + ("all are as the exchange states them" if not wrong else "THEY DIFFER")
    )
    if wrong:
        names = ", ".join(stated[i].name for i in wrong)
        raise CommandError(
            f"balances differ from the entries: {names}",
            "money moved during the export, or the exchange is wrong: export again",
            reason="BALANCES",
        )


def _plain(entry: Any) -> dict[str, Any]:
    from flopex.cli.output import plain

    fields: dict[str, Any] = plain(entry)
    return fields


def _id(text: str) -> bytes | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text.replace("-", "")):
        raise CommandError(
            "--request-id must be 32 hexadecimal digits", code=ExitCode.USAGE, reason="ID"
        )
    return bytes.fromhex(text.replace("-", ""))
