"""Coordinates in a square crop: pixels (centres at integers), cells of a coarser map, and normalised -1..1.

A map of stride s tiles the crop: its cell i covers the pixels s i to s i + s - 1, its centre is at s i + (s - 1) / 2.
Normalised coordinates run from -1 at the crop's left (top) edge, pixel -0.5, to 1 at its right (bottom) edge. They
are the same for every stride, and they are what `grid_sample(align_corners=False)` takes.
"""

import torch
from torch import Tensor
from torch.nn import functional


def normalise(points_px: Tensor, crop_px: int) -> Tensor:
    """Crop pixels (..., 2) to normalised coordinates."""
    return (2 * points_px + 1) / crop_px - 1


def cell_centres_px(cells: int, crop_px: int, like: Tensor) -> Tensor:
    """Pixel coordinates (cells,) of the centres of the cells along one side of a map."""
    stride = crop_px / cells
    return torch.arange(cells, dtype=torch.float32, device=like.device) * stride + (stride - 1) / 2


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (N, P, C) of maps (N, C, h, w) at normalised points (N, P, 2), in float32; zero outside."""
    grid = points.float().unsqueeze(2)
    sampled = functional.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.squeeze(3).transpose(1, 2)
