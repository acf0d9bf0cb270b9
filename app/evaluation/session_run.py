"""One pass over a session's frame sets: what the detector sees in each view, and what each method makes of the views,
of all of them and of all but each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.assembly.recorded_sets import recorded_sets, without_camera
from app.estimators.detection import Detection, Detector
from app.estimators.estimator import Estimator, Hand
from app.estimators.seen_check import check_seen
from app.evaluation.shared_detector import SharedDetector
from app.evaluation.withheld import GivenHand
from calibration.frames import FrameSet
from calibration.hand import JOINTS, Definition
from calibration.rig import Rig
from calibration.session import Session

MakeEstimator = Callable[[Rig, Detector], Estimator]
"""An estimator for a rig, which takes what a detector sees from that detector."""

_LEAST_CAMERAS = 3  # Without one of them, two must remain.


@dataclass(frozen=True, kw_only=True)
class SessionRun:
    """A session's S frame sets, each entry a list of that length.

    `times_ns`: the sets' times. By camera: `frame_times_ns`, when it took its frame, None where it has none or fewer
    than two others have, and `seen_px`, the hands (n, 21, 2) that the detector sees there. By method: `definitions`,
    where on the hand its joints lie, and `hands` from all views; by method and camera: `without`, from all views but
    that one, with the joints where the detector puts its keypoints.
    """

    name: str
    rig: Rig
    times_ns: Sequence[int]
    frame_times_ns: Mapping[str, Sequence[int | None]]
    seen_px: Mapping[str, Sequence[np.ndarray]]
    definitions: Mapping[str, Definition]
    hands: Mapping[str, Sequence[Sequence[Hand]]]
    without: Mapping[tuple[str, str], Sequence[Sequence[GivenHand]]]

    def last_part(self, fraction: float) -> "SessionRun":
        """Only the sets of the last `fraction` of the session's duration."""
        return self.since(self.times_ns[-1] - fraction * (self.times_ns[-1] - self.times_ns[0]) if self.times_ns else 0)

    def since(self, start_ns: float) -> "SessionRun":
        """Only the sets from that time on."""
        first = int(np.searchsorted(self.times_ns, start_ns))
        return replace(
            self,
            times_ns=self.times_ns[first:],
            frame_times_ns={name: each[first:] for name, each in self.frame_times_ns.items()},
            seen_px={name: each[first:] for name, each in self.seen_px.items()},
            hands={name: each[first:] for name, each in self.hands.items()},
            without={name: each[first:] for name, each in self.without.items()},
        )

    def check(self) -> None:
        """Raise UserError where no hand is seen, or in one view only, so that there is nothing to measure."""
        check_seen(self.name, {name: sum(map(len, of_sets)) for name, of_sets in self.seen_px.items()})


def run_session(
    session: Session,
    rig: Rig,
    phases_ns: Mapping[str, int] | None,
    detector: Detector,
    methods: Mapping[str, MakeEstimator],
    least_presence: float,
    progress: Callable[[], object] = lambda: None,
    sets: Iterable[FrameSet] | None = None,
) -> SessionRun:
    """Run all methods over the session at once, so that frames are read, and searched by the detector, once.

    Only over the `sets` of it that are given, if any are.

    Detections of less than `least_presence` are no hands that are seen, though methods get them. `progress` is called
    after each set. The detector is left open.
    """
    shared = SharedDetector(detector)
    withheld = rig.camera_ids if len(rig.cameras) >= _LEAST_CAMERAS else ()
    times_ns: list[int] = []
    frame_times_ns: dict[str, list[int | None]] = {camera_id: [] for camera_id in rig.camera_ids}
    seen_px: dict[str, list[np.ndarray]] = {camera_id: [] for camera_id in rig.camera_ids}
    hands: dict[str, list[Sequence[Hand]]] = {name: [] for name in methods}
    without: dict[tuple[str, str], list[Sequence[GivenHand]]] = {(m, c): [] for m in methods for c in withheld}
    whole: dict[str, Estimator] = {}
    partial: dict[tuple[str, str], Estimator] = {}
    try:
        whole |= {name: make(rig, shared) for name, make in methods.items()}
        partial |= {key: methods[key[0]](_without(rig, key[1]), shared) for key in without}
        for frame_set in recorded_sets(session, rig, phases_ns) if sets is None else sets:
            alone = shared.look(frame_set)
            times_ns.append(frame_set.reference_time_ns)
            for camera_id in rig.camera_ids:
                frame_times_ns[camera_id].append(_frame_time_ns(frame_set, camera_id))
                seen_px[camera_id].append(_keypoints_px(alone.get(camera_id, ()), least_presence))
            for name, estimator in whole.items():
                hands[name].append(estimator.estimate(frame_set).hands)
            for key, estimator in partial.items():
                given = estimator.estimate(without_camera(frame_set, key[1])).hands
                without[key].append([GivenHand.of(hand, estimator.definition) for hand in given])
            progress()
    finally:
        for estimator in (*whole.values(), *partial.values()):
            estimator.close()
    return SessionRun(
        name=str(session.path),
        rig=rig,
        times_ns=times_ns,
        frame_times_ns=frame_times_ns,
        seen_px=seen_px,
        definitions={name: estimator.definition for name, estimator in whole.items()},
        hands=hands,
        without=without,
    )


def _without(rig: Rig, camera_id: str) -> Rig:
    return replace(rig, cameras=tuple(camera for camera in rig.cameras if camera.camera_id != camera_id))


def _frame_time_ns(frame_set: FrameSet, camera_id: str) -> int | None:
    if camera_id not in frame_set.frames or len(frame_set.frames) < _LEAST_CAMERAS:
        return None
    return frame_set.frames[camera_id].capture_time_ns


def _keypoints_px(detections: Sequence[Detection], least_presence: float) -> np.ndarray:
    sure = [each.keypoints_px for each in detections if each.presence >= least_presence]
    return np.array(sure, dtype=np.float64).reshape(len(sure), JOINTS, 2)
