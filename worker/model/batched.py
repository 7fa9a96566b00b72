"""The form of the adaptive model for a GPU: all requests of a step in one pass, in torch.

Attention is made over memories padded to the longest one; the experts that were chosen, and no
others, each take their rows together; the router's decisions are made by the gate's kernels. What
a request is billed follows from its trace alone, so padding is this worker's loss, not the buyer's.

Unlike in the other two forms a row's last bits can depend on the batch, because a matrix product on
a GPU is cut up by its size. Decisions then agree except where their recorded margin is as small as
that noise.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from exchange.metering.adaptive import AdaptiveShape
from worker.model.forms import NORM_EPSILON, Memory, NumpyForm, Stepped
from worker.model.gating import Routing, route, sort_by_expert
from worker.model.weights import Floats, Weights

if TYPE_CHECKING:
    from torch import Tensor

_MATRICES = ("steps", "query", "out", "router", "up", "down")
_GATE = ("gate_inner", "gate_inner_bias", "gate_outer", "gate_outer_bias")


class BatchedForm:
    """The model in torch on one device, a batch at a time.

    Args:
        weights: the model's.
        device: where to run, such as `cuda` or `cuda:1`; `cpu` is for tests.
    """

    def __init__(self, weights: Weights, device: str) -> None:
        import torch

        self._torch = torch
        self._device = device
        self._shape = weights.shape
        self._reading = NumpyForm(weights)
        self._w = {name: self._there(getattr(weights, name)) for name in (*_MATRICES, *_GATE)}
        self._head = self._there(weights.tokens[: weights.shape.answers]).T.contiguous()

    @property
    def shape(self) -> AdaptiveShape:
        """Its dimensions."""
        return self._shape

    def read(self, tokens: tuple[int, ...], answers: int, begun: Memory | None = None) -> Memory:
        """Read a row by look-ups on the host, and bring what is new to the device."""
        return self._reading.read_with(self._torch.cat, self._there, tokens, answers, begun)

    def step(
        self, states: list[Any], memories: list[Memory], steps: list[int], p: float
    ) -> Stepped:
        """One step of each request."""
        torch, w = self._torch, self._w
        with torch.inference_mode():
            x = torch.stack(states)  # (B, d)
            hints = torch.stack([memory.question for memory in memories]) + w["steps"][steps]
            query = self._norm(x + hints) @ w["query"]
            x = x + self._attend(query, memories) @ w["out"]
            h = self._norm(x + hints)
            active = self._shape.experts_active
            routing = route(h @ w["router"], p, active, width=active)
            x = x + self._mix(h, routing)
            inner = torch.relu(self._norm(x + hints) @ w["gate_inner"] + w["gate_inner_bias"])
            gates = inner @ w["gate_outer"] + w["gate_outer_bias"]
        return Stepped(
            x, routing.experts.cpu().numpy(), routing.margins.cpu().numpy(), gates.cpu().numpy()
        )

    def write(self, states: list[Any]) -> Floats:
        """Logits of the answer tokens."""
        with self._torch.inference_mode():
            logits: Floats = (self._norm(self._torch.stack(states)) @ self._head).cpu().numpy()
        return logits

    def _there(self, array: Floats) -> Tensor:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _norm(self, x: Tensor) -> Tensor:
        return x * self._torch.rsqrt(x.square().mean(-1, keepdim=True) + float(NORM_EPSILON))

    def _attend(self, query: Tensor, memories: list[Memory]) -> Tensor:
        """Queries (B, d) -> (B, d), each over the tokens that its own request has read."""
        torch, heads = self._torch, self._shape.heads
        pad = torch.nn.utils.rnn.pad_sequence
        lengths = torch.tensor([len(m.keys) for m in memories], device=self._device)
        keys = pad([m.keys for m in memories], batch_first=True)  # (B, N, d)
        values = pad([m.values for m in memories], batch_first=True)
        rows, longest, width = keys.shape
        split = (rows, longest, heads, width // heads)
        q = query.view(rows, heads, 1, -1)  # (B, H, 1, d/H)
        scores = q @ keys.view(split).permute(0, 2, 3, 1) * (width // heads) ** -0.5
        beyond = torch.arange(longest, device=self._device) >= lengths[:, None]
        scores = scores.masked_fill(beyond[:, None, None, :], -torch.inf)
        seen: Tensor = torch.softmax(scores, -1) @ values.view(split).permute(0, 2, 1, 3)
        return seen.reshape(rows, width)

    def _mix(self, h: Tensor, routing: Routing) -> Tensor:
        """State h (B, d) -> the weighted sum of the chosen experts, best first."""
        torch, width = self._torch, routing.experts.shape[1]
        dispatch = sort_by_expert(routing.experts, self._shape.experts)
        offsets = dispatch.offsets.tolist()
        entries = dispatch.entries.long()
        weights = routing.weights.flatten()
        parts = torch.zeros(len(entries), h.shape[1], device=h.device)
        for expert, (first, behind) in enumerate(itertools.pairwise(offsets)):
            if first == behind:
                continue
            mine = entries[first:behind]
            inner = torch.relu(h[mine // width] @ self._w["up"][expert])
            parts[mine] = weights[mine, None] * (inner @ self._w["down"][expert])
        columns = parts.view(-1, width, h.shape[1]).unbind(1)
        mixed: Tensor = sum(columns[1:], columns[0])
        return mixed
