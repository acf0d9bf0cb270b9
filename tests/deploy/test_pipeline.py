"""The pipeline of two engines: slots, rings and what an engine is given, with an engine that keeps what it gets."""

import threading
import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deploy.batches import Clouds, CloudWindow, EngineShape, Refined, Stage1Keypoints
from deploy.engines.engine import HandRing
from deploy.pipeline.pipeline import Pipeline

EYE = np.eye(3)


class Recorder:
    """Lifts a hand to a cloud that holds its first crop's first byte everywhere."""

    name = "recorder"
    shape = EngineShape(crop_px=32, hypotheses=8, anchors=8, frames=5, width=16)

    def __init__(self) -> None:
        self.prepared: list[tuple[list[int], int]] = []
        self.given: list[tuple[np.ndarray, ...]] = []
        self.windows: list[CloudWindow] = []
        self.out: dict[int, Clouds] = {}
        for hands in (1, 2):
            sizes = ((168, 3), (168, 16), (21, 3), (21, 16), (4, 21, 2), (4, 21))
            self.out[hands] = Clouds(*(np.zeros((hands, *size), np.float32) for size in sizes))

    def prepare(self, hands: Iterable[int], views: int) -> None:
        self.prepared.append((list(hands), views))

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        self.given.append((crops_rgb, P_crop, view_mask))
        out = self.out[len(crops_rgb)]
        for hand, crops in enumerate(crops_rgb):
            for array in out:
                array[hand] = crops.flat[0]
        return out

    def refine(self, window: CloudWindow) -> Refined:
        self.windows.append(window)
        return Refined(window.queries_m[:, -1], np.zeros((len(window.queries_m), 21, 3, 3), np.float32))

    def close(self) -> None: ...


def test_two_hands_are_one_batch_that_is_not_copied() -> None:
    engine = Recorder()
    pipeline = Pipeline(engine, views=4)
    assert engine.prepared == [([1, 2], 4)]
    assert [pipeline.add_hand(EYE), pipeline.add_hand(EYE)] == [0, 1]
    with pytest.raises(ValueError):
        pipeline.add_hand(EYE)
    for number in range(3):
        pipeline.crops.crops_rgb[0], pipeline.crops.crops_rgb[1] = number, 100 + number
        pipeline.run_stage1([0, 1], [np.zeros(3), np.ones(3) * number])
        joints_m = pipeline.refine([0, 1]).joints_m
        assert joints_m[0, 0, 0] == number and joints_m[1, 0, 0] == 100 + number
    assert all(np.shares_memory(each, pipeline.crops.crops_rgb) for each, _, _ in engine.given)
    window = engine.windows[-1]
    assert np.shares_memory(window.anchors_m, engine.windows[0].anchors_m)
    assert window.anchors_m[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 2], [0, 0, 100, 101, 102]]
    assert window.frame_mask.tolist() == [[False, False, True, True, True]] * 2
    assert window.origins_m[1, :, 0].tolist() == [0, 0, -2, -1, 0]


def test_a_hand_in_the_second_slot_goes_on_alone_and_the_first_is_taken_anew() -> None:
    engine = Recorder()
    pipeline = Pipeline(engine, views=4)
    for _ in range(2):
        pipeline.add_hand(EYE)
    pipeline.crops.crops_rgb[0], pipeline.crops.crops_rgb[1] = 7, 9
    pipeline.run_stage1([0, 1], [np.zeros(3)] * 2)
    pipeline.remove_hand(0)
    pipeline.run_stage1([1], [np.zeros(3)])
    assert pipeline.refine([1]).joints_m.shape == (1, 21, 3)
    assert engine.windows[-1].queries_m[0, :, 0, 0].tolist() == [0, 0, 0, 9, 9]
    assert pipeline.add_hand(EYE) == 0
    pipeline.ring(1).miss()
    pipeline.run_stage1([0], [np.zeros(3)])
    pipeline.refine([0, 1])
    assert engine.windows[-1].frame_mask.tolist() == [[False] * 4 + [True], [False, False, True, True, False]]


def test_a_frame_allocates_no_array_that_lasts_or_is_large() -> None:
    """After the first frames; the ring's arrays alone are 100 KB a hand."""
    engine = Recorder()
    pipeline = Pipeline(engine, views=4)
    slots = [pipeline.add_hand(EYE), pipeline.add_hand(EYE)]
    origins = [np.zeros(3)] * 2

    def frame() -> None:
        pipeline.run_stage1(slots, origins)
        pipeline.refine(slots)
        engine.given.clear()
        engine.windows.clear()

    for _ in range(3):
        frame()
    tracemalloc.start()
    try:
        frame()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            frame()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 20_000
    assert after - before < 5_000


class Failing(Recorder):
    """Runs out of memory when it is to prepare, to run stage 1 or to refine for the time of that number."""

    def __init__(self, method: str, time: int) -> None:
        super().__init__()
        self.left = {method: time}
        self.closed = False

    def _count(self, method: str) -> None:
        self.left[method] = self.left.get(method, 0) - 1
        if self.left[method] == 0:
            raise RuntimeError("out of memory")

    def prepare(self, hands: Iterable[int], views: int) -> None:
        self._count("prepare")
        super().prepare(hands, views)

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        self._count("run_stage1")
        return super().run_stage1(crops_rgb, P_crop, view_mask)

    def refine(self, window: CloudWindow) -> Refined:
        self._count("refine")
        return super().refine(window)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("method", ["run_stage1", "refine"])
def test_an_engine_that_fails_is_replaced_and_the_frame_is_not_lost(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Failing(method, 3), Recorder()
    pipeline = Pipeline(first, views=4, others=iter([second]))
    slots = [pipeline.add_hand(EYE), pipeline.add_hand(EYE)]
    for number in range(1, 5):
        pipeline.crops.crops_rgb[:] = number
        pipeline.run_stage1(slots, [np.zeros(3)] * 2)
        assert (pipeline.refine(slots).joints_m == number).all()
    assert first.closed and second.prepared == [([1, 2], 4)]
    assert "engine recorder failed: out of memory. Going on with recorder." in caplog.text
    assert second.windows[-1].frame_mask.tolist() == [[False] * 3 + [True] * 2] * 2


def test_a_frame_is_refined_as_it_was_while_stage1_runs_on_the_next() -> None:
    """The engine's refining waits until stage 1 of the next frame is done, in the slot of another hand, too."""
    engine, stage1_is_done = Recorder(), threading.Event()
    plain = engine.refine

    def wait_and_refine(window: CloudWindow) -> Refined:
        assert stage1_is_done.wait(30)
        refined = plain(window)
        return Refined(*(array.copy() for array in refined))

    engine.refine = wait_and_refine
    pipeline = Pipeline(engine, views=4)
    slots = [pipeline.add_hand(EYE), pipeline.add_hand(EYE)]
    with ThreadPoolExecutor(1) as thread:
        for number in range(1, 4):
            pipeline.crops.crops_rgb[:] = number
            pipeline.run_stage1(slots[1:] if number == 1 else slots, [np.zeros(3)] * min(number, 2))
            rest = thread.submit(pipeline.refine_later(slots[1:] if number == 1 else slots))
            pipeline.crops.crops_rgb[:] = 100 + number
            pipeline.run_stage1(slots, [np.ones(3)] * 2)
            stage1_is_done.set()
            refined = rest.result()
            stage1_is_done.clear()
            assert refined is not None and (refined.joints_m == number).all()
            assert (engine.windows[-1].queries_m[:, -1] == number).all()
    assert engine.windows[-1].queries_m[1, :, 0, 0].tolist() == [1, 101, 2, 102, 3]
    assert np.shares_memory(engine.windows[0].queries_m, engine.windows[-1].queries_m)  # nothing is allocated for it


def test_an_engine_that_fails_to_refine_what_was_held_is_replaced_once() -> None:
    first, second = Failing("refine", 1), Recorder()
    pipeline = Pipeline(first, views=4, others=iter([second]))
    slots = [pipeline.add_hand(EYE)]
    pipeline.run_stage1(slots, [np.zeros(3)])
    rest = pipeline.refine_later(slots)
    pipeline.run_stage1(slots, [np.zeros(3)])
    assert rest() is None and first.closed and pipeline.engine is second
    pipeline.crops.crops_rgb[:] = 5
    pipeline.run_stage1(slots, [np.zeros(3)])
    refined = pipeline.refine_later(slots)()
    assert refined is not None and (refined.joints_m == 5).all()
    assert second.windows[-1].frame_mask.tolist() == [[False] * 4 + [True]]


def test_engines_that_cannot_get_ready_are_passed_over() -> None:
    first, running, second, third = Failing("prepare", 1), Failing("run_stage1", 1), Failing("prepare", 1), Recorder()
    pipeline = Pipeline(first, views=4, others=iter([running, second, third]))
    assert first.closed and pipeline.engine is running
    pipeline.run_stage1([pipeline.add_hand(EYE)], [np.zeros(3)])
    assert running.closed and second.closed and pipeline.engine is third
    with pytest.raises(RuntimeError, match="out of memory"):
        Pipeline(Failing("prepare", 1), views=4)


def test_without_another_engine_the_error_is_the_callers() -> None:
    pipeline = Pipeline(Failing("run_stage1", 1), views=4)
    with pytest.raises(RuntimeError, match="out of memory"):
        pipeline.run_stage1([pipeline.add_hand(EYE)], [np.zeros(3)])


class DeviceRings(Recorder):
    """Keeps the rings itself, as lists of the newest values."""

    class Ring:
        def __init__(self) -> None:
            self.values: list[float | None] = []

        @property
        def count(self) -> int:
            return len(self.values)

        def miss(self) -> None:
            self.values.append(None)

        def withdraw(self, frame: int) -> None:
            self.values[frame - 1] = None

    def __init__(self) -> None:
        super().__init__()
        self.rings: list[DeviceRings.Ring] = []

    def make_ring(self, mirror: np.ndarray) -> HandRing:
        self.rings.append(self.Ring())
        return self.rings[-1]

    def drop_ring(self, ring: Ring) -> None:
        self.rings.remove(ring)

    def run_stage1_into(self, rings, origins_world_m, crops_rgb, P_crop, view_mask) -> Stage1Keypoints:
        for ring, crops in zip(rings, crops_rgb, strict=True):
            ring.values.append(float(crops.flat[0]))
        clouds = self.run_stage1(crops_rgb, P_crop, view_mask)
        return Stage1Keypoints(clouds.keypoints_px, clouds.confidence)

    def refine_rings(self, rings) -> Refined:
        joints = np.array([ring.values[-1] for ring in rings])[:, None, None] * np.ones((1, 21, 3))
        return Refined(joints.astype(np.float32), np.zeros((len(rings), 21, 3, 3), np.float32))


def test_an_engine_may_keep_the_rings() -> None:
    engine = DeviceRings()
    pipeline = Pipeline(engine, views=4)
    slots = [pipeline.add_hand(EYE), pipeline.add_hand(EYE)]
    pipeline.crops.crops_rgb[0], pipeline.crops.crops_rgb[1] = 3, 4
    assert pipeline.run_stage1(slots, [np.zeros(3)] * 2).keypoints_px.shape == (2, 4, 21, 2)
    assert pipeline.refine(slots).joints_m[:, 0, 0].tolist() == [3, 4]
    pipeline.ring(1).miss()
    pipeline.remove_hand(0)
    assert [ring.values for ring in engine.rings] == [[4, None]]
    pipeline.run_stage1([1], [np.zeros(3)])
    assert pipeline.refine([1]).joints_m[:, 0, 0].tolist() == [4] and engine.windows == []
    rest = pipeline.refine_later([1])
    pipeline.crops.crops_rgb[1] = 6
    pipeline.run_stage1([1], [np.zeros(3)])
    held = rest()
    assert held is not None and held.joints_m[:, 0, 0].tolist() == [4]
