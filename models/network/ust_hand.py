"""UST-Hand: windows of T frames in V views to joints and their covariances; both stages, and the labels' noise.

Source: UST-Hand (CVPR 2026, arXiv 2605.17742). Letters: B batch, T time, V views, J joints, M hypotheses, K blocks.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from calibration.hand import JOINTS
from models.network.config import NetworkConfig
from models.network.covariance import LabelNoise
from models.network.stage1 import Stage1, Stage1Output
from models.network.stpt import SpatiotemporalPointTransformer


class UstHandOutput(NamedTuple):
    stage1: Stage1Output
    """Of the B x T frames."""
    queries_m: Tensor
    """(B, K, T, J, 3) metres, hand-centred in each frame, after each block."""
    covariance_m2: Tensor
    """(B, J, 3, 3) of the newest frame's joints."""

    @property
    def joints_m(self) -> Tensor:
        """The result: (B, J, 3), the newest frame's joints, hand-centred metres."""
        return self.queries_m[:, -1, -1]


class UstHand(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.stage1 = Stage1(config)
        self.stpt = SpatiotemporalPointTransformer(config)
        self.label_noise = LabelNoise()

    def forward(
        self,
        crops_rgb: Tensor,
        P_crop: Tensor,
        view_mask: Tensor,
        origins_m: Tensor,
        frame_mask: Tensor,
        latents: Tensor,
    ) -> UstHandOutput:
        """Windows whose newest frame is the last.

        Args:
            crops_rgb: (B, T, V, S, S, 3) uint8.
            P_crop: (B, T, V, 3, 4), each frame's hand-centred metres to crop pixels.
            view_mask: (B, T, V) bool, frame_mask: (B, T) bool; what is absent changes nothing.
            origins_m: (B, T, 3), each frame's crop target relative to the newest frame's.
            latents: (B, M, V, 2J) normal numbers; the frames share them, so that a point has the same draw in each.
        """
        B, T = frame_mask.shape
        found = self.see(crops_rgb, P_crop, view_mask & frame_mask[..., None], latents)
        clouds = (found.anchors_m, found.anchor_features, found.queries_m, found.query_features)
        refined = self.stpt(*(each.unflatten(0, (B, T)) for each in clouds), origins_m, frame_mask)
        return UstHandOutput(found, refined.queries_m, refined.covariance_m2)

    def see(self, crops_rgb: Tensor, P_crop: Tensor, view_mask: Tensor, latents: Tensor) -> Stage1Output:
        """Stage 1 alone on the B x T frames of windows; arguments as in `forward`."""
        T = view_mask.shape[1]
        frames = (each.flatten(0, 1) for each in (crops_rgb, P_crop, view_mask))
        return self.stage1(*frames, latents.repeat_interleave(T, dim=0))


def draw_latents(config: NetworkConfig, batch: int, views: int, seed: int) -> Tensor:
    """Latents (batch, M, views, 2J) on the CPU; the same seed gives the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.hypotheses, views, 2 * JOINTS, generator=generator)
