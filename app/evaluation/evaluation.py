"""The evaluation of methods on recorded sessions: figures by method, with the grip test where the board is known."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.estimators.detection import Detector
from app.evaluation.figures import method_figures
from app.evaluation.grip import Grips, grip_figures, grips_of
from app.evaluation.session_run import MakeEstimator, SessionRun, run_session
from app.evaluation.withheld import WithheldSettings
from calibration.board.board import Board
from calibration.board.session_scan import detect_session
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.session import Session
from calibration.solve.board_in_rig import PosedInRig, board_poses_at

log = logging.getLogger(__name__)

REFERENCE = "mediapipe"
"""The method that is always run: which hands hold the board is taken from it."""


@dataclass(frozen=True)
class Recording:
    """A session, the rig that it is evaluated with, and the phases by which its frames are matched (None: unknown)."""

    session: Session
    rig: Rig
    phases_ns: Mapping[str, int] | None


def evaluate_footage(
    recordings: Sequence[Recording],
    detector: Detector,
    methods: Mapping[str, MakeEstimator],
    *,
    report: Sequence[str] = (),
    holdout: float | None = None,
    board: Board | None = None,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """`real`: the figures of each method in `report` (all by default); with a board, `sets_with_board` and `grip`.

    `methods` must have `mediapipe`. With `holdout` only that last part of each session counts; the methods run from its
    start all the same, as they do in use, so that no hand is new where the measuring begins. Raises UserError for a
    session without hands, with one usable view, or in which the board is not seen.
    """
    settings = WithheldSettings()
    runs: list[SessionRun] = []
    grips: Grips | None = None
    for recording in recordings:
        run = run_session(recording.session, recording.rig, recording.phases_ns, detector, methods,
                          settings.least_presence, progress)  # fmt: skip
        if holdout is not None:
            run = run.last_part(holdout)
        run.check()
        runs.append(run)
        if board is not None:
            of_session = _grips(run, recording, board)
            grips = of_session if grips is None else grips.joined(of_session)
    chosen = list(report or methods)
    result: dict[str, Any] = {"real": {name: method_figures(runs, name, settings) for name in chosen}}
    if grips is not None:
        result["sets_with_board"] = grips.sets_with_board
        result["grip"] = {name: grip_figures(grips, name) for name in chosen}
    return result


def _grips(run: SessionRun, recording: Recording, board: Board) -> Grips:
    poses = board_poses(recording, board, np.asarray(run.times_ns, dtype=np.int64))
    if not any(poses):
        raise UserError(
            f"{run.name}: the board of `--board` is not seen by two cameras at once. Give the board.yaml of the board "
            "in the videos, or leave `--board` out."
        )
    return grips_of(board, poses, run.times_ns, run.hands[REFERENCE], run.hands)


def board_poses(recording: Recording, board: Board, times_ns: np.ndarray) -> list[PosedInRig | None]:
    """The board's pose at each time (S,) in the rig's world, None where it is not known."""
    log.info("%s: looking for the board", recording.session.path)
    detections = detect_session(recording.session, board)
    views = {name: each for name, each in detections.views.items() if name not in detections.mirrored}
    return board_poses_at(recording.rig, board, views, times_ns)
