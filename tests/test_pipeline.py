"""The pipeline of two engines: seats, rings and what an engine is given, with an engine that keeps what it gets."""

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest

from deploy.engines.protocol import Clouds, CloudWindow, EngineShape, Refined
from deploy.pipeline import Pipeline

EYE = np.eye(3)


class Recorder:
    """Lifts a hand to a cloud that holds its first crop's first byte everywhere."""

    name = "recorder"
    shape = EngineShape(crop_px=32, hypotheses=8, frames=5, width=16)

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

    def lift(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
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
    assert [pipeline.sit(EYE), pipeline.sit(EYE)] == [0, 1]
    with pytest.raises(ValueError):
        pipeline.sit(EYE)
    for number in range(3):
        pipeline.crops.crops_rgb[0], pipeline.crops.crops_rgb[1] = number, 100 + number
        pipeline.lift([0, 1], [np.zeros(3), np.ones(3) * number])
        joints_m = pipeline.refine([0, 1]).joints_m
        assert joints_m[0, 0, 0] == number and joints_m[1, 0, 0] == 100 + number
    assert all(np.shares_memory(each, pipeline.crops.crops_rgb) for each, _, _ in engine.given)
    window = engine.windows[-1]
    assert np.shares_memory(window.anchors_m, engine.windows[0].anchors_m)
    assert window.anchors_m[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 2], [0, 0, 100, 101, 102]]
    assert window.frame_mask.tolist() == [[False, False, True, True, True]] * 2
    assert window.origins_m[1, :, 0].tolist() == [0, 0, -2, -1, 0]


def test_a_hand_in_the_second_seat_goes_on_alone_and_the_first_is_taken_anew() -> None:
    engine = Recorder()
    pipeline = Pipeline(engine, views=4)
    for _ in range(2):
        pipeline.sit(EYE)
    pipeline.crops.crops_rgb[0], pipeline.crops.crops_rgb[1] = 7, 9
    pipeline.lift([0, 1], [np.zeros(3)] * 2)
    pipeline.leave(0)
    pipeline.lift([1], [np.zeros(3)])
    assert pipeline.refine([1]).joints_m.shape == (1, 21, 3)
    assert engine.windows[-1].queries_m[0, :, 0, 0].tolist() == [0, 0, 0, 9, 9]
    assert pipeline.sit(EYE) == 0
    pipeline.ring(1).miss()
    pipeline.lift([0], [np.zeros(3)])
    pipeline.refine([0, 1])
    assert engine.windows[-1].frame_mask.tolist() == [[False] * 4 + [True], [False, False, True, True, False]]


def test_a_frame_allocates_no_array_that_lasts_or_is_large() -> None:
    """After the first frames; the ring's arrays alone are 100 KB a hand."""
    engine = Recorder()
    pipeline = Pipeline(engine, views=4)
    seats = [pipeline.sit(EYE), pipeline.sit(EYE)]
    origins = [np.zeros(3)] * 2

    def frame() -> None:
        pipeline.lift(seats, origins)
        pipeline.refine(seats)
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
