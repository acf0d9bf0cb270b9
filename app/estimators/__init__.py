"""Estimators: frame sets in, hands out. `make_estimator` is where their names are."""

import logging
from pathlib import Path

from app.estimators.detection import Detector
from app.estimators.estimator import Estimator
from calibration.errors import UserError
from calibration.rig import Rig

log = logging.getLogger(__name__)

ESTIMATORS = ("mediapipe", "simulated", "ust-hand")


def make_estimator(
    name: str,
    rig: Rig,
    seed: int = 0,
    checkpoint: str = "shipped",
    engine: str = "auto",
    detector: Detector | None = None,
    hands: int = 2,
    newest_only: bool = False,
) -> Estimator:
    """The estimator of that name for a rig, for at most so many `hands`; `newest_only` where it gets, as live, only the
    newest set that there is.

    `engine` runs the network of `ust-hand`, whose `checkpoint` may be an engine directory, or those of `mediapipe`.
    `detector` takes the place of MediaPipe's own in `mediapipe`, and in what finds hands for `ust-hand`.

    Raises UserError for an unknown name, a missing extra, or a checkpoint or engine that cannot be read.
    """
    from app.estimators.multiview.estimator import MultiViewEstimator

    if name == "mediapipe":
        from app.estimators.detectors.mediapipe_hands import MediaPipeHands

        return MultiViewEstimator(rig, detector or MediaPipeHands(engine=engine), hands)
    if name == "simulated":
        from app.estimators.multiview.simulated import SimulatedDetector

        return MultiViewEstimator(rig, SimulatedDetector(rig, seed=seed), hands, definition="anatomical")
    if name == "ust-hand":
        return _ust_hand(rig, checkpoint, engine, detector, hands, newest_only)
    raise UserError(f"unknown estimator `{name}`; known: {', '.join(ESTIMATORS)}.")


def make_detector(path: str | None, engine: str = "auto") -> Detector | None:
    """A user's own detector, see docs/detectors.md; None without a path. `engine` is one of deploy.image_engines.

    Raises UserError where it cannot be one.
    """
    if path is None:
        return None
    from app.estimators.detectors.mediapipe_hands import MediaPipeHands
    from app.estimators.detectors.user_detector import UserDetector

    return UserDetector(Path(path), MediaPipeHands(engine=engine), engine)


def _ust_hand(
    rig: Rig, checkpoint: str, engine_name: str, detector: Detector | None, hands: int, newest_only: bool
) -> Estimator:
    from app.estimators.ust_hand.estimator import UstHandEstimator
    from app.estimators.ust_hand.hand_finder import DetectorFinder, VolumeSearch
    from deploy.engines import live_engines
    from deploy.engines.failover_engine import FailoverEngine
    from deploy.pipeline.pipeline import Pipeline

    engine = FailoverEngine(live_engines(checkpoint, engine_name))
    log.info("worker: engine %s", engine.name)
    pipeline = Pipeline(engine, len(rig.cameras), hands)
    if pipeline.views < len(rig.cameras):
        log.info(
            "worker: of %d cameras each hand is looked at in the %d that see it best", len(rig.cameras), pipeline.views
        )
    try:
        finder = DetectorFinder(make_estimator("mediapipe", rig, detector=detector, hands=hands))
    except UserError as error:
        log.info("worker: hands are first searched for by the network itself, since %s", error)
        finder = VolumeSearch(rig, pipeline)
    return UstHandEstimator(rig, pipeline, finder, newest_only=newest_only)
