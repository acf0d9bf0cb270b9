"""How fast the live path is on a recorded session, against its own detector alone on the same crops."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.assembly.recorded_sets import recorded_sets
from app.estimators import make_estimator
from app.estimators.detection import Detection, Detector, Region
from app.estimators.multiview.estimator import MultiViewEstimator
from app.worker.statistics import Quantiles, rounded
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig
from calibration.session import Session


class _RecordingDetector:
    """Passes calls on to a detector and notes them by set, so that they can be repeated without anything around."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self.rounds: list[list[tuple[Frame, Sequence[Region], bool]]] = []

    def detect(self, frame: Frame, regions: Sequence[Region], search: bool) -> list[Detection]:
        self.rounds[-1].append((frame, regions, search))
        return self._detector.detect(frame, regions, search)

    def close(self) -> None:
        pass


def read_sets(session: Session, rig: Rig, phases_ns: dict[str, int] | None) -> list[FrameSet]:
    """All frame sets of a session, decoded, in memory."""
    return list(recorded_sets(session, rig, phases_ns))


def detector_alone(rig: Rig, sets: list[FrameSet], estimator_name: str) -> dict:
    """Run the estimator once to learn the crops, then its detector alone on them, as parallel as the estimator does."""
    estimator = make_estimator(estimator_name, rig)
    assert isinstance(estimator, MultiViewEstimator)
    detector = estimator.detector
    recorder = _RecordingDetector(detector)
    estimator.detector = recorder
    geometry_ms, whole_s = Quantiles(), 0.0
    for frame_set in sets:
        recorder.rounds.append([])
        began = time.perf_counter()
        estimate = estimator.estimate(frame_set)
        seconds = time.perf_counter() - began
        whole_s += seconds
        geometry_ms.add(seconds * 1e3 - estimate.stage_ms["detect"])
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        began = time.perf_counter()
        for calls in recorder.rounds:
            list(pool.map(lambda call: detector.detect(*call), calls))
        alone_s = time.perf_counter() - began
    detector.close()
    return {
        "sets": len(sets),
        "detector_sets_per_s": rounded(len(sets) / alone_s),
        "estimator_sets_per_s": rounded(len(sets) / whole_s),
        "crops_per_set": rounded(float(np.mean([sum(len(r) + s for _, r, s in calls) for calls in recorder.rounds]))),
        "geometry_ms": geometry_ms.summary(),
    }
