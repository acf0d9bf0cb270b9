"""The ring of the last frames' clouds of one hand, from which the Spatiotemporal Point Transformer reads its window."""

import numpy as np

from deploy.batches import Clouds, CloudWindow, EngineShape, empty_window


class CloudRing:
    """The newest T frames of one hand. A frame that had no hand or no set holds its place, absent.

    `mirror` (3, 3) maps world directions to the hand-centred axes of the clouds: the identity, or the mirror of a left
    hand. The frames lie in the place of one hand, H = 1, of a window; by default in one of the ring's own.
    """

    def __init__(self, shape: EngineShape, mirror: np.ndarray, place: CloudWindow | None = None) -> None:
        self._mirror = mirror
        self._window = place or empty_window(shape, 1)
        self._window.frame_mask[:] = False
        self._origins_world_m = np.zeros((shape.frames, 3))
        self.count = 0

    def push(self, clouds: Clouds, hand: int, origin_world_m: np.ndarray) -> None:
        """Add the clouds of hand `hand` (an index into H), whose zero lies at `origin_world_m` (3,)."""
        self.miss()
        window = self._window
        window.anchors_m[0, -1] = clouds.anchors_m[hand]
        window.anchor_features[0, -1] = clouds.anchor_features[hand]
        window.queries_m[0, -1] = clouds.queries_m[hand]
        window.query_features[0, -1] = clouds.query_features[hand]
        window.frame_mask[0, -1] = True
        self._origins_world_m[-1] = origin_world_m

    def miss(self) -> None:
        """Add a frame without the hand."""
        window = self._window
        moved = (window.anchors_m, window.anchor_features, window.queries_m, window.query_features, window.frame_mask)
        # Frame by frame: NumPy would copy overlapping parts of an array to new memory first.
        for frame in range(len(self._origins_world_m) - 1):
            for array in moved:
                array[0, frame] = array[0, frame + 1]
            self._origins_world_m[frame] = self._origins_world_m[frame + 1]
        window.frame_mask[0, -1] = False
        self.count += 1

    def withdraw(self, frame: int) -> None:
        """That frame, as `count` was after it, showed no hand after all: it stays as one without the hand."""
        age = self.count - frame
        if age < len(self._origins_world_m):
            self._window.frame_mask[0, -1 - age] = False

    def window(self) -> CloudWindow:
        """The window of this hand, H = 1, re-based to the newest frame's origin; it changes with the ring."""
        window = self._window
        origins = (self._origins_world_m - self._origins_world_m[-1]) @ self._mirror.T
        window.origins_m[0] = np.where(window.frame_mask[0, :, None], origins, 0.0)
        return window
