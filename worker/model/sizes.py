"""The sizes in which the adaptive model comes, and the names of its training runs."""

from __future__ import annotations

from typing import Final, NamedTuple

from exchange.metering.adaptive import AdaptiveShape

# name                    width  attention  heads  experts  active  ff   gate  answers  words  steps
SIZES: Final[dict[str, AdaptiveShape]] = {
    "tiny": AdaptiveShape(64, 128, 4, 4, 2, 128, 32, 256, 768, 10),
    "small": AdaptiveShape(128, 256, 8, 8, 2, 256, 32, 256, 768, 10),
    "base": AdaptiveShape(256, 512, 8, 8, 2, 512, 64, 256, 768, 10),
}
DEFAULT_SIZE: Final = "tiny"
BATCH_MAX: Final = 256
"""Most requests that think at once."""


class Run(NamedTuple):
    """Which training run.

    Its files are named `CONTESTANT-SEED`, or `CONTESTANT-SIZE-SEED` where the size is not the
    default one.
    """

    contestant: str
    size: str
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        middle = "" if self.size == DEFAULT_SIZE else f"-{self.size}"
        return f"{self.contestant}{middle}-{self.seed}"

    @classmethod
    def named(cls, name: str) -> Run:
        """The run whose files are called so.

        Raises:
            ValueError: no run has such a name.
        """
        rest, _, seed = name.rpartition("-")
        if not (rest and seed.isdecimal()):
            raise ValueError(f"{name} is no name of a run, such as adaptive-0 or adaptive-small-0")
        contestant, _, size = rest.rpartition("-")
        if contestant and size in SIZES and size != DEFAULT_SIZE:
            return cls(contestant, size, int(seed))
        return cls(rest, DEFAULT_SIZE, int(seed))
