"""Spatial attention: each point of a cloud listens to its k nearest neighbours.

Vector attention of H. Zhao et al., "Point Transformer", ICCV 2021, equations 2 to 4:

    y_i = sum over j in N(i) of softmax_j( gamma( phi(x_i) - psi(x_j) + delta_ij ) ) * ( alpha(x_j) + delta_ij ),
    delta_ij = theta(p_i - p_j),

with products and softmax per channel. Letters: N clouds, P points, k neighbours, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.points import LENGTH_M
from models.network.precision import float32_region


class SpatialAttention(nn.Module):
    def __init__(self, width: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.position = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width))
        self.weight = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, width)

    def forward(self, points_m: Tensor, features: Tensor) -> Tensor:
        """New features (N, P, D) of points (N, P, 3) with features (N, P, D); a cloud hears itself alone."""
        _, P, D = features.shape
        index = nearest(points_m, min(self.neighbours, P))
        offsets_m = points_m[:, :, None] - gather(points_m, index)
        delta = self.position(offsets_m / LENGTH_M)
        own, key, value = self.projections(self.norm(features)).split(D, dim=-1)
        key, value = gather(torch.cat([key, value], dim=-1), index).split(D, dim=-1)
        attention = self.weight(own[:, :, None] - key + delta).softmax(dim=2)
        return features + self.out((attention * (value + delta)).sum(dim=2))


def nearest(points_m: Tensor, count: int) -> Tensor:
    """Indices (N, P, count) of the points nearest to each point of (N, P, 3), itself among them."""
    with torch.no_grad(), float32_region(points_m):
        # Differences, not cdist's matrix product: far from the origin the product loses the small distances.
        squared = (points_m[:, :, None] - points_m[:, None]).square().sum(dim=-1)
        return squared.topk(count, dim=-1, largest=False, sorted=False).indices


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows (N, P, k, C) of values (N, P, C) at an index (N, P, k)."""
    N, P, C = values.shape
    rows = index + P * torch.arange(N, device=index.device)[:, None, None]
    return functional.embedding(rows, values.reshape(N * P, C))
