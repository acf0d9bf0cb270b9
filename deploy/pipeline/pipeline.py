"""The two engines in a row: crops of a few hands through stage 1, each hand's ring, and the transformer.

Everything that a frame needs is made once: the crops that the views are drawn into, and the window that holds the
rings, are what the engine reads. A hand has a slot, which is its place in both.

Stage 1 of a frame may run while the transformer refines the frame before, in another thread: see `refine_later`.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deploy.batches import Clouds, CloudWindow, CropBatch, Refined, Stage1Keypoints, empty_crops, empty_window, part_of
from deploy.engines.engine import FAILURES, Engine, HandRing, RingEngine
from deploy.engines.ring import CloudRing

log = logging.getLogger(__name__)


class Pipeline:
    """Up to `hands` hands in rigs of `views` cameras; absent views are masked, so that an engine sees few sizes.

    Where the engine cannot get ready, or fails while it runs, the next one of `others` takes its place, with empty
    rings.

    `lock` is held while rings and slots change. Where two threads share the pipeline, they hold it, too, for what they
    do to rings.
    """

    def __init__(self, engine: Engine, views: int, hands: int = 2, others: Iterator[Engine] = iter(())) -> None:  # noqa: B008 - an empty iterator has no state
        self.lock = threading.RLock()
        self.crops = empty_crops(hands, views, engine.shape.crop_px)
        self._held_is_free = threading.Semaphore()
        self._others = others
        self._mirrors: list[np.ndarray | None] = [None] * hands
        self._stage1_of: tuple[Sequence[int], Sequence[np.ndarray]] = (), ()
        self._begin_with(engine)

    def add_hand(self, mirror: np.ndarray) -> int:
        """A free slot, with an empty ring; `mirror` as of CloudRing. Raises ValueError where there is none."""
        with self.lock:
            slot = next((slot for slot, mirror in enumerate(self._mirrors) if mirror is None), None)
            if slot is None:
                raise ValueError(f"all {len(self._mirrors)} slots are taken")
            self._mirrors[slot] = mirror
            self._rings[slot] = self._make_ring(slot, mirror)
            return slot

    def remove_hand(self, slot: int) -> None:
        with self.lock:
            if isinstance(self.engine, RingEngine):
                self.engine.drop_ring(self.ring(slot))
            self._mirrors[slot] = None
            del self._rings[slot]

    def ring(self, slot: int) -> HandRing:
        return self._rings[slot]

    def run_stage1(self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray]) -> Stage1Keypoints:
        """Stage 1 on the crops of `slots`, in rising order; what it finds is pushed into their rings.

        `origins_world_m`: where each hand's zero lies (3,). What is returned is in the order of the slots.
        """
        self._stage1_of = slots, origins_world_m
        engine = self.engine
        try:
            seen = self._run_stage1()
        except FAILURES as error:
            self._replace(engine, error)
            seen = self._run_stage1()
        return Stage1Keypoints(
            *(array.copy() for array in seen)
        )  # the engine's own go with it, should it fail to refine

    def refine(self, slots: Sequence[int]) -> Refined:
        """The transformer on the windows of `slots`, in rising order, after stage 1 has run on them."""
        engine = self.engine
        try:
            return self._refine(slots)
        except FAILURES as error:
            self._replace(engine, error)
            self._run_stage1()
            return self._refine(slots)

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined | None]:
        """`refine`, to be called later: once, in any thread, while stage 1 runs on the next frame.

        It returns None where the engine fails; the next one then takes its place. Waits until what was held before
        is refined. An engine that keeps the rings itself refines here and now.
        """
        engine = self.engine
        if isinstance(engine, RingEngine):
            refined = Refined(*(array.copy() for array in self.refine(slots)))
            return lambda: refined
        self._held_is_free.acquire()
        with self.lock:
            window = part_of(self._held, 0, len(slots))
            for to, array in zip(window, self._window_of(slots), strict=True):
                np.copyto(to, array)

        def refine_held() -> Refined | None:
            try:
                return engine.refine(window)
            except FAILURES as error:
                self._replace(engine, error)
                return None
            finally:
                self._held_is_free.release()

        return refine_held

    def probe(self, crops: CropBatch) -> Clouds:
        """Stage 1 on crops of any number of places, which are no hand's slot."""
        engine = self.engine
        try:
            return engine.run_stage1(*crops)
        except FAILURES as error:
            self._replace(engine, error)
            return self.engine.run_stage1(*crops)

    def close(self) -> None:
        self.engine.close()

    def _begin_with(self, engine: Engine) -> None:
        while True:
            try:
                self._begin(engine)
                return
            except FAILURES as error:
                engine = self._next_after(engine, error)

    def _next_after(self, failed: Engine, error: Exception) -> Engine:
        """Raises the error where no engine is left."""
        engine = next(self._others, None)
        if engine is None:
            raise error
        log.error("engine %s failed: %s. Going on with %s.", failed.name, error, engine.name)
        failed.close()
        return engine

    def _begin(self, engine: Engine) -> None:
        self.engine = engine
        engine.prepare(range(1, len(self._mirrors) + 1), self.crops.view_mask.shape[1])
        self._window, self._held = (empty_window(engine.shape, len(self._mirrors)) for _ in range(2))
        self._rings = {
            slot: self._make_ring(slot, mirror) for slot, mirror in enumerate(self._mirrors) if mirror is not None
        }

    def _make_ring(self, slot: int, mirror: np.ndarray) -> HandRing:
        if isinstance(self.engine, RingEngine):
            return self.engine.make_ring(mirror)
        return CloudRing(self.engine.shape, mirror, part_of(self._window, slot, slot + 1))

    def _run_stage1(self) -> Stage1Keypoints:
        slots, origins_world_m = self._stage1_of
        crops = self._of(slots, self.crops)
        rings = [self._rings[slot] for slot in slots]
        if isinstance(self.engine, RingEngine):
            with self.lock:
                return self.engine.run_stage1_into(rings, origins_world_m, *crops)
        clouds = self.engine.run_stage1(*crops)
        with self.lock:
            for hand, (ring, origin) in enumerate(zip(rings, origins_world_m, strict=True)):
                assert isinstance(ring, CloudRing)
                ring.push(clouds, hand, origin)
        return Stage1Keypoints(clouds.keypoints_px, clouds.confidence)

    def _refine(self, slots: Sequence[int]) -> Refined:
        if isinstance(self.engine, RingEngine):
            return self.engine.refine_rings([self._rings[slot] for slot in slots])
        return self.engine.refine(self._window_of(slots))

    def _window_of(self, slots: Sequence[int]) -> CloudWindow:
        for slot in slots:
            ring = self._rings[slot]
            assert isinstance(ring, CloudRing)
            ring.window()
        return CloudWindow(*self._of(slots, self._window))

    def _of(self, slots: Sequence[int], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What belongs to some slots; without a copy where they are side by side, as two hands are."""
        first, end = slots[0], slots[-1] + 1
        if len(slots) == end - first:
            return [array[first:end] for array in arrays]
        return [array[list(slots)] for array in arrays]

    def _replace(self, failed: Engine, error: Exception) -> None:
        with self.lock:
            if self.engine is not failed:  # the other thread was here first
                return
            self._begin_with(self._next_after(failed, error))
