"""Muon: momentum whose matrices are made orthogonal before each update (Jordan et al. 2024).

`torch.optim.Muon` takes matrices alone; here the last two dimensions of a tensor are the matrix, so
that all experts, and all taps of a reader, are updated in one product.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

MOMENTUM: Final = 0.95
ROUNDS: Final = 5
COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration brings all singular values near 1."""


def orthogonal(x: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly: singular values of about 0.7 to 1.2.

    Args:
        x: (..., rows, columns).
    """
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Updates tensors of two or more dimensions; the step of a matrix has a norm of about `lr`."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; there is no closure."""
        assert closure is None, "the loss is computed before"
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
                update = orthogonal(parameter.grad + MOMENTUM * momentum)
                scale = max(1.0, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)
