"""Who is compared: the adaptive model and the dense baselines, and what each is trained for."""

from __future__ import annotations

import dataclasses
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from exchange.metering.adaptive import AdaptiveShape
from worker.model.dense import DenseModel
from worker.model.model import AdaptiveModel
from worker.model.pool import Batch

BALANCE_WEIGHT: Final = 0.01
"""Weight of the term that keeps all experts in use."""
GATE_WEIGHT: Final = 1.0
LAST_WEIGHT: Final = 4.0
"""Weight of a dense model's last layer against each of the others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contestant:
    """One kind of model.

    layers: depth of a dense model; 0 for the adaptive one.
    final_only: trained on the answer alone, after the last layer, without steps in between.
    """

    name: str
    layers: int = 0
    final_only: bool = False

    def build(self, shape: AdaptiveShape) -> nn.Module:
        """A new model, its weights drawn from torch's generator."""
        return DenseModel(shape, self.layers) if self.layers else AdaptiveModel(shape)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Losses:
        """What is made small."""
        near, places = (torch.from_numpy(part) for part in batch.rows)
        targets, answer = torch.from_numpy(batch.targets), torch.from_numpy(batch.answer)
        if self.layers:
            logits, gates = model(near, places)
            return self._dense_loss(logits, gates, targets, answer)
        top_p = (0.4, 0.6, 0.8)[int(torch.randint(3, (), generator=generator))]
        logits, gates, routes = model(near, places, len(targets), top_p)
        wanted = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        # Smallest where all experts are used alike (Shazeer et al. 2017, importance).
        share = routes.flatten(0, 1).mean(0)
        balance = share.square().sum() * share.numel() - 1
        return _losses(wanted + BALANCE_WEIGHT * balance, logits, gates, answer)

    def _dense_loss(self, logits: Tensor, gates: Tensor, targets: Tensor, answer: Tensor) -> Losses:
        if self.final_only:
            return _losses(functional.cross_entropy(logits[-1], answer), logits, gates, answer)
        depth, rows, answers = logits.shape
        # Deeper layers than a batch has targets keep the last one.
        rows_of = torch.arange(depth - 1).clamp(max=len(targets) - 1)
        wanted = torch.cat([targets[rows_of], answer[None]])
        each = functional.cross_entropy(
            logits.reshape(-1, answers), wanted.flatten(), reduction="none"
        ).view(depth, rows)
        weights = torch.ones(depth)
        weights[-1] = LAST_WEIGHT
        return _losses((each.mean(1) * weights).sum() / weights.sum(), logits, gates, answer)


@dataclasses.dataclass(frozen=True, slots=True)
class Losses:
    """The loss, and the share of rows whose last answer is right."""

    total: Tensor
    right: float


def _losses(answer_loss: Tensor, logits: Tensor, gates: Tensor, answer: Tensor) -> Losses:
    right = (logits.argmax(-1) == answer).to(gates.dtype)  # (depth, B)
    ever = right[-1].expand_as(right)
    gate = functional.binary_cross_entropy_with_logits(gates, torch.stack([right, ever], -1))
    return Losses(answer_loss + GATE_WEIGHT * gate, float(right[-1].mean()))


CONTESTANTS: Final = {
    c.name: c
    for c in (
        Contestant("adaptive"),
        Contestant("dense1", 1),
        Contestant("dense2", 2),
        Contestant("dense3", 3),
        Contestant("dense6", 6),
        Contestant("dense3-final", 3, final_only=True),
    )
}
