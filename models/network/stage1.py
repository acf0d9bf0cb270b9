"""Stage 1 of UST-Hand: the crops of one frame to clouds of 3D points with features.

B frames, V views (absent ones masked), S crop side, J=21 joints, M hypotheses, D width, h = w = S / 4.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from calibration.hand import JOINTS
from models.network.backbone import Backbone
from models.network.casa import ConfidenceAwareAttention
from models.network.config import NetworkConfig
from models.network.crop_coordinates import normalise
from models.network.flow import ConditionalFlow
from models.network.gcn import AdaptiveGraphConvolution
from models.network.heatmap_head import HeatmapHead
from models.network.joint_features import JointFeatures
from models.network.landmark_features import LandmarkFeatures, Sightings, confidence_of, sight
from models.network.landmark_net import HeatmapLandmarkNet, LandmarkNet
from models.network.lifting import agreeing_weights, condition_cameras, project, triangulate
from models.network.point_features import PointFeatures
from models.network.precision import float32_region

MAX_REACH_M = 0.5
"""Points are kept this near to the crop's target along each axis: a hand is, a bad triangulation may not be."""


_DISAGREEMENT = 0.03
"""A usual distance between a view's point and what all views agree on, a share of the crop's side."""
HAND_PEAK = 0.032
"""Mean peak of heatmaps that are as likely of a hand as not. They are trained to peak at 0.07; on simulated hands they
reach 0.045 and more, on parts of one up to 0.037, and elsewhere they stay below 0.023."""


class Stage1Output(NamedTuple):
    """All float32; zeros in absent views."""

    heatmaps: Tensor | None
    """(B, V, J, h, w), each summing to 1. None of a landmark network."""
    keypoints_px: Tensor
    """(B, V, J, 2) crop pixels: the heatmaps' means, or the landmark network's points."""
    confidence: Tensor
    """(B, V, J) in 0..1: the heatmaps' peaks, or how small an error the points are expected to have."""
    log_spread: Tensor | None
    """(B, V, J): the logarithm of that error, a share of the crop's side. None of heatmaps."""
    presence: Tensor
    """(B, V) in 0..1: that a hand is in the crop; 0.5 is as likely as not."""
    right: Tensor
    """(B, V) in 0..1: that the crop shows a right hand, as it should; 0.5 where the network does not say."""
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

    heatmaps: Tensor | None
    maps: Tensor | None
    keypoints_px: Tensor
    confidence: Tensor
    log_spread: Tensor | None
    presence: Tensor
    right: Tensor
    features: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "_View":
        return _View(*(None if part is None else change(part) for part in self))  # type: ignore[arg-type]


class Stage1(nn.Module):
    """See the modules of each part for its equation."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.correction_share, self.trust_exponent = config.correction_share, config.trust_exponent
        if config.landmarks:
            made = HeatmapLandmarkNet() if config.landmark_heatmaps else LandmarkNet()
            self.backbone = made.requires_grad_(False)
            self.heatmap_head = None
            self.joint_features = LandmarkFeatures(config)
            self.presence, self.right = Calibration(), Calibration()
            self.consensus = nn.Sequential(nn.Linear(3, config.width), nn.GELU(), nn.Linear(config.width, config.width))
        else:
            self.backbone = Backbone(config)
            self.heatmap_head = HeatmapHead(config, self.backbone.channels)
            self.joint_features = JointFeatures(config, self.backbone.channels)
            self.consensus = None
        self.casa = ConfidenceAwareAttention(config) if config.casa else None
        self.gcn = AdaptiveGraphConvolution(config) if config.gcn else None
        self.norm = nn.LayerNorm(config.width)
        self.flow = ConditionalFlow(config) if config.flow else None
        self.view_weight = nn.Linear(config.width, 1, bias=False) if config.view_weights else None
        if self.view_weight is not None:
            nn.init.zeros_(self.view_weight.weight)
        self.point_features = PointFeatures(config)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def to_be_trained(self) -> None:
        """What is corrected and trusted less in use is as it was learned."""
        self.correction_share = self.trust_exponent = 1.0

    def forward(self, crops_rgb: Tensor, P_crop: Tensor, view_mask: Tensor, latents: Tensor) -> Stage1Output:
        """One frame of each of B batches.

        Args:
            crops_rgb: (B, V, S, S, 3) uint8; of a landmark network also what it said of them, (B, V, SIGHTING) float16.
            P_crop: (B, V, 3, 4) float32, hand-centred metres to crop pixels.
            view_mask: (B, V) bool, True where the view is present.
            latents: (B, M, V, 2J) normal numbers, the flow's z.
        """
        views = view_mask.shape[1]
        found = self._see(crops_rgb, view_mask).map(lambda part: part.unflatten(0, (-1, views)))
        features = found.features
        if self.consensus is not None:
            features = features + self.consensus(self._disagreement(found, P_crop, view_mask))
        if self.gcn is not None:
            features = self.gcn(features, P_crop, view_mask)
        features = self.norm(features).float() * view_mask[..., None, None]
        poses_px = self._poses_px(latents, features, found.keypoints_px) * view_mask[:, None, :, None, None]
        weights = self._dlt_weights(self._trust(found), features, view_mask)
        weights = self._agreeing(weights, poses_px[:, 0], P_crop)
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
            log_spread=found.log_spread,
            presence=found.presence,
            right=found.right,
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
            return self._see_views(crops).map(lambda part: part * present.view(-1, *[1] * (part.ndim - 1)))
        index = present.nonzero().squeeze(1)
        if len(index) == len(present):
            return self._see_views(crops)
        seen = self._see_views(crops[index])
        return seen.map(lambda part: part.new_zeros(len(present), *part.shape[1:]).index_copy(0, index, part))

    def _see_views(self, crops_rgb: Tensor) -> _View:
        if isinstance(self.joint_features, LandmarkFeatures):
            return self._sight_views(crops_rgb)
        assert isinstance(self.backbone, Backbone) and self.heatmap_head is not None
        levels = self.backbone(crops_rgb)
        found = self.heatmap_head(levels)
        features = self.joint_features(levels, found)
        if self.casa is not None:
            features = self.casa(features, found.confidence)
        return _View(
            heatmaps=found.heatmaps,
            maps=found.fine,
            keypoints_px=found.keypoints_px,
            confidence=found.confidence,
            log_spread=None,
            presence=(found.confidence.mean(-1) / (2 * HAND_PEAK)).clamp(max=1.0),
            right=torch.full_like(found.confidence[:, 0], 0.5),
            features=features,
        )

    def _sight_views(self, crops: Tensor) -> _View:
        """Of pictures, or of what the landmark network said of them."""
        assert isinstance(self.backbone, LandmarkNet) and isinstance(self.joint_features, LandmarkFeatures)
        if crops.ndim == 2:
            seen = Sightings.unpack(crops)
        else:
            with torch.no_grad():
                seen = sight(self.backbone, crops)
        features, log_spread = self.joint_features(seen)
        confidence = confidence_of(log_spread)
        if self.casa is not None:
            features = self.casa(features, confidence)
        return _View(
            heatmaps=None,
            maps=None,
            keypoints_px=seen.keypoints_px[..., :2],
            confidence=confidence,
            log_spread=log_spread,
            presence=self.presence(seen.presence_logit),
            right=self.right(seen.right_logit),
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
        if self.correction_share < 1:
            offsets = offsets - (1 - self.correction_share) * offsets[:, :1]
        return keypoints_px.unsqueeze(1) + offsets * self.config.crop_px

    def _trust(self, found: _View) -> Tensor:
        """(B, V, J): the confidence; of a landmark network less where there may be no hand in the view."""
        trust = found.confidence if found.log_spread is None else found.confidence * found.presence.unsqueeze(-1)
        return trust if self.trust_exponent == 1 else trust**self.trust_exponent

    def _dlt_weights(self, confidence: Tensor, features: Tensor, view_mask: Tensor) -> Tensor:
        """(B, V, J): the confidence, times a learned factor from 1/e^2 to e^2 where switched on; 0 in absent views."""
        weights = confidence
        if self.view_weight is not None:
            with float32_region(features):
                weights = weights * (2 * torch.tanh(self.view_weight(features).squeeze(-1))).exp()
        return weights * view_mask.unsqueeze(-1)

    def _disagreement(self, found: _View, P_crop: Tensor, view_mask: Tensor) -> Tensor:
        """(B, V, J, 3): how far each view's points are from what all views agree on, and how far they are trusted."""
        with float32_region(found.features):
            weights = self._trust(found) * view_mask.unsqueeze(-1)
            agreeing = self._agreeing(weights, found.keypoints_px, P_crop)
            points_m = triangulate(
                found.keypoints_px.transpose(1, 2), agreeing.transpose(1, 2), P_crop[:, None], self.config.crop_px
            )
            seen, _ = project(points_m.unsqueeze(1), condition_cameras(P_crop, self.config.crop_px)[:, :, None])
            apart = (normalise(found.keypoints_px, self.config.crop_px) - seen) / (2 * _DISAGREEMENT)
            trust = (agreeing / weights.clamp_min(1e-9)).unsqueeze(-1)
            return torch.cat([3 * torch.tanh(apart / 3), trust], -1).detach() * view_mask[..., None, None]

    def _agreeing(self, weights: Tensor, poses_px: Tensor, P_crop: Tensor) -> Tensor:
        """The weights (B, V, J), less where a view disagrees with what all views say of a joint."""
        if not self.config.robust_rounds:
            return weights
        by_joint = poses_px.transpose(1, 2), weights.transpose(1, 2), P_crop[:, None]
        return agreeing_weights(*by_joint, self.config.crop_px, self.config.robust_rounds).transpose(1, 2)


class Calibration(nn.Module):
    """A logit's probability: sigmoid(scale x logit + shift), the two learned (J. Platt, 1999)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, logit: Tensor) -> Tensor:
        return torch.sigmoid(self.log_scale.exp() * logit + self.shift)
