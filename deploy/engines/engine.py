"""What an engine does: it runs the two networks of one checkpoint, arrays in and arrays out, and keeps hands' rings.

Letters: H hands, V views, J = 21 joints, M hypotheses, of which the transformer reads A, T frames, D feature width.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from calibration.errors import UserError
from deploy.batches import Clouds, CloudWindow, CropBatch, EngineShape, Refined, Stage1Keypoints

FAILURES = (UserError, ImportError, RuntimeError, MemoryError)
"""What an engine raises that cannot start, or cannot go on."""


class HandRing:
    """The last T frames of one hand: `present` (T,) bool, the newest last, says which of them show it. It begins empty.

    `mirror` (3, 3) maps world directions to hand-centred axes: the identity, or the mirror of a left hand. `count` is
    the number of frames that were added so far. An engine's ring keeps the frames' clouds as well.
    """

    def __init__(self, present: np.ndarray, mirror: np.ndarray) -> None:
        self._present, self._mirror = present, mirror
        self._present[:] = False
        self._origins_world_m = np.zeros((len(present), 3))
        self.count = 0

    def miss(self) -> None:
        """Add a frame without the hand."""
        for array in (self._present, self._origins_world_m):
            array[:-1] = array[1:]
        self._present[-1] = False
        self.count += 1

    def withdraw(self, frame: int) -> None:
        """That frame, as `count` was after it, showed no hand after all: it stays as one without the hand."""
        age = self.count - frame
        if age < len(self._present):
            self._present[-1 - age] = False

    def add(self, origin_world_m: np.ndarray) -> None:
        """Add a frame with the hand, whose clouds' zero lies at `origin_world_m` (3,)."""
        HandRing.miss(self)
        self._present[-1], self._origins_world_m[-1] = True, origin_world_m

    def origins_m(self) -> np.ndarray:
        """The frames' zeros (T, 3) as seen from the newest one's, zero where there is no hand."""
        origins_m = (self._origins_world_m - self._origins_world_m[-1]) @ self._mirror.T
        return np.where(self._present[:, None], origins_m, 0.0)


class HandRings(Protocol):
    """The rings of several hands by slot, kept where their engine wants them. Slots are named in rising order."""

    def add(self, slot: int, mirror: np.ndarray) -> None:
        """An empty ring for a hand; `mirror` as of HandRing."""
        ...

    def remove(self, slot: int) -> None:
        """The ring's hand is lost; its memory serves the next one."""
        ...

    def __getitem__(self, slot: int) -> HandRing: ...

    def run_stage1(
        self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray], crops: CropBatch
    ) -> Stage1Keypoints:
        """Stage 1 on the crops of those hands; what it finds is a new frame in their rings.

        `origins_world_m` (3,): where their zeros lie.
        """
        ...

    def refine(self, slots: Sequence[int]) -> Refined:
        """The transformer on the windows of those rings, each re-based to its newest frame's origin."""
        ...

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined | None]:
        """`refine` of the rings as they are now, to be called once, in any thread, while `run_stage1` runs here.

        Waits until what it returned before has been called. An engine that cannot do both at once refines here and now.
        """
        ...


class Engine(Protocol):
    """The arrays that a method returns may change when it is called again, but not with those that it was given. Called
    from one thread, but for what `HandRings.refine_later` returns.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> EngineShape: ...

    def prepare(self, hands: Iterable[int], views: int) -> None:
        """Get ready for batches of those numbers of hands and that number of views, so that the first is not slow."""
        ...

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        """Stage 1 on crops (H, V, S, S, 3) uint8 RGB with `P_crop` (H, V, 3, 4) and `view_mask` (H, V) bool."""
        ...

    def refine(self, window: CloudWindow) -> Refined:
        """The Spatiotemporal Point Transformer."""
        ...

    def make_rings(self, hands: int, lock: AbstractContextManager) -> HandRings:
        """Rings for slots 0 to `hands` - 1, none of them taken. `lock` is entered while a ring changes."""
        ...

    def close(self) -> None: ...
