"""The sizes in which the adaptive model comes."""

from __future__ import annotations

from typing import Final

from exchange.metering.adaptive import AdaptiveShape

# name                    width  attention  heads  experts  active  ff   gate  answers  words  steps
SIZES: Final[dict[str, AdaptiveShape]] = {
    "tiny": AdaptiveShape(64, 128, 4, 4, 2, 128, 32, 256, 768, 10),
    "small": AdaptiveShape(256, 512, 8, 8, 2, 512, 64, 256, 768, 10),
}
