"""The option `--size`: which of the adaptive models that are sold."""

from __future__ import annotations

from enum import StrEnum


class ModelSize(StrEnum):
    """Sizes of the adaptive model whose weights are shipped (`worker.model.shipped`)."""

    TINY = "tiny"
    SMALL = "small"
