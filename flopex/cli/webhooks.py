"""`flopex webhook add|list|test|remove`: URLs that are called when the account's jobs end."""

from __future__ import annotations

from typing import Annotated

import typer

from flopex.cli.base import Session, command
from flopex.render.webhooks import webhooks_table

app = typer.Typer(
    no_args_is_help=True, help="URLs of yours that are called when your jobs end, or at a price."
)
_ID = typer.Argument(min=1, metavar="WEBHOOK", help="The webhook's number.")


@command(app, "add", example="flopex webhook add https://example.org/hook > hook.secret")
async def add(
    session: Session,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="https, with a host on the public internet.")
    ],
) -> None:
    """Have the endings of your jobs sent to a URL from now on, as signed CloudEvents.

    Prints the secret that they are signed with. It is shown once.
    """
    async with session.connect() as client:
        made = await client.webhooks.add(url)
    session.output.answer(made, made.secret)
    session.output.note(
        f"secret of webhook {made.webhook.webhook_id}, shown this once: keep it where the endpoint "
        f"checks signatures; then try: flopex webhook test {made.webhook.webhook_id}"
    )


@command(app, "list", example="flopex webhook list")
async def list_webhooks(session: Session) -> None:
    """Show your webhooks and how they do: what was told, what fails, what was given up."""
    async with session.connect() as client:
        found = await client.webhooks.list()
    session.output.answer({"webhooks": found}, webhooks_table(found) if found else "no webhooks")


@command(app, "test", example="flopex webhook test 3")
async def test(session: Session, webhook: Annotated[int, _ID]) -> None:
    """Have a test sent at once, whatever failed before. It also wakes a webhook that is gone."""
    async with session.connect() as client:
        await client.webhooks.test(webhook)
    session.output.answer({"tested": webhook}, f"a test is on its way to webhook {webhook}")
    session.output.note("flopex webhook list shows how it went")


@command(app, "remove", example="flopex webhook remove 3")
async def remove(session: Session, webhook: Annotated[int, _ID]) -> None:
    """End a webhook, and the alerts that are sent to it."""
    async with session.connect() as client:
        await client.webhooks.remove(webhook)
    session.output.answer({"removed": webhook}, f"webhook {webhook} is gone, and so are its alerts")
