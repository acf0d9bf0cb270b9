"""How far hands are from the truth, which only simulated sessions have: it judges, and nothing learns from it."""

from collections.abc import Mapping, Sequence

import numpy as np

from app.estimators.estimator import Hand
from app.evaluation.session_run import SessionRun
from calibration.hand import Definition
from calibration.session import Session
from models.files.truth import Truth, read_truth
from models.hand.definition import convert

_FARTHEST_MM = 60.0
"""A hand whose joints are farther off in the median is another one."""


def true_errors_mm(session: Session, run: SessionRun, methods: Sequence[str]) -> dict[str, list[float]] | None:
    """Mean errors of the joints of each hand that all methods give; None where the truth is not known."""
    file = session.path / "truth.npz"
    if not file.is_file():
        return None
    truth = read_truth(file, len(session.camera_ids))
    if not set(truth.hands) <= {"left", "right"}:
        return None
    found = {name: _of_method(truth, run.hands[name], run.definitions[name]) for name in methods}
    common = set.intersection(*(set(each) for each in found.values()))
    return {name: [each[key] for key in sorted(common)] for name, each in found.items()}


def _of_method(truth: Truth, sets: Sequence[Sequence[Hand]], definition: Definition) -> Mapping[tuple[int, str], float]:
    errors = {}
    for number, hands in enumerate(sets):
        for hand in hands:
            joints_m = convert(hand.joints_world_m, definition, "anatomical", hand.side == "right")
            error_mm = 1e3 * np.linalg.norm(joints_m - _true_joints_m(truth, hand), axis=1)
            if np.median(error_mm) < _FARTHEST_MM:
                errors[number, hand.side] = float(error_mm.mean())
    return errors


def _true_joints_m(truth: Truth, hand: Hand) -> np.ndarray:
    """(21, 3) at the hand's time, on the line between the times that are known; NaN where no such hand is."""
    of_side = truth.hands.get(hand.side)
    if of_side is None:
        return np.full((21, 3), np.nan)
    at = float(np.interp(hand.capture_time_ns, truth.times_ns, np.arange(len(truth.times_ns))))
    before, after = int(at), min(int(at) + 1, len(truth.times_ns) - 1)
    return (1 - at % 1) * of_side.joints_world_m[before] + at % 1 * of_side.joints_world_m[after]
