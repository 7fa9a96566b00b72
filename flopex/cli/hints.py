"""What to do about a refusal."""

from __future__ import annotations

from typing import Final

HINTS: Final[dict[str, str]] = {
    "KEY_MISSING": "set FLOPEX_KEY, or name a file with --key-file",
    "KEY_UNKNOWN": "is FLOPEX_KEY or --key-file of this exchange? flopex admin key makes a new one",
    "ROLE_MISSING": "use a key with that role; flopex admin key ACCOUNT --role ... makes one",
    "INSUFFICIENT_FUNDS": "flopex account shows what is available, and what is held",
    "NOT_OWNER": "is it another account's? use the key with which it was made",
    "UNKNOWN_ORDER": "flopex order list shows the open ones, flopex order history the others",
    "UNKNOWN_JOB": "flopex jobs lists yours",
    "UNKNOWN_WORKER": "flopex worker status lists yours",
    "UNKNOWN_ACCOUNT": "flopex admin account --list shows all",
    "UNKNOWN_LEASE": "flopex jobs lists your jobs: only one that ran has a receipt",
    "NAME_TAKEN": "flopex admin account --list and flopex instruments show what there is",
    "UNKNOWN_INSTRUMENT": "flopex instruments lists them",
    "UNKNOWN_WEBHOOK": "flopex webhook list shows yours",
    "UNKNOWN_ALERT": "flopex alert list shows yours",
    "UNKNOWN_MODEL": "flopex instruments lists the models that are traded",
    "PRICE_OFF_TICK": "flopex instruments shows each instrument's tick",
    "PRICE_OUT_OF_BAND": "flopex instruments shows each instrument's lowest and highest price",
    "VALUE_MISSING": "say what the answer is worth: --value 0.001",
    "VALUE_TOO_SMALL": "raise --value, or lower --budget",
    "DEADLINE_TOO_FAR": "name a nearer --deadline: 7 days at most",
    "JOB_CLOSED": "flopex jobs JOB shows how it ended",
    "DEADLINE_INFEASIBLE": "give it more time (--deadline 2m) or ask for fewer --max-tokens",
    "BUDGET_BELOW_MINIMUM": "raise --budget, or leave it out for the worst case",
    "CONTEXT_TOO_LONG": "shorten the prompt, or ask for fewer tokens: --max-tokens",
    "MONEY_CAP": "raise --max-cost, or lower the quantity or the limit",
    "MESSAGE_RATE": "send less at a time; flopex account --limits shows how much is let through",
    "ORDER_TO_TRADE": "cancel and replace less; flopex account --limits shows your own limit",
    "LEGS_INVALID": "1 to 16 legs, each on another instrument",
    "ACCOUNT_HALTED": "the exchange's operator halted the account: ask him",
    "ORDER_TYPE_UNSUPPORTED": "jobs need a real account; orders a paper account and a paper book",
    "WEBHOOKS_UNAVAILABLE": "try again in a moment; its operator should look at its disk",
    "READ_MODEL_UNAVAILABLE": "try again in a moment; its operator: flopex readmodel status",
    "DRAINING": "it is shutting down: try again once it is back",
    "OVERLOADED": "try again in a moment",
    "ENGINE_DOWN": "its engine has ended; start it again, then repeat the command",
}
"""What to do about a refusal, by its reason."""
WAITED: Final[dict[str, str]] = {
    "price below ask": "it bid less than the workers ask: raise --value or --max-cost",
    "no free slot": "every slot was taken by who bid more: raise --value, or --deadline",
    "no quotes": "no worker offered a slot for it: try again later, or with a longer --deadline",
}
"""What to do about a job that expired, by what it waited for."""
