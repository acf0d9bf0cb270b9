"""The rings of engines that run on this machine's memory: the last frames' clouds of each hand, side by side in the
window that the Spatiotemporal Point Transformer reads.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from deploy.batches import (
    Clouds,
    CloudWindow,
    CropBatch,
    EngineShape,
    Refined,
    Stage1Keypoints,
    empty_window,
    of_hands,
)
from deploy.engines.engine import Engine


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


class CloudRings:
    """The `HandRings` of `engine`, which reads windows."""

    def __init__(self, engine: Engine, hands: int, lock: AbstractContextManager) -> None:
        self._engine, self._lock = engine, lock
        self._window, self._window_for_later = (empty_window(engine.shape, hands) for _ in range(2))
        self._later_is_free = threading.Semaphore()
        self._rings: dict[int, CloudRing] = {}

    def add(self, slot: int, mirror: np.ndarray) -> None:
        place = CloudWindow(*of_hands(self._window, [slot]))
        self._rings[slot] = CloudRing(self._engine.shape, mirror, place)

    def remove(self, slot: int) -> None:
        del self._rings[slot]

    def __getitem__(self, slot: int) -> CloudRing:
        return self._rings[slot]

    def run_stage1(
        self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray], crops: CropBatch
    ) -> Stage1Keypoints:
        rings = [self._rings[slot] for slot in slots]
        clouds = self._engine.run_stage1(*crops)
        with self._lock:
            for hand, (ring, origin) in enumerate(zip(rings, origins_world_m, strict=True)):
                ring.push(clouds, hand, origin)
        return Stage1Keypoints(clouds.keypoints_px, clouds.confidence)

    def refine(self, slots: Sequence[int]) -> Refined:
        return self._engine.refine(self._window_of(slots))

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined]:
        self._later_is_free.acquire()
        with self._lock:
            window = CloudWindow(*of_hands(self._window_for_later, range(len(slots))))
            for to, array in zip(window, self._window_of(slots), strict=True):
                np.copyto(to, array)

        def refine() -> Refined:
            try:
                return self._engine.refine(window)
            finally:
                self._later_is_free.release()

        return refine

    def _window_of(self, slots: Sequence[int]) -> CloudWindow:
        for slot in slots:
            self._rings[slot].window()
        return CloudWindow(*of_hands(self._window, slots))
