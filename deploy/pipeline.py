"""The two engines in a row: crops of a few hands through stage 1, each hand's ring, and the transformer.

Everything that a frame needs is made once: the crops that the views are drawn into, and the window that holds the
rings, are what the engine reads. A hand has a seat, which is its place in both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deploy.engines.protocol import Clouds, Engine, Refined
from deploy.ring import CloudRing, empty_window, part_of


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


class Pipeline:
    """Up to `hands` hands in rigs of `views` cameras; absent views are masked, so that an engine sees few sizes."""

    def __init__(self, engine: Engine, views: int, hands: int = 2) -> None:
        self.engine = engine
        self.crops = empty_crops(hands, views, engine.shape.crop_px)
        self._window = empty_window(engine.shape, hands)
        self._rings: list[CloudRing | None] = [None] * hands
        engine.prepare(range(1, hands + 1), views)

    def sit(self, mirror: np.ndarray) -> int:
        """A free seat, with an empty ring; `mirror` as of CloudRing. Raises ValueError where there is none."""
        seat = self._rings.index(None)
        self._rings[seat] = CloudRing(self.engine.shape, mirror, part_of(self._window, seat, seat + 1))
        return seat

    def leave(self, seat: int) -> None:
        self._rings[seat] = None

    def ring(self, seat: int) -> CloudRing:
        ring = self._rings[seat]
        assert ring is not None, f"nobody sits in seat {seat}"
        return ring

    def lift(self, seats: Sequence[int], origins_world_m: Sequence[np.ndarray]) -> Clouds:
        """Stage 1 on the crops of `seats`, in rising order; what it finds is pushed into their rings.

        `origins_world_m`: where each hand's zero lies (3,). The clouds are in the order of the seats, and the engine's
        until it lifts again.
        """
        first, end = _span(seats)
        clouds = self.engine.lift(*(array[first:end] for array in self.crops))
        if len(seats) < end - first:
            clouds = Clouds(*(array[np.array(seats) - first] for array in clouds))
        for hand, (seat, origin) in enumerate(zip(seats, origins_world_m, strict=True)):
            self.ring(seat).push(clouds, hand, origin)
        return clouds

    def refine(self, seats: Sequence[int]) -> Refined:
        """The transformer on the windows of `seats`, in rising order."""
        first, end = _span(seats)
        for seat in seats:
            self.ring(seat).window()
        refined = self.engine.refine(part_of(self._window, first, end))
        if len(seats) < end - first:
            refined = Refined(*(array[np.array(seats) - first] for array in refined))
        return refined


def _span(seats: Sequence[int]) -> tuple[int, int]:
    return seats[0], seats[-1] + 1
