"""What the demo plays: an instrument per tier, two workers with different prices, four buyers.

The prompts suit a model of 135 million parameters: greetings, one-sentence descriptions, a list, a
shortening. It does not know facts, so none are asked for.

Prices. A token costs this model about 0.25 GFLOP, so an answer of 40 tokens to a prompt of 40 is
about 20,000 MFLOP or 0.02 CU; at 400,000 nano-dollars per CU that is 8,000 nano-dollars. A managed
bid starts at density x 1 s / (1 s + time to spare) and rises, so a buyer who can wait a minute
meets an ask at once only if the answer is worth some sixty times as much to him; else he waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NS_PER_S: Final = 1_000_000_000
NANOS_PER_DOLLAR: Final = 1_000_000_000

INTERACTIVE: Final = "interactive"
BATCH: Final = "batch"
TIERS: Final = (INTERACTIVE, BATCH)
HARDWARE_CLASS: Final = "cpu"

TICK_NANOS: Final = 1_000
LOT_MFLOP: Final = 1
PRICE_MIN_NANOS: Final = 10_000
PRICE_MAX_NANOS: Final = 50_000_000
QUANTITY_MAX_MFLOP: Final = 10_000_000

PREFILL_MILLITOKENS_PER_S: Final = 40_000
DECODE_MILLITOKENS_PER_S: Final = 8_000
"""A fifth of what two idle cores do: a class promises what it keeps on a busy machine."""
CONTEXT_TOKENS_MAX: Final = 2_048
LATEST_START_NS: Final = {INTERACTIVE: 2 * NS_PER_S, BATCH: 10 * NS_PER_S}

PAPER_INSTRUMENT: Final = "paper-h100"
PAPER_MONEY_NANOS: Final = 1_000 * NANOS_PER_DOLLAR
DEPOSIT_NANOS: Final = NANOS_PER_DOLLAR


@dataclass(frozen=True, slots=True)
class WorkerPart:
    """One worker of the demo.

    Attributes:
        name: Its name, and its owner's account.
        price_nanos: What it asks, nano-dollars per CU.
        about: For people.
    """

    name: str
    price_nanos: int
    about: str


@dataclass(frozen=True, slots=True)
class JobPart:
    """One job of a buyer.

    Attributes:
        after_s: When it is submitted, seconds after the market opens.
        prompt: What is asked.
        output_tokens_max: Longest answer.
        value_nanos: What the answer is worth.
        deadline_s: By when, seconds.
        tier: Service tier.
        budget_tokens: Compute budget, as the tokens that it pays for beside a usual prompt of this
            length; 0 for the worst case of prompt and answer.
        max_cost_nanos: Money cap; 0 for none beside the value.
    """

    after_s: float
    prompt: str
    output_tokens_max: int
    value_nanos: int
    deadline_s: int
    tier: str = INTERACTIVE
    budget_tokens: int = 0
    max_cost_nanos: int = 0


@dataclass(frozen=True, slots=True)
class BuyerPart:
    """One buyer.

    Attributes:
        name: The account.
        about: For people.
        jobs: What he submits.
    """

    name: str
    about: str
    jobs: tuple[JobPart, ...]


WORKERS: Final = (
    WorkerPart("old-laptop", 300_000, "cheap"),
    WorkerPart("quiet-tower", 900_000, "dear"),
)

BUYERS: Final = (
    BuyerPart(
        "ada",
        "in a hurry: the dear worker will do",
        (
            JobPart(
                0.0,
                "Write a friendly one-sentence greeting for visitors of a computer fair.",
                32,
                1_000_000,
                30,
            ),
            JobPart(2.0, "Write one sentence that describes a rainy day.", 40, 1_000_000, 30),
            JobPart(6.0, "Write one cheerful sentence about spring.", 40, 1_000_000, 30),
        ),
    ),
    BuyerPart(
        "ben",
        "an office: the cheap worker, or the dear one after some seconds",
        (
            JobPart(
                0.3,
                "Make this sentence shorter: Due to the fact that it was raining, we decided to "
                "stay at home.",
                32,
                900_000,
                40,
            ),
            JobPart(1.0, "Write a short thank-you note to a teacher.", 48, 700_000, 40),
            JobPart(3.0, "Complete the sentence: The early bird", 24, 600_000, 40),
        ),
    ),
    BuyerPart(
        "cleo",
        "patient: waits until the cheap worker is worth it",
        (
            JobPart(0.5, "List three fruits, separated by commas.", 24, 160_000, 32, BATCH),
            JobPart(
                1.5,
                "Write a short two-line poem about the moon.",
                40,
                180_000,
                32,
                BATCH,
                max_cost_nanos=30_000,
            ),
            JobPart(2.5, "Write one sentence about the sea.", 32, 170_000, 32, BATCH),
        ),
    ),
    BuyerPart(
        "dan",
        "a small compute budget: the story is cut short",
        (
            JobPart(
                0.8,
                "Write a long story about a lighthouse keeper.",
                64,
                600_000,
                40,
                budget_tokens=12,
            ),
        ),
    ),
)
