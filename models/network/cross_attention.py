"""Cross-attention: the query points listen to the anchor cloud of their frame, nearer anchors more.

Letters: N clouds, J query points, P anchors, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.points import LENGTH_M, attend
from models.network.precision import float32_region


class CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.anchor_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.nearness = nn.Parameter(torch.linspace(-2, 2, heads))
        self.out = nn.Linear(width + 3 * heads, width)

    def forward(self, queries_m: Tensor, features: Tensor, anchors_m: Tensor, anchor_features: Tensor) -> Tensor:
        """New features (N, J, D) of queries (N, J, 3), told by anchors (N, P, 3) with features (N, P, D)."""
        key, value = self.key_value(self.anchor_norm(anchor_features)).chunk(2, dim=-1)
        with float32_region(queries_m):
            squared = ((queries_m[:, :, None] - anchors_m[:, None]) / LENGTH_M).square().sum(dim=-1)
            bias = -functional.softplus(self.nearness)[:, None, None] * squared[:, None]
        told, seen = attend(self.query(self.norm(features)), key, value, queries_m, anchors_m, bias, self.heads)
        return features + self.out(torch.cat([told, seen.to(told.dtype)], dim=-1))
