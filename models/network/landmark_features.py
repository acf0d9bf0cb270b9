"""What the frozen landmark network says of each crop, and the joint features and confidences that are made of it.

The network's own points are each view's 2D estimate (models/network/landmark_net.py). What it says of a crop is small
and never changes, so it can be kept beside the crops and training needs no pictures: a `Sightings` is all that the
rest of UST-Hand reads of a crop. N crops, J joints, C channels of all levels, D width.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.hand import JOINTS
from models.network.config import NetworkConfig
from models.network.crop_coordinates import normalise, sample
from models.network.landmark_net import CHANNELS, FEATURES, IMAGE_PX, LandmarkNet

SIGHTING = 3 * JOINTS + 2 + FEATURES + JOINTS * sum(CHANNELS)
"""Numbers that a packed sighting takes."""

CERTAIN_SPREAD = 0.01
"""An error of so large a share of the crop's side halves a joint's confidence; it is then 1 / spread^2."""
_USUAL_LOG_SPREAD = math.log(0.03)
_MAX_LOG_SPREAD = 2.5


class Sightings(NamedTuple):
    """Of N crops, float32."""

    keypoints_px: Tensor
    """(N, J, 3): crop pixels and relative depth."""
    presence_logit: Tensor
    """(N,)"""
    right_logit: Tensor
    """(N,)"""
    pooled: Tensor
    """(N, 1152)"""
    samples: Tensor
    """(N, J, C): the levels at the joints."""

    def pack(self) -> Tensor:
        """(N, SIGHTING) float16; keypoints as shares of the crop's side."""
        parts = [self.keypoints_px.flatten(1) / IMAGE_PX, self.presence_logit[:, None], self.right_logit[:, None]]
        return torch.cat([*parts, self.pooled, self.samples.flatten(1)], 1).half()

    @classmethod
    def unpack(cls, packed: Tensor) -> "Sightings":
        """Of (N, SIGHTING) as `pack` returns it."""
        sizes = [3 * JOINTS, 1, 1, FEATURES, JOINTS * sum(CHANNELS)]
        keypoints, presence, right, pooled, samples = packed.float().split(sizes, dim=1)
        return cls(
            keypoints_px=keypoints.unflatten(1, (JOINTS, 3)) * IMAGE_PX,
            presence_logit=presence[:, 0],
            right_logit=right[:, 0],
            pooled=pooled,
            samples=samples.unflatten(1, (JOINTS, -1)),
        )


def sight(network: LandmarkNet, crops_rgb: Tensor) -> Sightings:
    """What the network says of crops (N, 224, 224, 3)."""
    found = network(crops_rgb)
    points = normalise(found.image[..., :2], IMAGE_PX)
    return Sightings(
        keypoints_px=found.image,
        presence_logit=found.presence_logit,
        right_logit=found.right_logit,
        pooled=found.pooled.float(),
        samples=torch.cat([sample(level, points) for level in found.levels], -1),
    )


class LandmarkFeatures(nn.Module):
    """Sightings to joint features (N, J, D) and the log of each point's expected error (N, J), a share of the side."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.local_norm, self.pooled_norm = nn.LayerNorm(sum(CHANNELS)), nn.LayerNorm(FEATURES)
        self.local = nn.Linear(sum(CHANNELS), width)
        self.pooled = nn.Linear(FEATURES, width)
        self.place = nn.Linear(4, width)
        self.identity = nn.Parameter(0.02 * torch.randn(JOINTS, width))
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.mixed = nn.Linear(2 * width, width)
        self.spread = nn.Linear(width, 1)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)

    def forward(self, seen: Sightings) -> tuple[Tensor, Tensor]:
        points = seen.keypoints_px / IMAGE_PX * 2 - 1
        certainty = seen.presence_logit[:, None, None].expand(-1, JOINTS, 1) / 5
        features = self.local(self.local_norm(seen.samples)) + self.pooled(self.pooled_norm(seen.pooled))[:, None]
        features = features + self.place(torch.cat([points, certainty], -1)) + self.identity
        features = features + self.mixed(self.hidden(features))
        bounded = _MAX_LOG_SPREAD * torch.tanh(self.spread(functional.gelu(features)).squeeze(-1).float())
        return features, _USUAL_LOG_SPREAD + bounded


def confidence_of(log_spread: Tensor) -> Tensor:
    """In 0..1: 1 / (1 + (spread / CERTAIN_SPREAD)^2), to weigh equations by the inverse of their variance."""
    return torch.sigmoid(2 * (math.log(CERTAIN_SPREAD) - log_spread))
