"""`usthand validate RIG`: the touch test on live cameras, then its report."""

import argparse
import datetime
from pathlib import Path

import msgspec

from app.commands.calibrate_live import check_cameras
from app.commands.common import checkpoint_of, detector_of, run_rig
from app.evaluation.touch_targets import Target
from app.evaluation.touch_track import TouchTrack
from app.run.policy import LivePolicy, ReplayPolicy
from app.run.settings import RunSettings
from app.touch.plan import PLAN, TouchPlan, touch_plan
from app.touch.recorder import read_track
from calibration.board.board import Board, write_board
from calibration.camera_source import RecordedSource
from calibration.errors import UserError
from calibration.hand import FINGERS, Side
from calibration.rig import Rig
from calibration.written_files import write_atomic


def run_touch_test(
    args: argparse.Namespace, rig: Rig, board: Board, targets: list[Target]
) -> tuple[TouchTrack, Path, dict[str, float] | None]:
    """Open the touch test on the cameras of a calibrated rig; returns what it saw, the folder where that is, and the
    latency. Raises UserError where no window can be opened or nothing was seen."""
    from app.wizard.window import check_screen

    check_cameras(rig, args)
    check_screen("the touch test", "record it and give `usthand validate --session DIR --board BOARD`")
    sides: tuple[Side, ...] = ("right", "left") if args.hand == "both" else (args.hand,)
    plan = touch_plan(sides, args.fingers or ("index", "thumb", *FINGERS[2:]), len(targets))
    base = args.rig if args.rig.is_dir() else args.rig.resolve().parent
    folder = base / f"touches-{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
    folder.mkdir(parents=True)
    write_board(folder / "board.yaml", board)
    asked = TouchPlan(
        corners=[target.name for target in targets], touches=[(each.side, each.finger, each.target) for each in plan]
    )
    write_atomic(folder / PLAN, msgspec.json.encode(asked))
    # Recorded cameras have the times of the recording, and wait for the test.
    recorded = all(isinstance(camera.source, RecordedSource) for camera in rig.cameras)
    settings = RunSettings(
        estimator=args.estimator,
        checkpoint=checkpoint_of(args),
        engine=args.engine,
        detector=detector_of(args),
        hands=args.hands,
        mesh=False,
        policy=ReplayPolicy() if recorded else LivePolicy(),
        touch=str(folder.resolve()),
    )
    outcome = run_rig(rig, settings, None)
    track = read_track(folder)
    if track is None:
        raise UserError("the touch test ended before it had seen anything. Start it again, and see what the log says.")
    if not track.given.any():
        raise UserError("no hand was found in two views at once. See that two cameras, better three, see the hand.")
    if not track.measured.any():
        raise UserError(
            f"{args.board}: this board was not seen by two cameras at once. Lay it where two cameras see its printed "
            "face, and give its own board.yaml."
        )
    return track, folder, outcome.summary.get("latency_ms")
