"""The ring of the last frames' clouds of one hand, from which the Spatiotemporal Point Transformer reads its window."""

import numpy as np

from deploy.engines.protocol import Clouds, CloudWindow, EngineShape

JOINTS = 21


class CloudRing:
    """The newest T frames of one hand. A frame that had no hand or no set holds its place, absent.

    `mirror` (3, 3) maps world directions to the hand-centred axes of the clouds: the identity, or the mirror of a left
    hand.
    """

    def __init__(self, shape: EngineShape, mirror: np.ndarray) -> None:
        anchors, frames = shape.hypotheses * JOINTS, shape.frames
        self._mirror = mirror
        self._anchors_m = np.zeros((frames, anchors, 3), np.float32)
        self._anchor_features = np.zeros((frames, anchors, shape.width), np.float32)
        self._queries_m = np.zeros((frames, JOINTS, 3), np.float32)
        self._query_features = np.zeros((frames, JOINTS, shape.width), np.float32)
        self._origins_world_m = np.zeros((frames, 3))
        self._there = np.zeros(frames, bool)
        self._newest = frames - 1

    def push(self, clouds: Clouds, hand: int, origin_world_m: np.ndarray) -> None:
        """Add the clouds of hand `hand` (an index into H), whose zero lies at `origin_world_m` (3,)."""
        self._newest = (self._newest + 1) % len(self._there)
        at = self._newest
        self._anchors_m[at] = clouds.anchors_m[hand]
        self._anchor_features[at] = clouds.anchor_features[hand]
        self._queries_m[at] = clouds.queries_m[hand]
        self._query_features[at] = clouds.query_features[hand]
        self._origins_world_m[at] = origin_world_m
        self._there[at] = True

    def miss(self) -> None:
        """Add a frame without the hand."""
        self._newest = (self._newest + 1) % len(self._there)
        self._there[self._newest] = False

    def withdraw(self) -> None:
        """The newest frame showed no hand after all: it stays as one without the hand."""
        self._there[self._newest] = False

    def window(self) -> CloudWindow:
        """The window of this hand, H = 1, re-based to the newest frame's origin."""
        order = (np.arange(len(self._there)) + self._newest + 1) % len(self._there)
        there = self._there[order]
        origins = (self._origins_world_m[order] - self._origins_world_m[self._newest]) @ self._mirror.T
        origins[~there] = 0.0
        return CloudWindow(
            self._anchors_m[order][None],
            self._anchor_features[order][None],
            self._queries_m[order][None],
            self._query_features[order][None],
            origins.astype(np.float32)[None],
            there[None],
        )


def stack(windows: list[CloudWindow]) -> CloudWindow:
    """Windows of several hands as one batch."""
    return CloudWindow(*(np.concatenate(arrays) for arrays in zip(*windows, strict=True)))
