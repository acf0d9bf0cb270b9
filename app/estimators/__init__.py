"""Estimators: frame sets in, hands out. `make_estimator` is where their names are."""

from app.estimators.protocol import Estimator
from calibration.errors import UserError
from calibration.rig import Rig

ESTIMATORS = ("mediapipe", "simulated")


def make_estimator(name: str, rig: Rig, seed: int = 0) -> Estimator:
    """The estimator of that name for a rig. Raises UserError for an unknown name or a missing extra."""
    from app.estimators.multiview import MultiViewEstimator

    if name == "mediapipe":
        from app.estimators.mediapipe_hands import MediaPipeHands

        return MultiViewEstimator(rig, MediaPipeHands())
    if name == "simulated":
        from app.estimators.simulated import SimulatedDetector

        return MultiViewEstimator(rig, SimulatedDetector(rig, seed=seed))
    raise UserError(f"unknown estimator `{name}`; known: {', '.join(ESTIMATORS)}.")
