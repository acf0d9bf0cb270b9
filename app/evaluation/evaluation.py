"""The evaluation of methods on recorded sessions: figures by method, with the grip test where the board is known."""

import functools
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
from calibration.board.hints import another_board
from calibration.board.session_scan import detect_session
from calibration.board.views import BoardView
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.session import Session
from calibration.solve.board_in_rig import board_poses_at

log = logging.getLogger(__name__)

REFERENCE = "mediapipe"
"""The method that is always run: which hands hold the board is taken from it."""

Views = Mapping[str, Sequence[BoardView]]
"""What each camera sees of the board."""

_AT_ONCE = 50


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
    start all the same, as they do in use, so that no hand is new where the measuring begins. Of several sessions those
    that show no hands are left out, and named under `left_out`. Raises UserError where none is left, and, before any
    method runs, for a session in which the board is not seen.
    """
    settings = WithheldSettings()
    seen = [board_views(each, board, holdout) for each in recordings] if board is not None else []
    runs: dict[int, SessionRun] = {}
    left_out: list[UserError] = []
    for number, recording in enumerate(recordings):
        run = run_session(recording.session, recording.rig, recording.phases_ns, detector, methods,
                          settings.least_presence, progress)  # fmt: skip
        if holdout is not None:
            run = run.last_part(holdout)
        try:
            run.check()
        except UserError as error:
            log.warning("%s It is left out.", error)
            left_out.append(error)
            continue
        runs[number] = run
    if not runs:
        raise left_out[0]
    chosen = list(report or methods)
    result: dict[str, Any] = {}
    if left_out:
        others = (each.session.path for number, each in enumerate(recordings) if number not in runs)
        result["left_out"] = ", ".join(path.resolve().name for path in others)
    result["real"] = {name: method_figures(list(runs.values()), name, settings) for name in chosen}
    if board is not None:
        of_sessions = [_grips(run, recordings[number], board, seen[number]) for number, run in runs.items()]
        grips = functools.reduce(Grips.joined, of_sessions)
        result["sets_with_board"] = grips.sets_with_board
        result["grip"] = {name: grip_figures(grips, name) for name in chosen}
    return result


def _grips(run: SessionRun, recording: Recording, board: Board, seen: Views) -> Grips:
    poses = board_poses_at(recording.rig, board, seen, np.asarray(run.times_ns, dtype=np.int64))
    return grips_of(board, poses, run.times_ns, run.hands[REFERENCE], run.hands)


def board_views(recording: Recording, board: Board, holdout: float | None = None) -> Views:
    """What each camera sees of the board.

    Raises UserError where no two cameras see it at once, or not in that last part of the session.
    """
    path = recording.session.path
    log.info("%s: looking for the board", path)
    found = detect_session(recording.session, board)
    views = {name: found.views[name] for name in recording.rig.camera_ids if name not in found.mirrored}
    if not _seen_at_once(recording.rig, board, views):
        hint = another_board(recording.session, board) or (
            "Give the board.yaml of the board in the videos, of which two cameras must see the printed face."
        )
        raise UserError(f"{path}: the board of `--board` is not seen by two cameras at once. {hint}")
    if holdout is not None:
        times_ns = np.concatenate([recording.session.frame_times_ns(name) for name in recording.rig.camera_ids])
        start_ns = times_ns.max() - holdout * (times_ns.max() - times_ns.min())
        if not _seen_at_once(recording.rig, board, views, start_ns):
            raise UserError(
                f"{path}: two cameras see the board of `--board` at once, but not in the part that "
                f"`--holdout {holdout:g}` measures on. Give a larger share, or leave one of the two out."
            )
    return views


def _seen_at_once(rig: Rig, board: Board, views: Views, since_ns: float = -np.inf) -> bool:
    """Whether the board's pose is known at any moment at which a camera sees it."""
    times_ns = [view.time_ns - rig[name].time_offset_ns for name, of_camera in views.items() for view in of_camera
                if view.time_ns >= since_ns]  # fmt: skip
    some = np.array_split(np.sort(np.array(times_ns, dtype=np.int64)), max(len(times_ns) // _AT_ONCE, 1))
    return any(any(board_poses_at(rig, board, views, each)) for each in some)
