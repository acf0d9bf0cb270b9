"""The two engines in a row: crops of a few hands through stage 1, each hand's ring, and the transformer.

Everything that a frame needs is made once: the crops that the views are drawn into, and the window that holds the
rings, are what the engine reads. A hand has a seat, which is its place in both.

Stage 1 of a frame may run while the transformer refines the frame before, in another thread: see `hold`.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deploy.batches import Clouds, CloudWindow, CropBatch, Refined, Stage1Keypoints, empty_crops, empty_window, part_of
from deploy.engines.protocol import FAILURES, Engine, HandRing, RingEngine
from deploy.engines.ring import CloudRing

log = logging.getLogger(__name__)


class Pipeline:
    """Up to `hands` hands in rigs of `views` cameras; absent views are masked, so that an engine sees few sizes.

    Where the engine cannot get ready, or fails while it runs, the next one of `others` takes its place, with empty
    rings.

    `lock` is held while rings and seats change. Where two threads share the pipeline, they hold it, too, for what they
    do to rings.
    """

    def __init__(self, engine: Engine, views: int, hands: int = 2, others: Iterator[Engine] = iter(())) -> None:  # noqa: B008 - an empty iterator has no state
        self.lock = threading.RLock()
        self.crops = empty_crops(hands, views, engine.shape.crop_px)
        self._held_is_free = threading.Semaphore()
        self._others = others
        self._mirrors: list[np.ndarray | None] = [None] * hands
        self._lifted: tuple[Sequence[int], Sequence[np.ndarray]] = (), ()
        self._begin_with(engine)

    def sit(self, mirror: np.ndarray) -> int:
        """A free seat, with an empty ring; `mirror` as of CloudRing. Raises ValueError where there is none."""
        with self.lock:
            seat = next((seat for seat, mirror in enumerate(self._mirrors) if mirror is None), None)
            if seat is None:
                raise ValueError(f"all {len(self._mirrors)} seats are taken")
            self._mirrors[seat] = mirror
            self._rings[seat] = self._make_ring(seat, mirror)
            return seat

    def leave(self, seat: int) -> None:
        with self.lock:
            if isinstance(self.engine, RingEngine):
                self.engine.drop_ring(self.ring(seat))
            self._mirrors[seat] = None
            del self._rings[seat]

    def ring(self, seat: int) -> HandRing:
        return self._rings[seat]

    def lift(self, seats: Sequence[int], origins_world_m: Sequence[np.ndarray]) -> Stage1Keypoints:
        """Stage 1 on the crops of `seats`, in rising order; what it finds is pushed into their rings.

        `origins_world_m`: where each hand's zero lies (3,). What is returned is in the order of the seats.
        """
        self._lifted = seats, origins_world_m
        engine = self.engine
        try:
            seen = self._lift()
        except FAILURES as error:
            self._replace(engine, error)
            seen = self._lift()
        return Stage1Keypoints(
            *(array.copy() for array in seen)
        )  # the engine's own go with it, should it fail to refine

    def refine(self, seats: Sequence[int]) -> Refined:
        """The transformer on the windows of `seats`, in rising order, after they were lifted."""
        engine = self.engine
        try:
            return self._refine(seats)
        except FAILURES as error:
            self._replace(engine, error)
            self._lift()
            return self._refine(seats)

    def hold(self, seats: Sequence[int]) -> Callable[[], Refined | None]:
        """`refine`, to be called later: once, in any thread, while the next frame is lifted.

        It returns None where the engine fails; the next one then takes its place. Waits until what was held before
        is refined. An engine that keeps the rings itself refines here and now.
        """
        engine = self.engine
        if isinstance(engine, RingEngine):
            refined = Refined(*(array.copy() for array in self.refine(seats)))
            return lambda: refined
        self._held_is_free.acquire()
        with self.lock:
            window = part_of(self._held, 0, len(seats))
            for to, array in zip(window, self._window_of(seats), strict=True):
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

    def look(self, crops: CropBatch) -> Clouds:
        """Stage 1 on crops of any number of places, which nobody sits in."""
        engine = self.engine
        try:
            return engine.lift(*crops)
        except FAILURES as error:
            self._replace(engine, error)
            return self.engine.lift(*crops)

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
            seat: self._make_ring(seat, mirror) for seat, mirror in enumerate(self._mirrors) if mirror is not None
        }

    def _make_ring(self, seat: int, mirror: np.ndarray) -> HandRing:
        if isinstance(self.engine, RingEngine):
            return self.engine.make_ring(mirror)
        return CloudRing(self.engine.shape, mirror, part_of(self._window, seat, seat + 1))

    def _lift(self) -> Stage1Keypoints:
        seats, origins_world_m = self._lifted
        crops = self._of(seats, self.crops)
        rings = [self._rings[seat] for seat in seats]
        if isinstance(self.engine, RingEngine):
            with self.lock:
                return self.engine.lift_into(rings, origins_world_m, *crops)
        clouds = self.engine.lift(*crops)
        with self.lock:
            for hand, (ring, origin) in enumerate(zip(rings, origins_world_m, strict=True)):
                assert isinstance(ring, CloudRing)
                ring.push(clouds, hand, origin)
        return Stage1Keypoints(clouds.keypoints_px, clouds.confidence)

    def _refine(self, seats: Sequence[int]) -> Refined:
        if isinstance(self.engine, RingEngine):
            return self.engine.refine_rings([self._rings[seat] for seat in seats])
        return self.engine.refine(self._window_of(seats))

    def _window_of(self, seats: Sequence[int]) -> CloudWindow:
        for seat in seats:
            ring = self._rings[seat]
            assert isinstance(ring, CloudRing)
            ring.window()
        return CloudWindow(*self._of(seats, self._window))

    def _of(self, seats: Sequence[int], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What belongs to some seats; without a copy where they are side by side, as two hands are."""
        first, end = seats[0], seats[-1] + 1
        if len(seats) == end - first:
            return [array[first:end] for array in arrays]
        return [array[list(seats)] for array in arrays]

    def _replace(self, failed: Engine, error: Exception) -> None:
        with self.lock:
            if self.engine is not failed:  # the other thread was here first
                return
            self._begin_with(self._next_after(failed, error))
