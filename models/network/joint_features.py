"""Features of each joint in one view, from its surroundings and from its place (UST-Hand, section 3.2).

- Spatial-aware: joint j looks over the whole coarse map with a learned query q_j and s >= 0,
  a = softmax_p(q_j . k(p) / sqrt(d) + s log H_j(p)), and takes the sum over p of a(p) v(p). The heatmap's term keeps it
  near the joint.
- Joint-aligned: bilinear samples of the levels at the joint's 2D position.

Both are added, with the position and the confidence.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.hand import JOINTS
from models.network.config import NetworkConfig
from models.network.crop_coordinates import normalise, sample
from models.network.heatmap_head import Heatmaps


class JointFeatures(nn.Module):
    """Maps and heatmaps of N views to joint features (N, J, D)."""

    def __init__(self, config: NetworkConfig, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.crop_px, self.heads, width = config.crop_px, config.heads, config.width
        self.query = nn.Parameter(torch.randn(JOINTS, width))
        self.key_value = nn.Conv2d(config.decoder_channels, 2 * width, 1)
        self.nearness = nn.Parameter(torch.zeros(config.heads))
        self.spatial = nn.Linear(width, width)
        self.local = nn.Linear(config.decoder_channels + sum(channels[1:]), width)
        self.place = nn.Linear(3, width)
        self.identity = nn.Parameter(0.02 * torch.randn(JOINTS, width))

    def forward(self, levels: tuple[Tensor, ...], found: Heatmaps) -> Tensor:
        """Levels (N, C, S / s, S / s) at strides 4, 8, 16, 32 and the head's result, to (N, J, D)."""
        points = normalise(found.keypoints_px, self.crop_px).detach()  # a look-up: no gradient through the place
        local = torch.cat([sample(level, points) for level in (found.fine, *levels[1:])], -1)
        place = torch.cat([points, found.confidence.clamp_min(1e-6).log().unsqueeze(-1)], -1)
        return self.spatial(self._look_around(found)) + self.local(local) + self.place(place) + self.identity

    def _look_around(self, found: Heatmaps) -> Tensor:
        keys, values = self.key_value(found.coarse).flatten(2).unflatten(1, (2, self.heads, -1)).unbind(1)
        queries = self.query.unflatten(1, (self.heads, -1)).transpose(0, 1)
        logits = torch.matmul(queries, keys) / queries.shape[-1] ** 0.5
        mass = functional.avg_pool2d(found.heatmaps, 4).flatten(2).unsqueeze(1)
        nearness = functional.softplus(self.nearness).view(-1, 1, 1)
        attention = (logits + nearness * mass.clamp_min(1e-6).log()).softmax(-1)
        return torch.matmul(attention, values.transpose(2, 3)).transpose(1, 2).flatten(2)
