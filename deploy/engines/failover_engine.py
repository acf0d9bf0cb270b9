"""An engine that goes on where one fails: the next of several takes its place, with empty rings."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np

from deploy.batches import Clouds, CloudWindow, CropBatch, EngineShape, Refined, Stage1Keypoints
from deploy.engines.engine import FAILURES, Engine, HandRing, HandRings

log = logging.getLogger(__name__)

T = TypeVar("T")


class FailoverEngine:
    """The first of `engines`; where it cannot get ready, or fails while it runs, the next one does the work again.

    All are of one checkpoint. Methods raise what the last engine raised where none is left.
    """

    def __init__(self, engines: Iterator[Engine]) -> None:
        self.current = next(engines)
        self._others = engines
        self._sizes: tuple[list[int], int] = [], 0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.current.name

    @property
    def shape(self) -> EngineShape:
        return self.current.shape

    def prepare(self, hands: Iterable[int], views: int) -> None:
        self._sizes = list(hands), views
        self.run(lambda engine: engine.prepare(*self._sizes))

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        return self.run(lambda engine: engine.run_stage1(crops_rgb, P_crop, view_mask))

    def refine(self, window: CloudWindow) -> Refined:
        return self.run(lambda engine: engine.refine(window))

    def make_rings(self, hands: int, lock: AbstractContextManager) -> "FailoverRings":
        return FailoverRings(self, hands, lock)

    def close(self) -> None:
        self.current.close()

    def run(self, work: Callable[[Engine], T]) -> T:
        """`work` with the first engine that can do it."""
        while True:
            engine = self.current
            try:
                return work(engine)
            except FAILURES as error:
                self.replace(engine, error)

    def replace(self, failed: Engine, error: Exception) -> None:
        """Go on without that engine, unless another thread has seen to it. Raises `error` where no other is left."""
        with self._lock:
            while self.current is failed:
                other = next(self._others, None)
                if other is None:
                    raise error
                log.error("engine %s failed: %s. Going on with %s.", failed.name, error, other.name)
                failed.close()
                self.current = other
                try:
                    if self._sizes[0]:
                        other.prepare(*self._sizes)
                except FAILURES as others_error:
                    failed, error = other, others_error


class FailoverRings:
    """Rings in the engine that works; in one that takes over they are empty but for the newest frame, done again."""

    def __init__(self, engine: FailoverEngine, hands: int, lock: AbstractContextManager) -> None:
        self._engine, self._hands, self._lock = engine, hands, lock
        self._mirrors: dict[int, np.ndarray] = {}
        self._made_by: Engine | None = None
        self._newest: tuple[Sequence[int], Sequence[np.ndarray], CropBatch] | None = None

    def add(self, slot: int, mirror: np.ndarray) -> None:
        self._engine.run(lambda engine: self._rings_in(engine).add(slot, mirror))
        self._mirrors[slot] = mirror

    def remove(self, slot: int) -> None:
        self._engine.run(self._rings_in).remove(slot)
        del self._mirrors[slot]

    def __getitem__(self, slot: int) -> HandRing:
        return self._engine.run(self._rings_in)[slot]

    def run_stage1(
        self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray], crops: CropBatch
    ) -> Stage1Keypoints:
        self._newest = slots, origins_world_m, crops
        return self._engine.run(self._run_stage1)

    def refine(self, slots: Sequence[int]) -> Refined:
        return self._engine.run(lambda engine: self._with_newest(engine).refine(slots))

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined | None]:
        """What is returned gives None where the engine fails: the next one then takes its place."""
        engine, refine = self._engine.run(lambda engine: (engine, self._with_newest(engine).refine_later(slots)))

        def refine_or_replace() -> Refined | None:
            try:
                return refine()
            except FAILURES as error:
                self._engine.replace(engine, error)
                return None

        return refine_or_replace

    def _rings_in(self, engine: Engine) -> HandRings:
        with self._lock:
            if engine is not self._made_by:
                self._rings, self._has_newest = engine.make_rings(self._hands, self._lock), False
                for slot, mirror in self._mirrors.items():
                    self._rings.add(slot, mirror)
                self._made_by = engine
            return self._rings

    def _run_stage1(self, engine: Engine) -> Stage1Keypoints:
        assert self._newest is not None
        found = self._rings_in(engine).run_stage1(*self._newest)
        self._has_newest = True
        return found

    def _with_newest(self, engine: Engine) -> HandRings:
        rings = self._rings_in(engine)
        if not self._has_newest:
            self._run_stage1(engine)
        return rings
