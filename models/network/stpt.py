"""Stage 2, the Spatiotemporal Point Transformer: K blocks that refine the query points of T frames.

Source: UST-Hand (CVPR 2026, arXiv 2605.17742), section 4.2 of its review. Each block: spatial attention within each
cloud, temporal attention of each point over the frames, cross-attention of the queries to the anchors, then an offset
of the query points. Every block's queries are supervised. Nothing but differences of positions enters, so the choice
of origin changes nothing. A cloud is of A of the M hypotheses (models/network/config.py); all shape the covariance.
Letters: B batch, T time, P = A x J anchors, J joints, D width, K blocks.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.network.config import NetworkConfig
from models.network.covariance import CovarianceHead
from models.network.cross_attention import CrossAttention
from models.network.spatial_attention import SpatialAttention
from models.network.temporal_attention import TemporalAttention

_OFFSET_M = 0.01


class STPTOutput(NamedTuple):
    """Queries (B, K, T, J, 3) after each block, metres, hand-centred in each frame; the newest frame's covariance
    (B, J, 3, 3), square metres.

    Without blocks K is 1 and the queries are stage 1's.
    """

    queries_m: Tensor
    covariance_m2: Tensor


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class Block(nn.Module):
    """One round: features of both clouds, then the offset of the queries."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        D = config.width
        self.spatial = SpatialAttention(D, config.neighbours) if config.spatial else None
        self.temporal = TemporalAttention(D, config.heads, config.frames) if config.temporal else None
        self.cross = CrossAttention(D, config.heads) if config.cross else None
        self.feed_forward = FeedForward(D)
        last = nn.Linear(D, 3)
        # The first results are stage 1's, but for a hair: gradients must pass.
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)
        self.offset = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, D), nn.ReLU(), last)

    def forward(
        self,
        anchors_m: Tensor,
        anchors: Tensor,
        queries_m: Tensor,
        queries: Tensor,
        origins_m: Tensor,
        frame_mask: Tensor,
        first_spatial_applied: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New anchor features, query positions and query features; positions are hand-centred in each frame.

        With `first_spatial_applied` the features are those after this block's spatial attention.
        """
        if self.spatial and not first_spatial_applied:
            anchors = _per_frame(self.spatial, anchors_m, anchors)
            queries = _per_frame(self.spatial, queries_m, queries)
        if self.temporal:
            moved_m = origins_m[:, :, None]
            both_m = torch.cat([anchors_m, queries_m], dim=2) + moved_m
            both = self.temporal(both_m, torch.cat([anchors, queries], dim=2), frame_mask)
            anchors, queries = both.split([anchors.shape[2], queries.shape[2]], dim=2)
        if self.cross:
            queries = _per_frame(self.cross, queries_m, queries, anchors_m, anchors)
        queries = self.feed_forward(queries)
        return anchors, queries_m + _OFFSET_M * self.offset(queries).float(), queries


class SpatiotemporalPointTransformer(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks if config.stpt else 0))
        self.covariance = CovarianceHead(config.width)

    def apply_first_spatial(self, points_m: Tensor, features: Tensor) -> Tensor:
        """The first block's spatial attention of clouds (N, P or more, 3), (N, P, D): new features.

        It concerns one frame alone, so that a ring of frames need not do it again; `forward` is then told
        `first_spatial_applied`.
        """
        first = next(iter(self.blocks), None)
        if not (isinstance(first, Block) and first.spatial):
            return features
        return first.spatial(points_m[:, : features.shape[1]], features)

    def forward(
        self,
        anchors_m: Tensor,
        anchor_features: Tensor,
        queries_m: Tensor,
        query_features: Tensor,
        origins_m: Tensor,
        frame_mask: Tensor,
        first_spatial_applied: bool = False,
    ) -> STPTOutput:
        """Refine the queries (B, T, J, 3) with features (B, T, J, D), told by anchors (B, T, M x J, 3), (B, T, P, D).

        Positions are metres, hand-centred in each frame; `origins_m` (B, T, 3) are the frames' origins in any one frame
        of reference, as that of the newest frame. `frame_mask` bool (B, T): what an absent frame holds changes nothing
        in the others, and its own results mean nothing. The newest frame, T - 1, should be there.
        With `first_spatial_applied` the features are what `apply_first_spatial` made of them.
        """
        present = frame_mask[:, :, None, None]
        anchors_m, queries_m, anchors, queries = (
            torch.where(present, each, 0) for each in (anchors_m, queries_m, anchor_features, query_features)
        )
        origins_m = torch.where(frame_mask[:, :, None], origins_m, 0)
        cloud_m = anchors_m[:, :, : anchors.shape[2]]
        refined = []
        for index, block in enumerate(self.blocks):
            applied = first_spatial_applied and index == 0
            anchors, queries_m, queries = block(cloud_m, anchors, queries_m, queries, origins_m, frame_mask, applied)
            refined.append(queries_m)
        covariance_m2 = self.covariance(queries[:, -1], queries_m[:, -1].detach(), anchors_m[:, -1].detach())
        return STPTOutput(torch.stack(refined or [queries_m], dim=1), covariance_m2)


def _per_frame(attention: nn.Module, *clouds: Tensor) -> Tensor:
    """Apply an attention over clouds (N, P, ...) to clouds of B x T frames."""
    B, T = clouds[0].shape[:2]
    return attention(*(each.flatten(0, 1) for each in clouds)).unflatten(0, (B, T))
