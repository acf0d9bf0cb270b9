"""Frame sets through an engine, in a process of that engine's own, and what the machine can do, in another.

Whole is from the images of 640x480 to refined joints: crops are drawn, go through stage 1, and what it finds is pushed
into the rings and refined. Finding hands, judging the result, transport and the fit of the mesh are not in it.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from app.estimators.ust_hand.hand_views import HandViews
from calibration.frames import Frame, FrameSet
from calibration.hand import Side
from deploy.batches import CloudWindow, CropBatch, empty_crops
from deploy.engines import make_engine
from deploy.engines.engine import Engine
from deploy.pipeline.pipeline import Pipeline
from models.hand.crop import hand_box, hand_turn
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

STAGES = ("crops", "stage1", "ring", "transformer", "whole")
IMAGE_PX = (640, 480)
SIDES: tuple[Side, ...] = ("right", "left")
_FPS = 30
_PLACES = 60
_WARM_UP_SETS = 5
_TIMED = {"run_stage1": "stage1", "run_stage1_into": "stage1", "refine": "transformer", "refine_rings": "transformer"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """`source` is what `engine`, a name, runs. `recompute`: all frames of the window through stage 1, and no ring."""

    source: str
    engine: str
    views: int
    hands: int
    recompute: bool = False


@dataclass(frozen=True)
class Round:
    """`times_ms` (sets, STAGES), and how many cores were busy."""

    times_ms: np.ndarray
    cores: float

    def median_ms(self, stage: str = "whole") -> float:
        return float(np.median(self.times_ms[:, STAGES.index(stage)]))


def prepare(case: Case) -> str:
    """Make everything that the case needs, and warm up; returns the engine's own name. Raises what the engine does."""
    return _sets(case).engine.name


def run_case(case: Case, seconds: float) -> Round:
    """Sets one after another for so long, at least one; the first, after others had the machine, does not count."""
    sets = _sets(case)
    sets.once()
    times_ms = []
    began, began_cpu = time.perf_counter(), time.process_time()
    while not times_ms or time.perf_counter() - began < seconds:
        times_ms.append(sets.once())
    cores = (time.process_time() - began_cpu) / (time.perf_counter() - began)
    return Round(np.array(times_ms), cores)


def measure_ceilings(threads: int, seconds: float) -> tuple[dict[str, tuple[str, float]], float]:
    """GFLOP/s of a product of matrices by what calculates it, with its precision, and GB/s of a copy of memory."""
    from deploy.measure.ceilings import gemm_gflops, memcpy_gb_per_s

    gemms = {name: (precision, gemm_gflops(product, seconds)) for name, (precision, product) in _gemms().items()}
    return gemms, memcpy_gb_per_s(threads, seconds)


@cache
def _gemms():
    from deploy.measure.ceilings import gemms

    return gemms()


@cache
def _engine(source: str, name: str) -> tuple[Engine, dict[str, float]]:
    """The engine, and the milliseconds of its calls, which are added up by stage."""
    engine = make_engine(source, name)
    spent_ms = dict.fromkeys(_TIMED.values(), 0.0)

    def timed(method: Callable, stage: str) -> Callable:
        def call(*given):
            start = time.perf_counter()
            found = method(*given)
            spent_ms[stage] += 1e3 * (time.perf_counter() - start)
            return found

        return call

    for method, stage in _TIMED.items():
        if hasattr(engine, method):
            setattr(engine, method, timed(getattr(engine, method), stage))
    return engine, spent_ms


@cache
def _sets(case: Case) -> "_Sets":
    sets = (_RecomputedSets if case.recompute else _RingSets)(case)
    for _ in range(_WARM_UP_SETS):
        sets.once()
    return sets


class _Sets(ABC):
    """Images of a rig and hands that move before it; the pixels are noise, since speed does not depend on them."""

    def __init__(self, case: Case) -> None:
        self.engine, self._spent_ms = _engine(case.source, case.engine)
        self._rig = ring_rig(case.views)
        self._sides = SIDES[: case.hands]
        random, size = np.random.default_rng(0), (*IMAGE_PX[::-1], 3)
        self._pixels = {name: random.integers(0, 256, size, np.uint8) for name in self._rig.camera_ids}
        at = [hands_at(index / _FPS) for index in range(_PLACES)]
        self._joints_m = [[joints[side] for side in self._sides] for joints in at]
        self._index = 0

    def once(self) -> tuple[float, ...]:
        """The next set: milliseconds of STAGES."""
        self._spent_ms.update(stage1=0.0, transformer=0.0)
        start = time.perf_counter()
        origins_world_m = self._draw()
        crops_ms = 1e3 * (time.perf_counter() - start)
        self._run(origins_world_m)
        whole_ms = 1e3 * (time.perf_counter() - start)
        stage1_ms, transformer_ms = self._spent_ms["stage1"], self._spent_ms["transformer"]
        return crops_ms, stage1_ms, whole_ms - crops_ms - stage1_ms - transformer_ms, transformer_ms, whole_ms

    @abstractmethod
    def _crops(self, hand: int) -> CropBatch:
        """Where the newest crops (V, ...) of a hand are to be."""

    @abstractmethod
    def _run(self, origins_world_m: list[np.ndarray]) -> None:
        """All that follows the crops."""

    def _draw(self) -> list[np.ndarray]:
        """The next set's crops; returns where the hands' zeros are."""
        now_ns = round(1e9 * self._index / _FPS)
        hands_m, upright = self._joints_m[self._index % _PLACES], self.engine.shape.upright
        targets_m = []
        self._index += 1
        frames = {
            name: Frame(
                camera_id=name,
                sequence=self._index,
                capture_time_ns=now_ns,
                grab_time_ns=0,
                publish_time_ns=0,
                pixels=pixels,
            )
            for name, pixels in self._pixels.items()
        }
        frame_set = FrameSet(self._index, now_ns, frames, 0)
        for hand, (side, joints_m) in enumerate(zip(self._sides, hands_m, strict=True)):
            target_m, half_width_m = hand_box(joints_m)
            targets_m.append(target_m)
            into, at = self._crops(hand), joints_m if upright else None
            HandViews.look(self._rig, frame_set, target_m, np.zeros(3), half_width_m, side == "left", into, at)
            assert into.view_mask.all(), "a hand is outside of an image"
        return targets_m


class _RingSets(_Sets):
    """As the live path does it."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._pipeline = Pipeline(self.engine, case.views, case.hands)
        self._slots = [self._pipeline.add_hand(hand_turn(side == "left")) for side in self._sides]

    def _crops(self, hand: int) -> CropBatch:
        return self._pipeline.crops.hand(self._slots[hand])

    def _run(self, origins_world_m: list[np.ndarray]) -> None:
        self._pipeline.run_stage1(self._slots, origins_world_m)
        self._pipeline.refine(self._slots)


class _RecomputedSets(_Sets):
    """Without a ring: stage 1 on the crops of all frames of the window, of which the newest are drawn anew."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._frames = self.engine.shape.frames
        self._batch = empty_crops(case.hands * self._frames, case.views, self.engine.shape.crop_px)
        self._newest = self._frames - 1
        self.engine.prepare([case.hands, case.hands * self._frames], case.views)
        for frame in range(self._frames):
            self._newest = frame
            self._draw()

    def _crops(self, hand: int) -> CropBatch:
        return self._batch.hand(hand * self._frames + self._newest)

    def _run(self, origins_world_m: list[np.ndarray]) -> None:
        size = (len(self._sides), self._frames)
        clouds = self.engine.run_stage1(*self._batch)

        def by_frame(array: np.ndarray) -> np.ndarray:
            return array.reshape(*size, *array.shape[1:])

        window = CloudWindow(
            anchors_m=by_frame(clouds.anchors_m),
            anchor_features=by_frame(clouds.anchor_features),
            queries_m=by_frame(clouds.queries_m),
            query_features=by_frame(clouds.query_features),
            origins_m=np.zeros((*size, 3), np.float32),
            frame_mask=np.ones(size, bool),
        )
        self.engine.refine(window)
