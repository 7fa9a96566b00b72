"""What the demo plays: instruments, two workers with different prices, a third that thinks, buyers.

The prompts suit a model of 135 million parameters: greetings, one-sentence descriptions, a list, a
shortening. It does not know facts, so none are asked for.

Prices. A token costs this model about 0.25 GFLOP, so an answer of 40 tokens to a prompt of 40 is
about 20,000 MFLOP or 0.02 CU; at 400,000 nano-dollars per CU that is 8,000 nano-dollars. A managed
bid starts at density x 1 s / (1 s + time to spare) and rises, so a buyer who can wait a minute
meets an ask at once only if the answer is worth some sixty times as much to him; else he waits.

The third worker sells the adaptive model, which answers questions of reasoning for as much thought
as each needs. None of these was trained on (a test asks the hash), and what is right is known. Such
an answer takes less than a thousandth of a CU's thousandth, so a CU of it is dear.
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
        thinks: Runs the adaptive model, in place of the demo's text engine.
    """

    name: str
    price_nanos: int
    about: str
    thinks: bool = False


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
        right_answer: For a question to the adaptive model; empty for text.
    """

    after_s: float
    prompt: str
    output_tokens_max: int
    value_nanos: int
    deadline_s: int
    tier: str = INTERACTIVE
    budget_tokens: int = 0
    max_cost_nanos: int = 0
    right_answer: str = ""


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
    WorkerPart("abacus", 40_000_000, "thinks", thinks=True),
)

ANSWER_TOKENS_MAX: Final = 4
QUESTION_VALUE_NANOS: Final = 100_000
QUESTION_DEADLINE_S: Final = 40
_QUESTIONS: Final = {
    "What is the value of ( False ) or True?": "True",
    "Ann lives in room 31. Ben lives in room 26. Carla lives in room 10. In which room does Ann "
    "live?": "31",
    "Question: Ann tells the truth. Ben says Ann lies. Carla says Ben lies. Dora says Carla tells "
    "the truth. Emil says Dora lies. Does Emil tell the truth?": "No",
    "Emil gives it to Hugo. Ann gives it to Greta. Ben gives it to Emil. Hugo gives it to Fritz. "
    "Dora gives it to Ben. Fritz gives it to Ann. Dora has the parcel first. Who has it in the "
    "end?": "Greta",
    "Ann has the lamp. Ben has the rope. Carla has the bell. Carla and Ann swap what they have. "
    "Ann and Carla swap what they have. Ben and Ann swap what they have. Carla and Ben swap what "
    "they have. Ben and Carla swap what they have. What does Carla have at the end?": "bell",
}
"""From easy to hard, with the right answer."""


def _asked(question: str, answer: str) -> JobPart:
    return JobPart(
        1.0,
        question,
        ANSWER_TOKENS_MAX,
        QUESTION_VALUE_NANOS,
        QUESTION_DEADLINE_S,
        right_answer=answer,
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
    BuyerPart(
        "eve",
        "asks easy and hard questions at once: thinking goes where it is needed",
        tuple(_asked(*pair) for pair in _QUESTIONS.items()),
    ),
)
