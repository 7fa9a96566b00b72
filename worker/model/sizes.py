"""The sizes in which the adaptive model comes."""

from __future__ import annotations

from typing import Final

from exchange.metering.adaptive import AdaptiveShape

# name       width  heads  experts  active  ff   gate  answers  vocabulary  steps
SIZES: Final[dict[str, AdaptiveShape]] = {
    "tiny": AdaptiveShape(64, 4, 4, 2, 128, 32, 256, 768, 10),
    "small": AdaptiveShape(256, 8, 8, 2, 512, 64, 256, 768, 10),
}
