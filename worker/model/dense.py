"""The baselines: dense transformers of several depths, with early exits of their own.

They read the same tokens through the same reader, and are trained on the same data for the same
answers. Every token of the question goes through every layer; the question is seen whole, an answer
token sees what stands before it, so keys and values can be kept while the answer grows. After each
layer the answer head and a gate look at the last token, so a dense model may stop early, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from exchange.metering.adaptive import AdaptiveShape
from worker.model.model import Gate, Reader, Thoughts, Vectors, Writer, norm
from worker.model.reading import OWN


class Layer(nn.Module):
    """Attention and a feed-forward layer, each after a norm."""

    def __init__(self, width: int, heads: int, ff_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Parameter(torch.randn(width, 3 * width) * width**-0.5)
        self.out = nn.Parameter(torch.randn(width, width) * 0.5 * width**-0.5)
        self.up = nn.Parameter(torch.randn(width, ff_width) * width**-0.5)
        self.down = nn.Parameter(torch.randn(ff_width, width) * 0.5 * ff_width**-0.5)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Input x (B, N, d); hidden (B, 1, N, N) is -inf where none may look -> (B, N, d)."""
        q, k, v = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in (norm(x) @ self.qkv).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
        x = x + mixed.transpose(1, 2).flatten(2) @ self.out
        return x + functional.relu(norm(x) @ self.up) @ self.down


class DenseModel(nn.Module):
    """`layers` layers of the adaptive model's width; feed-forward four times as wide."""

    def __init__(self, shape: AdaptiveShape, layers: int) -> None:
        super().__init__()
        self.shape = shape
        self.vectors = Vectors(shape)
        self.start = Reader(shape, (shape.width,))
        self.layers = nn.ModuleList(
            Layer(shape.width, shape.heads, 4 * shape.width) for _ in range(layers)
        )
        self.gate = Gate(shape)
        self.writer = Writer(shape.width)

    def forward(self, near: Tensor, places: Tensor) -> Thoughts:
        """All layers: what the last token makes of it after each of them."""
        x = self.start(self.vectors, near, places)
        hidden = _hidden(near[..., OWN], places[..., -1])
        states = []
        for layer in self.layers:
            x = layer(x, hidden)
            states.append(x[:, -1])
        thought = torch.stack(states)  # (L, B, d)
        answers, workings = self.writer(thought, self.vectors.tokens[: self.shape.answers])
        return Thoughts(answers, self.gate(norm(thought)), workings)


def _hidden(tokens: Tensor, answer: Tensor) -> Tensor:
    """Where no token may look: pads, and answer tokens further on than its own place."""
    later = answer[:, None, :] > answer[:, :, None]  # question tokens have place 0
    pad = (tokens == 0)[:, None, :].expand_as(later)
    # A pad may look at pads, or its softmax would have nothing to sum.
    blind = (later | pad) & ~torch.eye(tokens.shape[1], dtype=torch.bool)
    mask = torch.zeros(blind.shape).masked_fill(blind, -torch.inf)
    return mask[:, None]
