"""Setting up the demo's market: model card, instruments, accounts, funded keys, a paper book."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Final

from exchange.client import (
    AsyncClient,
    CallFailed,
    ClearingMode,
    Instrument,
    Settlement,
    Side,
)
from exchange.metering.cards import ModelCard
from flopex.demo import scenario

YOU: Final = "you"
YOUR_VALUE: Final = "0.001"
"""What an answer is worth to you, dollars, where a request in OpenAI's form does not say."""
PAPER_YOU: Final = "paper-you"
PAPER_MAKER: Final = "paper-maker"
LABEL: Final = "demo"

PAPER_TICK_NANOS: Final = 1
PAPER_PRICE_MAX_NANOS: Final = 100_000
PAPER_QUANTITY_MAX_MFLOP: Final = 10**9
PAPER_LADDER: Final = (
    (Side.ASK, 1_790, 40_000_000),
    (Side.ASK, 1_760, 25_000_000),
    (Side.ASK, 1_745, 10_000_000),
    (Side.BID, 1_730, 12_000_000),
    (Side.BID, 1_715, 20_000_000),
    (Side.BID, 1_680, 60_000_000),
)
"""What the paper maker rests: side, price (around an H100's cost), MFLOP."""


@dataclass(frozen=True, slots=True)
class Keys:
    """API keys by account: buyers, workers, the visitor's own and his paper one."""

    of: dict[str, str]

    @property
    def yours(self) -> str:
        """A funded key for whoever watches the demo."""
        return self.of[YOU]

    @property
    def paper(self) -> str:
        """A key of a paper account with paper money."""
        return self.of[PAPER_YOU]


def instrument_names(card: ModelCard) -> list[str]:
    """The leased instruments of the demo, one per tier."""
    return [f"{card.name}/{scenario.HARDWARE_CLASS}/{tier}" for tier in scenario.TIERS]


async def set_up(operator: AsyncClient, cards: Iterable[ModelCard]) -> Keys:
    """Enter everything; what an earlier demo in the same data directory entered stays as it is."""
    admin = operator.admin
    for card in cards:
        await _unless_there(admin.create_model(card.encode()))
        for tier, name in zip(scenario.TIERS, instrument_names(card), strict=True):
            await _unless_there(admin.create_instrument(_instrument(card, tier, name)))
    keys: dict[str, str] = {}
    for worker in scenario.WORKERS:
        keys[worker.name] = await _key(operator, worker.name, "worker")
    for name in (*(buyer.name for buyer in scenario.BUYERS), YOU):
        keys[name] = await _key(operator, name, "trader")
        await admin.deposit(name, scenario.DEPOSIT_NANOS)
    return Keys(keys)


async def set_up_paper(operator: AsyncClient, target: str, keys: Keys) -> None:
    """Open a paper book with something in it, for whoever wants to try explicit orders."""
    admin = operator.admin
    await _unless_there(admin.create_instrument(_paper_instrument()))
    for name in (PAPER_MAKER, PAPER_YOU):
        keys.of[name] = await _key(operator, name, "trader", paper=True)
        await admin.deposit(name, scenario.PAPER_MONEY_NANOS)
    async with AsyncClient(target, keys.of[PAPER_MAKER]) as maker:
        if [order async for order in maker.orders.list()]:
            return
        for side, price_nanos, quantity_mflop in PAPER_LADDER:
            await maker.orders.place(scenario.PAPER_INSTRUMENT, side, price_nanos, quantity_mflop)


async def _key(operator: AsyncClient, account: str, role: str, paper: bool = False) -> str:
    await _unless_there(operator.admin.create_account(account, paper=paper))
    return (await operator.admin.create_key(account, [role], label=LABEL)).secret


async def _unless_there(entering: Awaitable[object]) -> None:
    try:
        await entering
    except CallFailed as error:
        if error.reason != "NAME_TAKEN":
            raise


def _instrument(card: ModelCard, tier: str, name: str) -> Instrument:
    return Instrument(
        name=name,
        model=card.name,
        hardware_class=scenario.HARDWARE_CLASS,
        tier=tier,
        settlement=Settlement.LEASE,
        clearing_mode=ClearingMode.BATCH,
        tick_nanos=scenario.TICK_NANOS,
        lot_mflop=scenario.LOT_MFLOP,
        price_min_nanos=scenario.PRICE_MIN_NANOS,
        price_max_nanos=scenario.PRICE_MAX_NANOS,
        quantity_max_mflop=scenario.QUANTITY_MAX_MFLOP,
        prefill_millitokens_per_s=scenario.PREFILL_MILLITOKENS_PER_S,
        decode_millitokens_per_s=scenario.DECODE_MILLITOKENS_PER_S,
        context_tokens_max=scenario.CONTEXT_TOKENS_MAX,
        latest_start_ns=scenario.LATEST_START_NS[tier],
    )


def _paper_instrument() -> Instrument:
    return Instrument(
        name=scenario.PAPER_INSTRUMENT,
        settlement=Settlement.PAPER,
        clearing_mode=ClearingMode.CONTINUOUS,
        tick_nanos=PAPER_TICK_NANOS,
        lot_mflop=scenario.LOT_MFLOP,
        price_min_nanos=PAPER_TICK_NANOS,
        price_max_nanos=PAPER_PRICE_MAX_NANOS,
        quantity_max_mflop=PAPER_QUANTITY_MAX_MFLOP,
    )
