"""The part of `usthand evaluate` that measures on recorded sessions: flags, and the figures of all methods."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.commands.common import checkpoint_of
from app.estimators import make_estimator
from app.estimators.detectors.mediapipe_hands import MediaPipeHands
from app.evaluation.evaluation import REFERENCE, Recording, evaluate_footage
from app.evaluation.session_run import MakeEstimator
from app.evaluation.tables import TITLES
from calibration.board.board import read_board
from calibration.errors import UserError
from calibration.found_files import hash_found
from calibration.session import check_session
from deploy.engines import ENGINES
from models.weights import checkpoint_path

log = logging.getLogger(__name__)

FOOTAGE_OPTIONS = ("methods", "holdout", "board", "engine")


def add_footage_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on recorded sessions")
    group.add_argument(
        "--methods", nargs="+", choices=sorted(TITLES), metavar="M", help=f"{', '.join(sorted(TITLES))} (default: both)"
    )
    group.add_argument(
        "--holdout", type=float, metavar="FRACTION", help="measure on the last part of each session only, as 0.4"
    )
    group.add_argument(
        "--board", type=Path, metavar="BOARD.yaml", help="and fingertips of hands that hold this board (the grip test)"
    )
    group.add_argument("--engine", choices=ENGINES, help="what runs the network (default: auto)")


def footage_figures(args: argparse.Namespace) -> dict[str, Any]:
    """Where the figures come from and, under `real` and `grip`, the figures. Raises UserError."""
    if args.holdout is not None and not 0 < args.holdout <= 1:
        raise UserError(f"`--holdout {args.holdout}`: give a share above 0 and up to 1, such as 0.4.")
    board = read_board(args.board) if args.board else None
    chosen = list(dict.fromkeys(args.methods or sorted(TITLES)))
    recordings = []
    for path in args.data:
        session = check_session(path)
        rig = recorded_rig(session)
        recordings.append(Recording(session, rig, recorded_phases_of(session, rig)))
    methods: dict[str, MakeEstimator] = {
        REFERENCE: lambda rig, detector: make_estimator(REFERENCE, rig, detector=detector)
    }
    if "ust-hand" in chosen:
        engine = args.engine or "auto"
        wanted = argparse.Namespace(estimator="ust-hand", checkpoint=args.checkpoint, engine=engine)
        checkpoint = checkpoint_of(wanted)
        methods["ust-hand"] = lambda rig, detector: make_estimator(
            "ust-hand", rig, checkpoint=checkpoint, engine=engine, detector=detector
        )
    frames = sum(max(len(each.session.frame_times_ns(name)) for name in each.rig.camera_ids) for each in recordings)
    detector = MediaPipeHands()
    try:
        with tqdm(total=frames, unit="set", file=sys.stderr, disable=None) as bar:
            figures = evaluate_footage(
                recordings,
                detector,
                methods,
                report=chosen,
                holdout=args.holdout,
                board=board,
                progress=bar.update,
            )
    finally:
        detector.close()
    return {**_provenance(args, chosen), **figures}


def _provenance(args: argparse.Namespace, chosen: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {"data": ", ".join(path.resolve().name for path in args.data)}
    if "ust-hand" in chosen:
        facts["checkpoint"] = str(args.checkpoint)
        file = checkpoint_path(args.checkpoint)
        if file.is_file():
            facts["checkpoint_sha256"] = hash_found(file)[:16]
    if args.holdout is not None:
        facts["holdout"] = args.holdout
    return facts
