"""How far forecasts are from where hands then are, beside how far poses are from where hands were: simulated motion."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from app.estimators.detection import Detection, Region
from app.estimators.estimator import Hand, UnseenHand
from app.estimators.multiview.estimator import MultiViewEstimator
from app.estimators.multiview.simulated import SimulatedDetector
from app.worker.look_ahead import LookAhead, LookAheadSettings
from app.worker.statistics import rounded
from calibration.errors import UserError
from calibration.frames import Frame, FrameSet
from calibration.hand import FINGER_JOINTS, JOINTS, Side
from models.data.hand_sequence import label_std
from models.hand.builtin import BuiltinHand
from models.hand.shape import MEAN_SHAPE
from models.simulation.detector_noise import GRADES, detect
from models.simulation.hands import home_world_m
from models.simulation.motion import HandMotion
from models.simulation.simulated_rig import ring_rig

AHEAD_MS = (20.0, 50.0, 100.0)
FPS = 30.0
_SETTLED = 15
"""Sets after which a hand's motion is known."""
_SIDES: tuple[Side, ...] = ("left", "right")
_TIPS = [finger[-1] for finger in FINGER_JOINTS]
_RIG = ring_rig(4)
_BLANK = {each.camera_id: np.zeros((each.camera.height, each.camera.width, 3), np.uint8) for each in _RIG.cameras}
_MODELS = {side: BuiltinHand(side) for side in _SIDES}

WAYS = {
    "constant velocity": LookAheadSettings(fade_s=1e3, acceleration_psd=0.2, fits=False, learnt=False),
    "fading velocity": LookAheadSettings(fits=False, learnt=False),
    "fading velocity, fitted hand": LookAheadSettings(learnt=False),
    "learnt, fitted hand": LookAheadSettings(),
}
"""Compared; the last is what a run does that forecasts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenSet:
    """What an estimator made of one moment."""

    time_ns: int
    hands: Sequence[Hand]
    unseen: Sequence[UnseenHand]


class SimulatedPerson:
    """Two hands that move in the middle of the rig, by a seed."""

    def __init__(self, seed: int) -> None:
        self._motions = {
            side: HandMotion((seed, number), side, home_world_m=home_world_m(side, 2))
            for number, side in enumerate(_SIDES)
        }
        self.joints_m = cache(self._joints_m)
        """Joints (21, 3) in the world, of a side at a time in seconds."""

    def _joints_m(self, side: Side, time_s: float) -> np.ndarray:
        motion = self._motions[side]
        return _MODELS[side].joints(motion.angles_rad(time_s), motion.T_world_hand(time_s), MEAN_SHAPE)

    def hands_at(self, time_s: float) -> Iterable[tuple[Side, np.ndarray]]:
        return [(side, self.joints_m(side, time_s)) for side in _SIDES]


class LabelDetector:
    """A Detector with a real one's moderate errors (docs/labels.md), which last for some frames; no joint is hidden."""

    name = "labels"

    def __init__(self, person: SimulatedPerson, seed: int, sets: int) -> None:
        self._found: dict[tuple[str, int], list[Detection]] = {}
        times_s = [_time_ns(index) / 1e9 for index in range(sets)]
        visible = np.ones((sets, JOINTS), bool)
        for number, side in enumerate(_SIDES):
            joints_m = np.stack([person.joints_m(side, time_s) for time_s in times_s])
            for view, camera in enumerate(_RIG.cameras):
                seed_of = [seed, number, view]
                said = detect(camera.project(joints_m), visible, np.arange(sets), seed_of, GRADES["moderate"])
                std_px = label_std(said.keypoints_px, said.confidence)
                for index in np.flatnonzero(said.found).tolist():
                    hand = Detection(said.keypoints_px[index], std_px[index], float(side == "right"), 1.0)
                    self._found.setdefault((camera.camera_id, index), []).append(hand)

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        return [list(self._found.get((frame.camera_id, frame.sequence), [])) for frame in frames]

    def close(self) -> None: ...


def bench(people: int, seconds: float, each: Callable[[], object] = lambda: None) -> dict:
    """Errors of fingertips in millimetres, means over all hands; `each` is called after each person.

    Raises UserError where the motion is over before it is known.
    """
    sets = round(seconds * FPS)
    if sets <= _SETTLED:
        raise UserError(f"`--seconds {seconds:g}`: a hand's motion is known after {_SETTLED / FPS:g} s. Give more.")
    result = {"people": people, "seconds": seconds, "fps": FPS, "views": len(_RIG.cameras)}
    for grade in ("moderate labels", "simulated detector"):
        errors = _Errors()
        for seed in range(people):
            person = SimulatedPerson(seed)
            detector = (
                LabelDetector(person, seed, sets)
                if grade == "moderate labels"
                else SimulatedDetector(_RIG, seed, person.hands_at)
            )
            errors.add(person, _seen(MultiViewEstimator(_RIG, detector, definition="anatomical"), sets))
            each()
        result[grade.replace(" ", "_")] = errors.summary()
    return result


class _Errors:
    """Of measured poses, of poses taken for those of a later time, and of forecasts, (n, 5) metres each."""

    def __init__(self) -> None:
        self._measured: list[np.ndarray] = []
        self._stale: dict[float, list[np.ndarray]] = {ms: [] for ms in AHEAD_MS}
        self._forecast: dict[tuple[str, float], list[np.ndarray]] = {(w, ms): [] for w in WAYS for ms in AHEAD_MS}
        self._over_sd: dict[float, list[np.ndarray]] = {ms: [] for ms in (0.0, *AHEAD_MS)}
        """Errors of coordinates over their standard deviations (n, 5, 3), of poses and of what a run forecasts."""

    def add(self, person: SimulatedPerson, seen: Sequence[SeenSet]) -> None:
        for moment in seen[_SETTLED:]:
            for hand in moment.hands:
                self._measured.append(_tip_errors(hand.joints_world_m, person, hand.side, moment.time_ns))
                off_m = hand.joints_world_m - person.joints_m(hand.side, moment.time_ns / 1e9)
                self._over_sd[0.0].append(_over_sd(off_m, hand.covariance_m2))
                for ms in AHEAD_MS:
                    later_ns = moment.time_ns + round(ms * 1e6)
                    self._stale[ms].append(_tip_errors(hand.joints_world_m, person, hand.side, later_ns))
        for way, ms in self._forecast:
            look_ahead = LookAhead(ms, WAYS[way])
            for moment in seen:
                for ahead in look_ahead.of(moment.hands, moment.unseen, moment.time_ns, "anatomical"):
                    # Of the same poses as above.
                    if moment.time_ns < _time_ns(_SETTLED) or ahead.seen_time_ns != moment.time_ns:
                        continue
                    joints_m = np.array(ahead.joints_world_m)
                    self._forecast[way, ms].append(_tip_errors(joints_m, person, ahead.hand, ahead.time_ns))
                    if way == list(WAYS)[-1]:
                        off_m = joints_m - person.joints_m(ahead.hand, ahead.time_ns / 1e9)
                        self._over_sd[ms].append(_over_sd(off_m, np.array(ahead.covariance_m2)))

    def summary(self) -> dict:
        measured_m = np.concatenate(self._measured)

        def row(errors_m: list[np.ndarray]) -> dict:
            flat_m = np.concatenate(errors_m)
            return {
                "mean_mm": rounded(1e3 * float(flat_m.mean()), 3),
                "median_mm": rounded(1e3 * float(np.median(flat_m)), 3),
                "of_measured": rounded(float(flat_m.mean() / measured_m.mean()), 3),
                "median_of_measured": rounded(float(np.median(flat_m) / np.median(measured_m)), 3),
            }

        over_sd = {ms: rounded(float(np.sqrt(np.mean(np.square(each)))), 3) for ms, each in self._over_sd.items()}
        return {
            "measured": {**row(self._measured), "rms_over_sd": over_sd[0.0]},
            "ahead": [
                {
                    "ahead_ms": ms,
                    "none": row(self._stale[ms]),
                    **{way: row(self._forecast[way, ms]) for way in WAYS},
                    "rms_over_sd": over_sd[ms],
                }
                for ms in AHEAD_MS
            ],
        }


def _tip_errors(joints_m: np.ndarray, person: SimulatedPerson, side: Side, time_ns: int) -> np.ndarray:
    """(5,) metres from where the fingertips are."""
    return np.linalg.norm(joints_m - person.joints_m(side, time_ns / 1e9), axis=1)[_TIPS]


def _over_sd(off_m: np.ndarray, covariance_m2: np.ndarray) -> np.ndarray:
    """(5, 3) of the fingertips, from errors (21, 3) and covariances (21, 3, 3)."""
    return (off_m / np.sqrt(np.diagonal(covariance_m2, axis1=1, axis2=2)))[_TIPS]


def _seen(estimator: MultiViewEstimator, sets: int) -> list[SeenSet]:
    seen = []
    for index in range(sets):
        time_ns = _time_ns(index)
        times = dict.fromkeys(("capture_time_ns", "grab_time_ns", "publish_time_ns"), time_ns)
        frames = {name: Frame(camera_id=name, sequence=index, pixels=blank, **times) for name, blank in _BLANK.items()}
        estimate = estimator.estimate(FrameSet(index, time_ns, frames, time_ns))
        seen.append(SeenSet(time_ns=time_ns, hands=estimate.hands, unseen=estimate.unseen))
    return seen


def _time_ns(index: int) -> int:
    return round(index * 1e9 / FPS)
