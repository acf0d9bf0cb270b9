"""Heatmaps of the joints, the 2D position as their mean, and the confidence as their peak.

    position = sum over p of p H(p),    c = max over p of H(p),    sum over p of H(p) = 1

(UST-Hand, section 3.1; the mean is the soft-argmax of Sun et al., "Integral Human Pose Regression", ECCV 2018.) The
decoder is a feature pyramid (Lin et al., CVPR 2017): from coarse to fine, double the size, add the backbone's level,
convolve.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.hand import JOINTS
from models.network.config import NetworkConfig
from models.network.crop_coordinates import cell_centres_px


class Heatmaps(NamedTuple):
    heatmaps: Tensor
    """(N, J, h, w) float32, each summing to 1."""
    keypoints_px: Tensor
    """(N, J, 2) crop pixels."""
    confidence: Tensor
    """(N, J) in 0..1: the heatmaps' peaks."""
    fine: Tensor
    """(N, C, h, w) float32: the decoder's map at stride 4."""
    coarse: Tensor
    """(N, C, h / 4, w / 4): the decoder's map at stride 16."""


class HeatmapHead(nn.Module):
    """The backbone's four levels to heatmaps and what is read from them."""

    def __init__(self, config: NetworkConfig, channels: tuple[int, ...]) -> None:
        super().__init__()
        width = config.decoder_channels
        self.crop_px = config.crop_px
        self.lateral = nn.ModuleList(nn.Conv2d(level, width, 1) for level in channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True))
            for _ in channels[:-1]
        )
        self.heatmap = nn.Conv2d(width, JOINTS, 1, bias=False)  # the softmax would not see a bias

    def forward(self, levels: tuple[Tensor, ...]) -> Heatmaps:
        """Levels (N, C, S / s, S / s) at strides s = 4, 8, 16, 32, finest first."""
        x = self.lateral[3](levels[3])
        decoded = []
        for level in (2, 1, 0):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest") + self.lateral[level](levels[level])
            x = self.smooth[level](x)
            decoded.append(x)
        logits = self.heatmap(x).float()
        heatmaps = logits.flatten(2).softmax(-1).unflatten(2, logits.shape[2:])
        return Heatmaps(
            heatmaps=heatmaps,
            keypoints_px=soft_argmax_px(heatmaps, self.crop_px),
            confidence=peak(heatmaps),
            fine=x.float(),
            coarse=decoded[0],
        )


def soft_argmax_px(heatmaps: Tensor, crop_px: int) -> Tensor:
    """Mean positions (..., 2) in crop pixels of heatmaps (..., h, w) that sum to 1 and tile the crop."""
    x = heatmaps.sum(-2) * cell_centres_px(heatmaps.shape[-1], crop_px, heatmaps)
    y = heatmaps.sum(-1) * cell_centres_px(heatmaps.shape[-2], crop_px, heatmaps)
    return torch.stack([x.sum(-1), y.sum(-1)], -1)


def peak(heatmaps: Tensor) -> Tensor:
    """The largest value (...) of heatmaps (..., h, w)."""
    return heatmaps.flatten(-2).amax(-1)
