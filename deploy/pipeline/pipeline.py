"""The two engines in a row: crops of several hands through stage 1, each hand's ring, and the transformer.

Everything that a frame needs is made once: the crops that the views are drawn into, and the rings, are what the engine
reads. A hand has a slot, which is its place in both.

Stage 1 of a frame may run while the transformer refines the frame before, in another thread: see `refine_later`.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from deploy.batches import Clouds, CropBatch, Refined, Stage1Keypoints, empty_crops, of_hands
from deploy.engines.engine import Engine, HandRing
from models.network.config import MAX_VIEWS


class Pipeline:
    """Up to `hands` hands in rigs of so many `views`; absent views are masked, so that an engine sees few sizes. Each
    hand is looked at in `views` at most, as the networks take no more.

    `lock` is held while rings and slots change. Where two threads share the pipeline, they hold it, too, for what they
    do to rings. Methods raise what the engine raises.
    """

    def __init__(self, engine: Engine, views: int, hands: int = 2) -> None:
        self.engine = engine
        self.lock = threading.RLock()
        self.views = views = min(views, MAX_VIEWS)
        engine.prepare(range(1, hands + 1), views)
        self.crops = empty_crops(hands, views, engine.shape.crop_px)
        self._rings = engine.make_rings(hands, self.lock)
        self._taken = [False] * hands

    @property
    def hands(self) -> int:
        """How many hands it takes."""
        return len(self._taken)

    def add_hand(self, mirror: np.ndarray) -> int:
        """A free slot, with an empty ring; `mirror` as of HandRings. Raises ValueError where there is none."""
        with self.lock:
            if all(self._taken):
                raise ValueError(f"all {len(self._taken)} slots are taken")
            slot = self._taken.index(False)
            self._rings.add(slot, mirror)
            self._taken[slot] = True
            return slot

    def remove_hand(self, slot: int) -> None:
        with self.lock:
            self._rings.remove(slot)
            self._taken[slot] = False

    def ring(self, slot: int) -> HandRing:
        return self._rings[slot]

    def run_stage1(self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray]) -> Stage1Keypoints:
        """Stage 1 on the crops of `slots`, in rising order; what it finds is pushed into their rings.

        `origins_world_m`: where each hand's zero lies (3,). What is returned is in the order of the slots, and stays.
        """
        found = self._rings.run_stage1(slots, origins_world_m, CropBatch(*of_hands(self.crops, slots)))
        return Stage1Keypoints(*(array.copy() for array in found))

    def refine(self, slots: Sequence[int]) -> Refined:
        """The transformer on the windows of `slots`, in rising order, after stage 1 has run on them."""
        return self._rings.refine(slots)

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined | None]:
        """`refine`, to be called later: once, in any thread, while stage 1 runs on the next frame.

        It returns None where the engine fails and another takes its place. Waits until what was to be refined before
        is. An engine that cannot do both at once refines here and now.
        """
        return self._rings.refine_later(slots)

    def probe(self, crops: CropBatch) -> Clouds:
        """Stage 1 on crops of any number of places, which are no hand's slot."""
        return self.engine.run_stage1(*crops)

    def close(self) -> None:
        self.engine.close()
