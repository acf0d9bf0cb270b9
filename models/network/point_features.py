"""Features of 3D points from all views (UST-Hand, section 4.1).

Every point is projected into every view. There the view's feature map and the joint's own heatmap are sampled
bilinearly, and the view's joint feature and estimate are added, the latter as the least 3D step that would carry the
point onto it:  step = J^T r / |J_u|^2 for the residual r = (estimate - projection) and the projection's Jacobian J.
Views are fused by attention, weighted by confidence, and a learned identity of the joint is added.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.hand import JOINTS
from models.network.config import NetworkConfig
from models.network.crop_coordinates import normalise, sample
from models.network.landmark_features import CERTAIN_SPREAD
from models.network.lifting import condition_cameras, project
from models.network.precision import float32_region

STEP_UNIT_M = 0.02


class PointFeatures(nn.Module):
    """Points (B, Q, J, 3), Q of each joint, to features (B, Q, J, D)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, self.crop_px = config.width, config.crop_px
        self.sampled = nn.Linear(6 if config.landmarks else config.decoder_channels + 6, width)
        self.joint = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.identity = nn.Parameter(0.02 * torch.randn(JOINTS, width))

    def forward(
        self,
        points_m: Tensor,
        P_crop: Tensor,
        view_mask: Tensor,
        maps: Tensor | None,
        heatmaps: Tensor | None,
        keypoints_px: Tensor,
        confidence: Tensor,
        features: Tensor,
    ) -> Tensor:
        """Look the points up; no gradient flows to where they are.

        Args:
            points_m: (B, Q, J, 3) hand-centred metres.
            P_crop: (B, V, 3, 4), hand-centred metres to crop pixels.
            view_mask: (B, V) bool, True where the view is present.
            maps: (B, V, C, h, w), the decoder's map at stride 4, or None.
            heatmaps: (B, V, J, h, w), or None: then a bell around the keypoints, as wide as the confidence says.
            keypoints_px: (B, V, J, 2) crop pixels, the 2D estimates.
            confidence: (B, V, J), of these.
            features: (B, V, J, D), the joints' features in each view.
        """
        with float32_region(points_m):
            seen, step_m, visible = look_at_points(points_m.detach(), P_crop, keypoints_px.detach(), self.crop_px)
            step = torch.tanh(step_m / STEP_UNIT_M)
        certainty = confidence.clamp_min(1e-6).unsqueeze(2)
        if maps is None or heatmaps is None:
            image, own = None, _bell(seen, keypoints_px.detach(), certainty, self.crop_px)
        else:
            image, own = self._look_up(seen, maps, heatmaps)
            own = own / certainty
        own = torch.stack([own, certainty.log().expand_as(own), visible], -1)
        known = torch.cat([own, step] if image is None else [image, own, step], -1)
        each = self.sampled(known) + self.joint(features).unsqueeze(2)
        each = functional.gelu(each)
        # A point outside of a view is heard less there; an absent view is not heard at all.
        logits = self.score(each).squeeze(-1).float() + certainty.log() + 10 * (visible - 1)
        weights = logits.masked_fill(~view_mask[:, :, None, None], -1e9).softmax(1)
        return self.out((weights.unsqueeze(-1) * each).sum(1)) + self.identity

    @staticmethod
    def _look_up(seen: Tensor, maps: Tensor, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """The maps (B, V, Q, J, C) and each joint's own heatmap (B, V, Q, J) at points (B, V, Q, J, 2)."""
        views, flat = seen.shape[1], seen.flatten(0, 1)
        image = sample(maps.flatten(0, 1), flat.flatten(1, 2)).unflatten(1, (-1, JOINTS)).unflatten(0, (-1, views))
        own = sample(heatmaps.flatten(0, 2).unsqueeze(1), flat.transpose(1, 2).flatten(0, 1))
        return image, own.squeeze(-1).unflatten(0, (-1, views, JOINTS)).transpose(2, 3)


def _bell(seen: Tensor, keypoints_px: Tensor, certainty: Tensor, crop_px: int) -> Tensor:
    """(B, V, Q, J) in 0..1: what a normal density around the keypoints (B, V, J, 2) has at points (B, V, Q, J, 2)."""
    squared = ((normalise(keypoints_px.float(), crop_px).unsqueeze(2) - seen) / 2).square().sum(-1)
    return torch.exp(-0.5 * squared * certainty / CERTAIN_SPREAD**2)


def look_at_points(
    points_m: Tensor, P_crop: Tensor, keypoints_px: Tensor, crop_px: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Points (B, Q, J, 3) in the views' images, beside the views' estimates of the joints.

    Args:
        points_m: (B, Q, J, 3) hand-centred metres.
        P_crop: (B, V, 3, 4), hand-centred metres to crop pixels.
        keypoints_px: (B, V, J, 2) crop pixels.
        crop_px: side of the crops.

    Returns normalised crop coordinates (B, V, Q, J, 2), the least steps in metres (B, V, Q, J, 3) that carry each
    point onto the view's estimate, to first order, and whether the point lies within the crop (B, V, Q, J), 1 or 0.
    """
    P = condition_cameras(P_crop, crop_px)[:, :, None, None]
    seen, depth = project(points_m.float().unsqueeze(1), P)
    residual = normalise(keypoints_px.float(), crop_px).unsqueeze(2) - seen
    jacobian = (P[..., :2, :3] - seen.unsqueeze(-1) * P[..., 2:, :3]) / depth.clamp_min(1e-2).unsqueeze(-1)
    slope = jacobian.square().sum(-1, keepdim=True).clamp_min(1e-6)
    step_m = (jacobian / slope * residual.unsqueeze(-1)).sum(-2)
    visible = (seen.abs() < 1).all(-1) & (depth.squeeze(-1) > 0.1)
    return seen, step_m, visible.float()
