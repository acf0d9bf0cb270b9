"""`usthand validate`: the touch test, accuracy in millimetres from fingertips that touch a board's corners."""

import argparse
import datetime
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.commands.common import add_command, add_detector_flag, add_estimator_flags, checkpoint_of, detector_of
from app.commands.printed_board import read_printed_board
from app.commands.validate_live import run_touch_test
from app.estimators import make_detector, make_estimator
from app.estimators.estimator import Estimator
from app.evaluation.evaluation import Recording
from app.evaluation.touch_figures import touch_figures
from app.evaluation.touch_report import report_html
from app.evaluation.touch_targets import Target, targets_of
from app.evaluation.touch_track import TouchTrack, touch_track
from app.evaluation.touches import TouchSettings, find_touches
from calibration.board.board import Board
from calibration.errors import UserError
from calibration.hand import FINGERS
from calibration.rig import Rig, read_rig
from calibration.session import Session, check_session
from calibration.written_files import check_can_write, write_atomic


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "validate",
        run,
        "the touch test: how many millimetres fingertips are off that touch the corners of a calibration board",
        "  usthand validate rig.yaml --board board.yaml --report touch.html      (the window says what to touch)\n"
        "  usthand validate --session session/ --board board.yaml --report touch.html\n"
        "  usthand validate --session session/ --board board.yaml --estimator ust-hand --json",
    )
    parser.add_argument("rig", type=Path, nargs="?", help="rig.yaml of live cameras, or a folder with one")
    parser.add_argument("--session", type=Path, metavar="DIR", help="a recorded session of touches, instead")
    parser.add_argument("--board", type=Path, required=True, metavar="BOARD.yaml", help="the board that is touched")
    parser.add_argument(
        "--corners", nargs="+", metavar="A1", help="that are touched (default: the outermost four and the middle)"
    )
    parser.add_argument("--hand", choices=("right", "left", "both"), default="both", help="live (default: %(default)s)")
    parser.add_argument("--fingers", nargs="+", choices=FINGERS, metavar="F", help=f"live: of {', '.join(FINGERS)}")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write the report, one file for a paper")
    add_estimator_flags(parser)
    add_detector_flag(parser)


def run(args: argparse.Namespace) -> int:
    if (args.rig is None) == (args.session is None):
        raise UserError("give either the rig.yaml of live cameras, or `--session DIR` of a recording.")
    if args.report is not None:
        check_can_write(args.report, f"`--report {args.report}`")
    board = read_printed_board(args.board)
    targets = targets_of(board, args.corners)
    if args.rig is not None:
        rig = read_rig(args.rig)
        track, folder, latency_ms = run_touch_test(args, rig, board, targets)
        print(f"touches: {folder}")
        return _report(args, track, board, targets, rig, f"live, kept in {folder.name}", latency_ms)
    session = check_session(args.session)
    track = _track_of(args, session, board)
    return _report(args, track, board, targets, session.rig, f"session {session.path.resolve().name}", None)


def _track_of(args: argparse.Namespace, session: Session, board: Board) -> TouchTrack:
    rig = recorded_rig(session)
    recording = Recording(session, rig, recorded_phases_of(session, rig))
    checkpoint = checkpoint_of(args)
    detector = make_detector(detector_of(args), args.engine if args.estimator == "mediapipe" else "auto")
    sets = max(len(session.frame_times_ns(name)) for name in session.camera_ids)

    def make(rig: Rig) -> Estimator:
        return make_estimator(
            args.estimator, rig, checkpoint=checkpoint, engine=args.engine, detector=detector, hands=args.hands
        )

    with tqdm(total=sets, unit="set", file=sys.stderr, disable=None) as bar:
        return touch_track(recording, board, make, bar.update)


def _report(
    args: argparse.Namespace,
    track: TouchTrack,
    board: Board,
    targets: list[Target],
    rig: Rig,
    data: str,
    latency_ms: dict[str, float] | None,
) -> int:
    """Print what the touches say, and write the report."""
    touches = find_touches(track, targets)
    figures = {
        "date": datetime.date.today().isoformat(),
        "method": args.estimator,
        "definition": track.definition,
        "data": data,
        "rig_id": rig.rig_id,
        "cameras": len(rig.cameras),
        "sets": len(track),
        "sets_with_hand": int(track.given.any(1).sum()),
        "sets_with_board": int(track.measured.sum()),
        "corners": [target.name for target in targets],
        "capture_mm": round(1e3 * TouchSettings().capture_m(targets), 1),
        "latency_ms": latency_ms,
        **touch_figures(track, touches, targets),
        "command": shlex.join(["usthand", *sys.argv[1:]]),
    }
    _print(figures)
    if args.report is not None:
        write_atomic(args.report, report_html(figures, board).encode())
        print(f"report: {args.report}")
    if args.json:
        print(json.dumps(figures, allow_nan=False))
    return 0


def _print(figures: dict[str, Any]) -> None:
    whole = figures["all"]
    print(
        f"{whole['touches']} touches in {figures['sets']} frame sets, {figures['sets_with_board']} with the board, "
        f"{figures['sets_with_hand']} with a hand"
    )
    print(f"{'mm':16}{'touches':>9}{'in the plane':>14}{'95 %':>8}{'normal':>9}{'pad':>7}")
    for name, each in [*figures["fingers"].items(), ("all", whole)]:
        cells = "".join(
            f"{'-' if each[key] is None else format(each[key], '.1f'):>{width}}"
            for key, width in (("plane_mm", 14), ("plane_mm_p95", 8), ("normal_mm", 9), ("pad_mm", 7))
        )
        print(f"{name:16}{each['touches']:>9}{cells}")
    print(f"jitter at rest {figures['jitter_mm']} mm, dropouts {100 * figures['dropouts']:.1f} %")
