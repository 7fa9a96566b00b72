"""Who is compared: the adaptive model and the dense baselines, and what each is trained for."""

from __future__ import annotations

import dataclasses
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from exchange.metering.adaptive import AdaptiveShape
from worker.model.dense import DenseModel
from worker.model.model import AdaptiveModel, Thoughts
from worker.model.pool import Part

BALANCE_WEIGHT: Final = 0.01
"""Weight of the term that keeps all experts in use."""
GATE_WEIGHT: Final = 1.0
WORKING_WEIGHT: Final = 0.5
"""Weight of what a solver has worked out after a step, against the answer itself."""
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

    def loss(self, model: nn.Module, part: Part, generator: torch.Generator) -> Losses:
        """What is made small."""
        near, places = (torch.from_numpy(table) for table in part.rows)
        targets, answer = torch.from_numpy(part.targets), torch.from_numpy(part.answer)
        if self.layers:
            thoughts: Thoughts = model(near, places)
        else:
            top_p = (0.4, 0.6, 0.8)[int(torch.randint(3, (), generator=generator))]
            thoughts = model(near, places, len(targets), top_p)
        if self.final_only:
            wanted = functional.cross_entropy(thoughts.answers[-1], answer)
        else:
            wanted = self._at_every_step(thoughts, targets, answer)
        if thoughts.routes is not None:
            # Smallest where all experts are used alike (Shazeer et al. 2017, importance).
            share = thoughts.routes.flatten(0, 1).mean(0)
            wanted = wanted + BALANCE_WEIGHT * (share.square().sum() * share.numel() - 1)
        return _losses(wanted, thoughts.answers, thoughts.gates, answer)

    def _at_every_step(self, thoughts: Thoughts, targets: Tensor, answer: Tensor) -> Tensor:
        """The answer is wanted after every step, and beside it what a solver knows by then."""
        depth = len(thoughts.answers)
        weights = torch.ones(depth)
        if self.layers:
            weights[-1] = LAST_WEIGHT
        answers = _cross_entropy(thoughts.answers, answer.expand(depth, -1))
        # Deeper layers than a part has targets keep the last one.
        workings = _cross_entropy(
            thoughts.workings, targets[torch.arange(depth).clamp(max=len(targets) - 1)]
        )
        return (answers * weights).sum() / weights.sum() + WORKING_WEIGHT * workings.mean()


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Logits (S, B, A), wanted (S, B) -> means over the rows (S,)."""
    each = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return each.view(wanted.shape).mean(1)


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
