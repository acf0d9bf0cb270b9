"""The rings of engines that run on this machine's memory: the last frames' clouds of each hand, side by side in the
window that the Spatiotemporal Point Transformer reads.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from deploy.batches import (
    CLOUDS,
    Clouds,
    CloudWindow,
    CropBatch,
    EngineShape,
    Refined,
    Stage1Keypoints,
    empty_window,
    of_hands,
)
from deploy.engines.engine import Engine, HandRing


class CloudRing(HandRing):
    """A hand's ring in the place of one hand, H = 1, of a window; by default in one of its own."""

    def __init__(self, shape: EngineShape, mirror: np.ndarray, place: CloudWindow | None = None) -> None:
        self._window = place or empty_window(shape, 1)
        super().__init__(self._window.frame_mask[0], mirror)

    def push(self, clouds: Clouds, hand: int, origin_world_m: np.ndarray) -> None:
        """Add the clouds of hand `hand` (an index into H), whose zero lies at `origin_world_m` (3,)."""
        self._move_on()
        for name in CLOUDS:
            getattr(self._window, name)[0, -1] = getattr(clouds, name)[hand]
        self.add(origin_world_m)

    def miss(self) -> None:
        self._move_on()
        super().miss()

    def window(self) -> CloudWindow:
        """The window of this hand, H = 1, re-based to the newest frame's origin; it changes with the ring."""
        self._window.origins_m[0] = self.origins_m()
        return self._window

    def _move_on(self) -> None:
        # Frame by frame: NumPy would copy overlapping parts of an array to new memory first.
        for frame in range(len(self._present) - 1):
            for name in CLOUDS:
                array = getattr(self._window, name)
                array[0, frame] = array[0, frame + 1]


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
        return Stage1Keypoints(*(getattr(clouds, name) for name in Stage1Keypoints._fields))

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
