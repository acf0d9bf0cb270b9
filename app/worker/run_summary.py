"""What a run reports: counts, accuracy and latency, in constant memory however long it runs."""

from collections.abc import Callable, Sequence

import numpy as np

from app.estimators.estimator import Estimate
from app.run.settings import RunSettings
from app.transport.messages import CameraReport
from app.worker.jitter import RestJitter
from app.worker.rig_doubt import RigDoubt
from app.worker.statistics import MeanStd, Quantiles, rounded
from app.worker.timing import SetTiming
from calibration.camera_source import SimulatedSource
from calibration.hand import Side, bone_lengths
from calibration.rig import Rig
from models.simulation.hands import hands_of_people_at
from models.simulation.simulated_rig import people_in

Truth = Callable[[int], list[tuple[Side, np.ndarray]]]


def simulated_truth(rig: Rig, settings: RunSettings) -> Truth | None:
    """Where the hands are at a time, if all that is seen of them is simulated: images or detections."""
    if settings.estimator == "simulated" or all(isinstance(each.source, SimulatedSource) for each in rig.cameras):
        return lambda time_ns: hands_of_people_at(time_ns / 1e9, people_in(rig))
    return None


class RunSummary:
    """Fed with every set; `result` is the object that `--json` prints.

    `truth` gives each hand's side and true joints (21, 3) in world metres at a time of the rig's clock, where they are
    known; a hand is held against the nearest of its side.
    """

    def __init__(self, rig: Rig, truth: Truth | None = None) -> None:
        self._truth = truth
        self._doubt = RigDoubt(rig)
        self._sets = self._with_hand = self._with_both = self._hands = 0
        self._detections = self._detections_used = 0
        self._reprojection = Quantiles()
        self._leave_one_out = Quantiles()
        self._latency = Quantiles()
        self._photon_to_pose = Quantiles()
        self._photon_parts: dict[str, Quantiles] = {}
        self._error_mm = Quantiles()
        self._stages: dict[str, Quantiles] = {}
        self._bones: dict[Side, MeanStd] = {}
        self._jitter = RestJitter()
        self._first_ns = self._last_ns = 0

    def add(self, estimate: Estimate, timing: SetTiming, camera_ids: Sequence[str]) -> None:
        """`camera_ids` are the cameras that the set has frames of."""
        self._sets += 1
        self._doubt.add(estimate, camera_ids)
        self._with_hand += bool(estimate.hands)
        self._with_both += len(estimate.hands) >= 2
        self._hands += len(estimate.hands)
        self._detections += estimate.detections
        self._detections_used += estimate.detections_used
        self._jitter.add(estimate.hands)
        for hand in estimate.hands:
            self._reprojection.add(hand.reprojection_px)
            self._leave_one_out.add(hand.leave_one_out_px)
            self._bones.setdefault(hand.side, MeanStd()).add(bone_lengths(hand.joints_world_m))
            if self._truth is not None:
                true_m = [joints_m for side, joints_m in self._truth(hand.capture_time_ns) if side == hand.side]
                errors_m = [np.linalg.norm(hand.joints_world_m - each, axis=1) for each in true_m]
                self._error_mm.add(min(errors_m, key=np.mean) * 1e3)
        self._latency.add(timing.latency_ms)
        if timing.photon_to_pose_ms is not None:
            self._photon_to_pose.add(timing.photon_to_pose_ms)
            for stage, milliseconds in timing.photon_to_pose_parts_ms().items():
                self._photon_parts.setdefault(stage, Quantiles()).add(milliseconds)
        for stage, milliseconds in timing.stage_ms.items():
            self._stages.setdefault(stage, Quantiles()).add(milliseconds)
        self._first_ns = self._first_ns or timing.published_ns
        self._last_ns = timing.published_ns

    def result(self, cameras: dict[str, CameraReport]) -> dict:
        variations = [float(np.mean(bones.std / bones.mean)) for bones in self._bones.values() if bones.count > 1]
        seconds = (self._last_ns - self._first_ns) / 1e9
        result = {
            "frame_sets": self._sets,
            "sets_with_hand": self._with_hand,
            "sets_with_both_hands": self._with_both,
            "hands_per_set_mean": rounded(self._hands / self._sets if self._sets else None),
            "reprojection_px_median": rounded(self._reprojection.quantile(0.5)),
            "leave_one_out_px_median": rounded(self._leave_one_out.quantile(0.5)),
            "leave_one_out_px_mean": rounded(self._leave_one_out.mean),
            "detections": self._detections,
            "detections_used": self._detections_used,
            "bone_length_cv_mean": rounded(float(np.mean(variations)) if variations else None),
            "jitter_at_rest_mm": rounded(self._jitter.mm),
            "latency_ms": self._latency.summary(),
            "photon_to_pose_ms": self._photon_to_pose.summary() if self._photon_to_pose.count else None,
            "photon_to_pose_parts_ms": {stage: rounded(each.mean) for stage, each in self._photon_parts.items()}
            or None,
            "stage_ms": {stage: rounded(values.quantile(0.5)) for stage, values in self._stages.items()},
            "stage_p99_ms": {stage: rounded(values.quantile(0.99)) for stage, values in self._stages.items()},
            "fps": rounded((self._sets - 1) / seconds if seconds > 0 else None),
            "cameras": {
                camera_id: {
                    "frames": report.frames,
                    "dropped": report.dropped,
                    "late": report.late,
                    "stale": report.stale,
                    "corrupt": report.corrupt,
                    "misdated": report.misdated,
                    "state": report.state,
                }
                for camera_id, report in cameras.items()
            },
        }
        result["notes"] = self._doubt.notes()
        if self._truth is not None:
            result["mpjpe_mm"] = rounded(self._error_mm.mean)
        return result
