"""Temporal attention: a point listens to itself in the other frames.

A learnable embedding tells the frames apart, counted back from the newest; a frame that is absent is not listened to,
exactly. Letters: B batch, T time, P points, D width.
"""

import torch
from torch import Tensor, nn

from models.network.points import attend


class TemporalAttention(nn.Module):
    def __init__(self, width: int, heads: int, frames: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.time = nn.Parameter(0.1 * torch.randn(frames, width))
        self.projections = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width + 3 * heads, width)

    def forward(self, points_m: Tensor, features: Tensor, frame_mask: Tensor) -> Tensor:
        """New features (B, T, P, D) of points (B, T, P, 3) in one origin for all frames; frame_mask bool (B, T)."""
        B, T, P, D = features.shape
        normed = self.norm(features) + self.time[-T:, None]
        by_point = normed.transpose(1, 2).reshape(B * P, T, D)
        positions_m = points_m.transpose(1, 2).reshape(B * P, T, 3)
        query, key, value = self.projections(by_point).split(D, dim=-1)
        absent = torch.zeros_like(frame_mask, dtype=torch.float32).masked_fill(~frame_mask, -1e9)
        bias = absent[:, None].expand(B, P, T).reshape(B * P, 1, 1, T)
        told, seen = attend(query, key, value, positions_m, positions_m, bias, self.heads)
        new = self.out(torch.cat([told, seen.to(told.dtype)], dim=-1))
        return features + new.reshape(B, P, T, D).transpose(1, 2)
