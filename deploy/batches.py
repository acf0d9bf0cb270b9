"""What passes between the engines and who runs them: crops, clouds and windows of clouds.

Letters: H hands, V views, J = 21 joints, M hypotheses, of which the transformer reads A, T frames, D feature width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibration.hand import JOINTS, Definition
from models.network.config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class EngineShape:
    """The sizes that a checkpoint was trained with: crop side in pixels, M, A, T and D; what its joints are, and
    whether its crops are upright (models/hand/upright.py)."""

    crop_px: int
    hypotheses: int
    anchors: int
    frames: int
    width: int
    definition: Definition = "anatomical"
    upright: bool = False

    @classmethod
    def of(cls, config: NetworkConfig) -> "EngineShape":
        return cls(
            crop_px=config.crop_px,
            hypotheses=config.hypotheses,
            anchors=config.cloud_points // JOINTS,
            frames=config.frames,
            width=config.width,
            definition=config.definition,
            upright=config.landmarks,
        )


class Clouds(NamedTuple):
    """What stage 1 makes of one frame: float32, hand-centred metres, crop pixels. The features are those after the
    transformer's first spatial attention, which concerns one frame alone.

    `anchors_m` (H, M * J, 3), `anchor_features` (H, A * J, D), `queries_m` (H, J, 3), `query_features` (H, J, D),
    `keypoints_px` (H, V, J, 2), `confidence` (H, V, J). `presence` (H, V) and `right` (H, V) are probabilities: that a
    hand is in the crop, and that it is one of the side that the crop is to show; 0.5 where the network does not say.
    """

    anchors_m: np.ndarray
    anchor_features: np.ndarray
    queries_m: np.ndarray
    query_features: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray
    presence: np.ndarray
    right: np.ndarray


class CloudWindow(NamedTuple):
    """T frames of clouds, the newest last: the arrays of Clouds as (H, T, ...), float32.

    `origins_m` (H, T, 3): where each frame's hand-centred zero lies in the newest frame's. `frame_mask` (H, T) bool.
    """

    anchors_m: np.ndarray
    anchor_features: np.ndarray
    queries_m: np.ndarray
    query_features: np.ndarray
    origins_m: np.ndarray
    frame_mask: np.ndarray


CLOUDS = CloudWindow._fields[:4]
"""The arrays of a window that come from stage 1."""


class Refined(NamedTuple):
    """The newest frame's `joints_m` (H, J, 3), hand-centred metres, and their `covariance_m2` (H, J, 3, 3)."""

    joints_m: np.ndarray
    covariance_m2: np.ndarray


class CropBatch(NamedTuple):
    """Stage 1's input: `crops_rgb` (H, V, S, S, 3) uint8, `P_crop` (H, V, 3, 4) float32, `view_mask` (H, V) bool."""

    crops_rgb: np.ndarray
    P_crop: np.ndarray
    view_mask: np.ndarray

    def hand(self, index: int) -> "CropBatch":
        """The arrays of one hand, (V, ...), in the same memory."""
        return CropBatch(*(array[index] for array in self))


def empty_crops(hands: int, views: int, crop_px: int) -> CropBatch:
    """A batch without any view."""
    return CropBatch(
        np.zeros((hands, views, crop_px, crop_px, 3), np.uint8),
        np.zeros((hands, views, 3, 4), np.float32),
        np.zeros((hands, views), bool),
    )


class Stage1Keypoints(NamedTuple):
    """What a hand is judged by, of a frame's Clouds: `keypoints_px` (H, V, J, 2), pixels, `confidence` (H, V, J),
    `presence` (H, V), `right` (H, V)."""

    keypoints_px: np.ndarray
    confidence: np.ndarray
    presence: np.ndarray
    right: np.ndarray


def empty_window(shape: EngineShape, hands: int) -> CloudWindow:
    """A window of so many hands without any frame."""
    size = hands, shape.frames
    return CloudWindow(
        anchors_m=np.zeros((*size, shape.hypotheses * JOINTS, 3), np.float32),
        anchor_features=np.zeros((*size, shape.anchors * JOINTS, shape.width), np.float32),
        queries_m=np.zeros((*size, JOINTS, 3), np.float32),
        query_features=np.zeros((*size, JOINTS, shape.width), np.float32),
        origins_m=np.zeros((*size, 3), np.float32),
        frame_mask=np.zeros(size, bool),
    )


def of_hands(batch: Sequence[np.ndarray], hands: Sequence[int]) -> list[np.ndarray]:
    """The arrays of some hands, in rising order; in the same memory where they are side by side, as two hands are."""
    first, end = hands[0], hands[-1] + 1
    if len(hands) == end - first:
        return [array[first:end] for array in batch]
    return [array[list(hands)] for array in batch]
