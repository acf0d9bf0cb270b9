"""How fast the live path is on a recorded session, against its own detector alone on the same crops."""

import time
from collections.abc import Sequence

import psutil

from app.assembly.recorded_sets import recorded_sets
from app.estimators import make_estimator
from app.estimators.detection import Detection, Detector, Region
from app.estimators.multiview.estimator import MultiViewEstimator
from app.worker.statistics import Quantiles, rounded
from calibration.errors import UserError
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig
from calibration.session import Session


class _RecordingDetector:
    """Passes calls on to a detector and notes them, so that they can be repeated without anything around."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self.calls: list[tuple[Sequence[Frame], Sequence[Sequence[Region]], Sequence[bool]]] = []

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        self.calls.append((frames, regions, searched))
        return self._detector.detect(frames, regions, searched)

    def close(self) -> None:
        pass


def read_sets(session: Session, rig: Rig, phases_ns: dict[str, int] | None) -> list[FrameSet]:
    """All frame sets of a session, decoded, in memory. Raises UserError where they do not fit."""
    need = sum(
        len(session.frame_times_ns(each.camera_id)) * each.camera.width * each.camera.height * 3 for each in rig.cameras
    )
    free = psutil.virtual_memory().available
    if need > free:
        raise UserError(
            f"{session.path}: decoded, its images take {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are "
            "free. Give a shorter recording."
        )
    return list(recorded_sets(session, rig, phases_ns))


def detector_alone(rig: Rig, sets: list[FrameSet], estimator_name: str) -> tuple[dict, list[int]]:
    """Run the estimator once to learn the crops, then its detector alone on them. Figures, and each set's hands."""
    estimator = make_estimator(estimator_name, rig)
    assert isinstance(estimator, MultiViewEstimator)
    detector = estimator.detector
    recorder = _RecordingDetector(detector)
    estimator.detector = recorder
    geometry_ms, whole_s, hands = Quantiles(), 0.0, []
    for frame_set in sets:
        began = time.perf_counter()
        estimate = estimator.estimate(frame_set)
        seconds = time.perf_counter() - began
        whole_s += seconds
        hands.append(len(estimate.hands))
        geometry_ms.add(seconds * 1e3 - estimate.stage_ms["detect"])
    began = time.perf_counter()
    for call in recorder.calls:
        detector.detect(*call)
    alone_s = time.perf_counter() - began
    crops = sum(sum(map(len, regions)) + sum(searched) for _, regions, searched in recorder.calls)
    detector.close()
    figures = {
        "sets": len(sets),
        "detector_sets_per_s": rounded(len(sets) / alone_s),
        "estimator_sets_per_s": rounded(len(sets) / whole_s),
        "crops_per_set": rounded(crops / len(sets)),
        "geometry_ms": geometry_ms.summary(),
    }
    return figures, hands


def frames_lost(summary: dict) -> dict:
    """Of a run's summary, over all cameras: frames, and those that are in no set that was estimated."""
    cameras = summary["cameras"].values()
    return {name: sum(camera[name] for camera in cameras) for name in ("frames", "dropped", "late", "stale")}
