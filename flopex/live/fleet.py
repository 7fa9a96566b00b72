"""The processes of a live run: an exchange, and a worker for each worker of the scenario."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.client import AsyncClient, CallFailed, ClearingMode, Instrument, Settlement
from exchange.core.limits import (
    BALANCE_MAX_NANOS,
    JOB_QUANTITY_MAX_MFLOP,
    NS_PER_S,
    OUTPUT_TOKENS_MAX,
    PRICE_MAX_NANOS,
)
from exchange.metering.cards import INSTANT
from flopex.config import OPERATOR_KEY_NAME, read_key_file
from flopex.demo.children import Child
from sim.demand import Demand
from sim.market import policy_of
from sim.scenario import Scenario
from worker.quoting import Inventory, QuotePolicy, Static

START_WITHIN_S: Final = 60.0
"""How long the exchange gets to open, and the workers to connect."""
WORKERS_MAX: Final = 32
"""Most worker processes on one machine."""
TIER: Final = "live"
LABEL: Final = "live run"
SELLER: Final = "live-seller"
CREDIT_NANOS: Final = 10**15
"""Of each buyer: none runs out of money."""


class LiveRunFailed(Exception):
    """The run cannot go on; the message says why."""


@asynccontextmanager
async def exchange_of_our_own(directory: Path) -> AsyncIterator[tuple[str, str]]:
    """An exchange of two processes: its address and its operator's key.

    Raises:
        LiveRunFailed: it did not open.
    """
    logs = directory / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def on_line(line: str) -> None:
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("type") == "started" and not opened.done():
            opened.set_result(message)

    arguments = ["serve", "--json", "--two-processes", "--address", "127.0.0.1:0"]
    arguments += ["--http", "off", "--read-model", "off", "--data", str(directory)]
    child = Child("exchange", arguments, logs, on_line)
    await child.start()
    try:
        try:
            async with asyncio.timeout(START_WITHIN_S):
                started = await opened
        except TimeoutError:
            raise LiveRunFailed(f"the exchange did not open:\n{child.last_words()}") from None
        yield started["address"], read_key_file(directory / OPERATOR_KEY_NAME)
    finally:
        await child.stop()


class Fleet(NamedTuple):
    """What the workers are told.

    Attributes:
        target: Address of the exchange.
        key: Of the seller's account.
        directory: Where logs and the workers' keys lie.
        allowance_s: How much shorter an engine runs than its class promises.
    """

    target: str
    key: str
    directory: Path
    allowance_s: float


@asynccontextmanager
async def workers(scenario: Scenario, pace: Demand, settings: Fleet) -> AsyncIterator[list[Child]]:
    """A process for each worker of the scenario, with the instant engine at its class's speed.

    Raises:
        LiveRunFailed: there are too many for a machine.
    """
    count = sum(kind.workers for kind in scenario.classes)
    if count > WORKERS_MAX:
        raise LiveRunFailed(f"{count} workers are more than {WORKERS_MAX} processes")
    logs = settings.directory / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    children = []
    for kind in scenario.classes:
        policy = policy_of(kind, scenario, unit_price_nanos(pace))
        rate = pace.millitokens_per_s * kind.speed / 1_000
        for number in range(kind.workers):
            name = f"{kind.name}-{number}"
            arguments = ["worker", "run", "--name", name, "--engine", "instant", "--json"]
            arguments += ["--target", settings.target, "--data", str(settings.directory)]
            arguments += ["--slots", str(kind.slots), "--instant-prompt-rate", str(rate)]
            arguments += ["--instant-head-start", str(settings.allowance_s)]
            arguments += ["--quote", f"{instrument_name(kind.name)}={_written(policy)}"]
            arguments += ["--log-level", "warning"]
            children.append(Child(name, arguments, logs, environment={"FLOPEX_KEY": settings.key}))
    try:
        await asyncio.gather(*(child.start() for child in children))
        yield children
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def set_up(operator: AsyncClient, scenario: Scenario, pace: Demand) -> dict[str, str]:
    """Model, instruments, accounts, money: the keys by account."""
    admin = operator.admin
    await _unless_there(admin.create_model(INSTANT.encode()))
    for kind in scenario.classes:
        rate = max(1, round(pace.millitokens_per_s * kind.speed))
        await _unless_there(admin.create_instrument(_instrument(kind.name, rate)))
    keys = {SELLER: await _key(operator, SELLER, "worker")}
    credit_nanos = min(CREDIT_NANOS, BALANCE_MAX_NANOS // (2 * scenario.accounts))
    for number in range(scenario.accounts):
        name = buyer_name(number)
        keys[name] = await _key(operator, name, "trader")
        await admin.deposit(name, credit_nanos)
    return keys


async def all_connected(operator: AsyncClient, children: list[Child]) -> None:
    """Return once every worker quotes.

    Raises:
        LiveRunFailed: one has ended, or they take too long.
    """
    try:
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                dead = [child for child in children if not child.alive]
                if dead:
                    raise LiveRunFailed(f"worker {dead[0].name} ended:\n{dead[0].last_words()}")
                known = {w.name for w in await operator.workers.list() if w.quotes}
                if known >= {child.name for child in children}:
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise LiveRunFailed(f"not all workers quote after {START_WITHIN_S:.0f} s") from None


def unit_price_nanos(pace: Demand) -> float:
    """As `Demand.unit_price_nanos`, for the model that the live workers run."""
    from sim.scenario import FLOPS_PER_TOKEN

    return pace.unit_price_nanos * FLOPS_PER_TOKEN / INSTANT.flops_per_token


def buyer_name(number: int) -> str:
    """The account of the demand's account of this number."""
    return f"live-buyer-{number}"


def instrument_name(hardware_class: str) -> str:
    """The instrument of a hardware class."""
    return f"{INSTANT.name}/{hardware_class}/{TIER}"


def _written(policy: QuotePolicy) -> str:
    """A policy as the worker's command line takes it."""
    if isinstance(policy, Inventory):
        return f"inventory:{policy.cost_nanos},{policy.ceiling_nanos},{policy.exponent_milli}"
    assert isinstance(policy, Static)
    return f"static:{','.join(map(str, policy.prices))}"


async def _key(operator: AsyncClient, account: str, role: str) -> str:
    await _unless_there(operator.admin.create_account(account))
    return (await operator.admin.create_key(account, [role], label=LABEL)).secret


async def _unless_there(entering: Awaitable[object]) -> None:
    try:
        await entering
    except CallFailed as error:
        if error.reason != "NAME_TAKEN":
            raise


def _instrument(hardware_class: str, millitokens_per_s: int) -> Instrument:
    return Instrument(
        name=instrument_name(hardware_class),
        model=INSTANT.name,
        hardware_class=hardware_class,
        tier=TIER,
        settlement=Settlement.LEASE,
        clearing_mode=ClearingMode.BATCH,
        tick_nanos=1,
        lot_mflop=1,
        price_min_nanos=1,
        price_max_nanos=PRICE_MAX_NANOS,
        quantity_max_mflop=JOB_QUANTITY_MAX_MFLOP,
        prefill_millitokens_per_s=millitokens_per_s,
        decode_millitokens_per_s=millitokens_per_s,
        context_tokens_max=OUTPUT_TOKENS_MAX,
        latest_start_ns=NS_PER_S,
    )
