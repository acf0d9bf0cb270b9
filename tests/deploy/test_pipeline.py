"""The pipeline of two engines: slots, rings and what an engine is given, with an engine that keeps what it gets."""

import threading
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import pytest

from deploy.batches import Clouds, CloudWindow, CropBatch, EngineShape, Refined, Stage1Keypoints
from deploy.engines.cloud_rings import CloudRings
from deploy.engines.engine import HandRing, HandRings
from deploy.engines.failover_engine import FailoverEngine
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
        for hands in range(1, 9):
            sizes = ((168, 3), (168, 16), (21, 3), (21, 16), (4, 21, 2), (4, 21), (4,), (4,))
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

    def make_rings(self, hands: int, lock: AbstractContextManager) -> HandRings:
        return CloudRings(self, hands, lock)

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


@pytest.mark.parametrize("hands", range(1, 9))
def test_every_hand_has_a_ring_of_its_own_whatever_their_number(hands: int) -> None:
    engine = Recorder()
    pipeline = Pipeline(engine, views=4, hands=hands)
    assert engine.prepared == [(list(range(1, hands + 1)), 4)]
    slots = [pipeline.add_hand(EYE) for _ in range(hands)]
    assert slots == list(range(hands))
    expected = {slot: [0.0] * 5 for slot in slots}
    for number in range(1, 4):
        seen = slots[number % 2 :: number] or slots[:1]  # all but the first, every second, every third
        pipeline.crops.crops_rgb[:] = (10 * number + np.arange(hands)).reshape(-1, 1, 1, 1, 1)
        for slot in slots:
            expected[slot] = [*expected[slot][1:], 10.0 * number + slot if slot in seen else 0.0]
            if slot not in seen:
                pipeline.ring(slot).miss()
        pipeline.run_stage1(seen, [np.zeros(3)] * len(seen))
        assert pipeline.refine(seen).joints_m[:, 0, 0].tolist() == [expected[slot][-1] for slot in seen]
    pipeline.refine(slots)
    window = engine.windows[-1]
    present = np.where(window.frame_mask, window.queries_m[:, :, 0, 0], 0)
    assert present.tolist() == list(expected.values())


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
    engine = FailoverEngine(iter([first, second]))
    pipeline = Pipeline(engine, views=4)
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
    engine = FailoverEngine(iter([first, second]))
    pipeline = Pipeline(engine, views=4)
    slots = [pipeline.add_hand(EYE)]
    pipeline.run_stage1(slots, [np.zeros(3)])
    rest = pipeline.refine_later(slots)
    pipeline.run_stage1(slots, [np.zeros(3)])
    assert rest() is None and first.closed and engine.current is second
    pipeline.crops.crops_rgb[:] = 5
    pipeline.run_stage1(slots, [np.zeros(3)])
    refined = pipeline.refine_later(slots)()
    assert refined is not None and (refined.joints_m == 5).all()
    assert second.windows[-1].frame_mask.tolist() == [[False] * 4 + [True]]


def test_a_frame_goes_into_the_next_engine_where_the_other_thread_fails_meanwhile() -> None:
    second = Recorder()
    pipeline = Pipeline(FailoverEngine(iter([Failing("refine", 1), second])), views=4)
    slots = [pipeline.add_hand(EYE), pipeline.add_hand(EYE)]
    pipeline.run_stage1(slots, [np.zeros(3)] * 2)
    rest = pipeline.refine_later(slots)
    pipeline.crops.crops_rgb[:] = 7
    pipeline.run_stage1(slots, [np.zeros(3)] * 2)
    assert rest() is None
    refined = pipeline.refine_later(slots)()
    assert refined is not None and (refined.joints_m == 7).all()
    assert second.windows[-1].frame_mask.tolist() == [[False] * 4 + [True]] * 2


def test_engines_that_cannot_get_ready_are_passed_over() -> None:
    first, running, second, third = Failing("prepare", 1), Failing("run_stage1", 1), Failing("prepare", 1), Recorder()
    engine = FailoverEngine(iter([first, running, second, third]))
    pipeline = Pipeline(engine, views=4)
    assert first.closed and engine.current is running
    pipeline.run_stage1([pipeline.add_hand(EYE)], [np.zeros(3)])
    assert running.closed and second.closed and engine.current is third
    with pytest.raises(RuntimeError, match="out of memory"):
        Pipeline(FailoverEngine(iter([Failing("prepare", 1)])), views=4)


def test_without_another_engine_the_error_is_the_callers() -> None:
    pipeline = Pipeline(FailoverEngine(iter([Failing("run_stage1", 1)])), views=4)
    with pytest.raises(RuntimeError, match="out of memory"):
        pipeline.run_stage1([pipeline.add_hand(EYE)], [np.zeros(3)])


class ListRings:
    """Rings in an engine's own memory, as lists of the newest values."""

    class Ring(HandRing):
        def __init__(self) -> None:
            super().__init__(np.zeros(5, bool), EYE)
            self.values: list[float | None] = []

        def miss(self) -> None:
            self.values.append(None)

    def __init__(self, engine: Recorder) -> None:
        self.engine = engine
        self.rings: dict[int, ListRings.Ring] = {}

    def add(self, slot: int, mirror: np.ndarray) -> None:
        self.rings[slot] = self.Ring()

    def remove(self, slot: int) -> None:
        del self.rings[slot]

    def __getitem__(self, slot: int) -> HandRing:
        return self.rings[slot]

    def run_stage1(
        self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray], crops: CropBatch
    ) -> Stage1Keypoints:
        for slot, crops_rgb in zip(slots, crops.crops_rgb, strict=True):
            self.rings[slot].values.append(float(crops_rgb.flat[0]))
        clouds = self.engine.run_stage1(*crops)
        return Stage1Keypoints(*clouds[4:])

    def refine(self, slots: Sequence[int]) -> Refined:
        joints = np.array([self.rings[slot].values[-1] for slot in slots])[:, None, None] * np.ones((1, 21, 3))
        return Refined(joints.astype(np.float32), np.zeros((len(slots), 21, 3, 3), np.float32))

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined]:
        refined = self.refine(slots)
        return lambda: refined


class OwnRings(Recorder):
    def make_rings(self, hands: int, lock: AbstractContextManager) -> HandRings:
        self.list_rings = ListRings(self)
        return self.list_rings


def test_an_engine_may_keep_the_rings() -> None:
    engine = OwnRings()
    pipeline = Pipeline(engine, views=4)
    slots = [pipeline.add_hand(EYE), pipeline.add_hand(EYE)]
    pipeline.crops.crops_rgb[0], pipeline.crops.crops_rgb[1] = 3, 4
    assert pipeline.run_stage1(slots, [np.zeros(3)] * 2).keypoints_px.shape == (2, 4, 21, 2)
    assert pipeline.refine(slots).joints_m[:, 0, 0].tolist() == [3, 4]
    pipeline.ring(1).miss()
    pipeline.remove_hand(0)
    assert [ring.values for ring in engine.list_rings.rings.values()] == [[4, None]]
    pipeline.run_stage1([1], [np.zeros(3)])
    assert pipeline.refine([1]).joints_m[:, 0, 0].tolist() == [4] and engine.windows == []
    rest = pipeline.refine_later([1])
    pipeline.crops.crops_rgb[1] = 6
    pipeline.run_stage1([1], [np.zeros(3)])
    held = rest()
    assert held is not None and held.joints_m[:, 0, 0].tolist() == [4]
