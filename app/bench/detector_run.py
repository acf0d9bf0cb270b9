"""`python -m app.bench.detector_run KIND SESSION SECONDS`: one detector on a recorded session, its figures as JSON.

KIND is `wheel`, MediaPipe's own in an environment that has it, or an engine of deploy.image_engines. Run by itself, so
that start-up and memory are those of this detector alone.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from app.estimators.detection import Detector, Region
from app.estimators.multiview.estimator import MultiViewEstimator
from app.worker.statistics import Quantiles
from calibration.frames import FrameSet
from calibration.rig import Rig
from calibration.session import check_session

SETTLED_SETS = 30
_KEPT_SETS = 60


def make(kind: str) -> Detector:
    if kind == "wheel":
        from app.bench.mediapipe_wheel import WheelHands

        return WheelHands()
    from app.estimators.detectors.mediapipe_hands import MediaPipeHands

    return MediaPipeHands(engine=kind)


def measure(kind: str, session_path: Path, seconds: float) -> dict:
    """What it costs: start-up to the first hand, memory after a few sets, sets and crops a second over some that are in
    memory; and how good it is, over the whole session."""
    session = check_session(session_path)
    rig = recorded_rig(session)
    estimator = MultiViewEstimator(rig, make(kind))
    first_hand: dict[str, float | None] = {"first_hand_s": None, "first_hand_cpu_s": None}
    memory_mb, kept, blind_px = 0.0, [], Quantiles()
    quality = {"sets_with_hand": 0, "detections": 0, "detections_used": 0}
    for index, frame_set in enumerate(recorded_sets(session, rig, recorded_phases_of(session, rig))):
        estimate = estimator.estimate(frame_set)
        if estimate.hands and first_hand["first_hand_s"] is None:
            first_hand["first_hand_s"] = time.time() - psutil.Process().create_time()
            first_hand["first_hand_cpu_s"] = time.process_time()
        if index < SETTLED_SETS:
            memory_mb = psutil.Process().memory_info().rss / 1e6
        elif len(kept) < _KEPT_SETS:
            kept.append(frame_set)
        quality["sets_with_hand"] += bool(estimate.hands)
        quality["detections"] += estimate.detections
        quality["detections_used"] += estimate.detections_used
        for hand in estimate.hands:
            blind_px.add(hand.leave_one_out_px)
    return {
        "kind": kind,
        **first_hand,
        "memory_mb": memory_mb,
        "leave_one_out_px": blind_px.quantile(0.5),
        **quality,
        **_sets_per_s(rig, estimator.detector, kept, seconds),
        **_crops_per_s(estimator.detector, kept, seconds),
    }


def _sets_per_s(rig: Rig, detector: Detector, sets: list[FrameSet], seconds: float) -> dict[str, float]:
    """Of the whole estimator; each round begins anew, with a search for hands."""

    def once() -> int:
        estimator = MultiViewEstimator(rig, detector)
        for frame_set in sets:
            estimator.estimate(frame_set)
        return len(sets)

    return _rates("sets", once, seconds)


def _crops_per_s(detector: Detector, sets: list[FrameSet], seconds: float) -> dict[str, float]:
    """Of the landmark network with cutting the crops, all views of a set at once, where hands were found."""
    rounds = []
    for frame_set in sets[::4]:
        frames = list(frame_set.frames.values())
        found = detector.detect(frames, [[] for _ in frames], [True] * len(frames))
        rounds.append((frames, [[Region(each.keypoints_px) for each in of_view] for of_view in found]))

    def once() -> int:
        for frames, regions in rounds:
            detector.detect(frames, regions, [False] * len(frames))
        return sum(len(of_view) for _, regions in rounds for of_view in regions)

    return _rates("crops", once, seconds)


def _rates(what: str, once: Callable[[], int], seconds: float) -> dict[str, float]:
    """How many a second, and a second of processor time, which a busy machine changes little."""
    done, began, began_cpu = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - began) < seconds:
        done += once()
    return {f"{what}_per_s": done / took, f"{what}_per_cpu_s": done / (time.process_time() - began_cpu)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))) + "\n")
