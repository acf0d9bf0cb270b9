"""Stage 1 of UST-Hand: the crops of one frame to clouds of 3D points with features.

B frames, V views (absent ones masked), S crop side, J=21 joints, M hypotheses, D width, h = w = S / 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from calibration.hand import JOINTS
from models.network.backbone import Backbone
from models.network.casa import ConfidenceAwareAttention
from models.network.config import NetworkConfig
from models.network.flow import ConditionalFlow
from models.network.gcn import AdaptiveGraphConvolution
from models.network.heatmap_head import HeatmapHead
from models.network.joint_features import JointFeatures
from models.network.lifting import triangulate
from models.network.point_features import PointFeatures
from models.network.precision import float32_region

MAX_REACH_M = 0.5
"""Points are kept this near to the crop's target along each axis: a hand is, a bad triangulation may not be."""


class Stage1Output(NamedTuple):
    """All float32; zeros in absent views."""

    heatmaps: Tensor
    """(B, V, J, h, w), each summing to 1."""
    keypoints_px: Tensor
    """(B, V, J, 2) crop pixels: the heatmaps' means."""
    confidence: Tensor
    """(B, V, J) in 0..1: the heatmaps' peaks."""
    features: Tensor
    """(B, V, J, D): F_fuse, the flow's condition."""
    hypotheses_px: Tensor
    """(B, M, V, J, 2) crop pixels, drawn from the flow."""
    mode_px: Tensor
    """(B, V, J, 2) crop pixels."""
    anchors_m: Tensor
    """(B, M*J, 3) hand-centred metres, the hypotheses lifted; joints fastest."""
    anchor_features: Tensor
    """(B, A*J, D), of the first A hypotheses."""
    queries_m: Tensor
    """(B, J, 3) hand-centred metres, the mode lifted."""
    query_features: Tensor
    """(B, J, D)."""


class _View(NamedTuple):
    """What one view tells by itself; first dimension N = B * V."""

    heatmaps: Tensor
    keypoints_px: Tensor
    confidence: Tensor
    maps: Tensor
    features: Tensor


class Stage1(nn.Module):
    """See the modules of each part for its equation."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.heatmap_head = HeatmapHead(config, self.backbone.channels)
        self.joint_features = JointFeatures(config, self.backbone.channels)
        self.casa = ConfidenceAwareAttention(config) if config.casa else None
        self.gcn = AdaptiveGraphConvolution(config) if config.gcn else None
        self.norm = nn.LayerNorm(config.width)
        self.flow = ConditionalFlow(config) if config.flow else None
        self.view_weight = nn.Linear(config.width, 1, bias=False) if config.view_weights else None
        if self.view_weight is not None:
            nn.init.zeros_(self.view_weight.weight)
        self.point_features = PointFeatures(config)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, crops_rgb: Tensor, P_crop: Tensor, view_mask: Tensor, latents: Tensor) -> Stage1Output:
        """One frame of each of B batches.

        Args:
            crops_rgb: (B, V, S, S, 3) uint8.
            P_crop: (B, V, 3, 4) float32, hand-centred metres to crop pixels.
            view_mask: (B, V) bool, True where the view is present.
            latents: (B, M, V, 2J) normal numbers, the flow's z.
        """
        views = view_mask.shape[1]
        found = _View(*(part.unflatten(0, (-1, views)) for part in self._see(crops_rgb, view_mask)))
        features = found.features if self.gcn is None else self.gcn(found.features, P_crop, view_mask)
        features = self.norm(features).float() * view_mask[..., None, None]
        poses_px = self._poses_px(latents, features, found.keypoints_px) * view_mask[:, None, :, None, None]
        weights = self._dlt_weights(found.confidence, features, view_mask)
        points_m = triangulate(
            poses_px.transpose(2, 3), weights.transpose(1, 2).unsqueeze(1), P_crop[:, None, None], self.config.crop_px
        ).clamp(-MAX_REACH_M, MAX_REACH_M)
        point_features = self.point_features(
            points_m[:, : 1 + self.config.cloud_points // JOINTS],
            P_crop,
            view_mask,
            found.maps,
            found.heatmaps,
            found.keypoints_px,
            found.confidence,
            features,
        ).float()
        return Stage1Output(
            heatmaps=found.heatmaps,
            keypoints_px=found.keypoints_px,
            confidence=found.confidence,
            features=features,
            hypotheses_px=poses_px[:, 1:],
            mode_px=poses_px[:, 0],
            anchors_m=points_m[:, 1:].flatten(1, 2),
            anchor_features=point_features[:, 1:].flatten(1, 2),
            queries_m=points_m[:, 0],
            query_features=point_features[:, 0],
        )

    def pose_nll(self, output: Stage1Output, labels_px: Tensor, label_confidence: Tensor) -> Tensor:
        """Negative log-likelihood (B, V) of 2D labels under the flow, per number of the pose (nats / 2J).

        Labels (B, V, J, 2) in crop pixels count where their confidence (B, V, J) is above 0. A joint without label is
        filled in by a draw from the flow itself: in expectation it then teaches nothing, for the mean of the gradient
        of log p over p is 0. Zero for a view without any label, and everywhere where the flow is switched off.
        """
        labelled = label_confidence > 0
        if self.flow is None:
            return torch.zeros_like(label_confidence[..., 0])
        target_px = torch.where(labelled.unsqueeze(-1), labels_px, output.hypotheses_px[:, 0].detach())
        with float32_region(labels_px):
            x = (target_px - output.keypoints_px.detach()).float() / self.config.crop_px
            log_prob = self.flow.log_prob(x.flatten(0, 1).flatten(1).unsqueeze(1), output.features.flatten(0, 1))
        nll = -log_prob.unflatten(0, (-1, labels_px.shape[1])).squeeze(-1) / (2 * JOINTS)
        return nll * labelled.any(-1)

    def _see(self, crops_rgb: Tensor, view_mask: Tensor) -> _View:
        """Each view by itself. In training absent views are left out, so that no batch statistic knows of them."""
        crops, present = crops_rgb.flatten(0, 1), view_mask.flatten()
        if not self.training:
            seen = self._see_views(crops)
            return _View(*(part * present.view(-1, *[1] * (part.ndim - 1)) for part in seen))
        index = present.nonzero().squeeze(1)
        if len(index) == len(present):
            return self._see_views(crops)
        seen = self._see_views(crops[index])
        return _View(*(part.new_zeros(len(present), *part.shape[1:]).index_copy(0, index, part) for part in seen))

    def _see_views(self, crops_rgb: Tensor) -> _View:
        levels = self.backbone(crops_rgb)
        found = self.heatmap_head(levels)
        features = self.joint_features(levels, found)
        if self.casa is not None:
            features = self.casa(features, found.confidence)
        return _View(
            heatmaps=found.heatmaps,
            keypoints_px=found.keypoints_px,
            confidence=found.confidence,
            maps=found.fine,
            features=features,
        )

    def _poses_px(self, latents: Tensor, features: Tensor, keypoints_px: Tensor) -> Tensor:
        """(B, 1 + M, V, J, 2) crop pixels: the mode, then the hypotheses."""
        if self.flow is None:
            return keypoints_px.unsqueeze(1).expand(-1, latents.shape[1] + 1, -1, -1, -1)
        z = torch.cat([torch.zeros_like(latents[:, :1]), latents], 1)
        with float32_region(features):
            x, _ = self.flow(z.float().transpose(1, 2).flatten(0, 1), features.flatten(0, 1))
        offsets = x.unflatten(0, (-1, latents.shape[2])).transpose(1, 2).unflatten(3, (JOINTS, 2))
        return keypoints_px.unsqueeze(1) + offsets * self.config.crop_px

    def _dlt_weights(self, confidence: Tensor, features: Tensor, view_mask: Tensor) -> Tensor:
        """(B, V, J): the confidence, times a learned factor from 1/e^2 to e^2 where switched on; 0 in absent views."""
        weights = confidence
        if self.view_weight is not None:
            with float32_region(features):
                weights = weights * (2 * torch.tanh(self.view_weight(features).squeeze(-1))).exp()
        return weights * view_mask.unsqueeze(-1)
