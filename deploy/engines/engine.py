"""What an engine does: it runs the two networks of one checkpoint, arrays in and arrays out.

Letters: H hands, V views, J = 21 joints, M hypotheses, of which the transformer reads A, T frames, D feature width.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from calibration.errors import UserError
from deploy.batches import Clouds, CloudWindow, EngineShape, Refined, Stage1Keypoints

FAILURES = (UserError, ImportError, RuntimeError, MemoryError)
"""What an engine raises that cannot start, or cannot go on."""


class Engine(Protocol):
    """The arrays that a method returns may change when it is called again. Called from one thread, but for this:
    `refine` may run in one while `run_stage1` runs in another, where the engine is no RingEngine.
    """

    name: str
    shape: EngineShape

    def prepare(self, hands: Iterable[int], views: int) -> None:
        """Get ready for batches of those numbers of hands and that number of views, so that the first is not slow."""
        ...

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        """Stage 1 on crops (H, V, S, S, 3) uint8 RGB with `P_crop` (H, V, 3, 4) and `view_mask` (H, V) bool."""
        ...

    def refine(self, window: CloudWindow) -> Refined:
        """The Spatiotemporal Point Transformer."""
        ...

    def close(self) -> None: ...


class HandRing(Protocol):
    """The last T frames of one hand, kept by an engine. It begins empty."""

    @property
    def count(self) -> int:
        """The frames that were added so far."""
        ...

    def miss(self) -> None:
        """Add a frame without the hand."""
        ...

    def withdraw(self, frame: int) -> None:
        """That frame, as `count` was after it, showed no hand after all: it stays as one without the hand."""
        ...


@runtime_checkable
class RingEngine(Engine, Protocol):
    """An engine that can also keep the rings itself, on its device, so that clouds never leave it."""

    def make_ring(self, mirror: np.ndarray) -> HandRing:
        """A ring for a hand; `mirror` (3, 3) as of deploy.engines.ring.CloudRing."""
        ...

    def drop_ring(self, ring: HandRing) -> None:
        """The ring's hand is lost; its memory serves the next one."""
        ...

    def run_stage1_into(
        self,
        rings: Sequence[HandRing],
        origins_world_m: Sequence[np.ndarray],
        crops_rgb: np.ndarray,
        P_crop: np.ndarray,
        view_mask: np.ndarray,
    ) -> Stage1Keypoints:
        """`run_stage1`, and what it finds goes into the rings; `origins_world_m` (3,): where their hands' zeros lie."""
        ...

    def refine_rings(self, rings: Sequence[HandRing]) -> Refined:
        """`refine` of the windows of those rings, each re-based to its newest frame's origin."""
        ...
