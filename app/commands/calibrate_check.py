"""`usthand calibrate --check`: has a camera moved since the rig was calibrated?"""

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

from app.commands.calibrate_session import board_path, detect_board
from app.commands.calibrate_summary import rounded
from app.commands.printed_board import read_printed_board
from calibration.board.hints import another_board
from calibration.errors import UserError
from calibration.formats import read_any
from calibration.rig import Rig
from calibration.rig_backup import replace_rig
from calibration.session import Session, check_session
from calibration.solve.drift import CameraDrift, DriftReport, check_drift
from calibration.solve.input_checks import check_rig_sizes


def run_check(args: argparse.Namespace) -> int:
    session = check_session(args.check, calibrated=args.rig is None)
    board = read_printed_board(board_path(args.board, session))
    rig = session.rig if args.rig is None else read_any(args.rig)
    _require_cameras(rig, session, args)
    check_rig_sizes(rig, session.image_sizes)
    started = time.perf_counter()
    detections = detect_board(session, board)
    try:
        drift = check_drift(rig, detections, board)
    except UserError as error:
        hint = another_board(session, board)
        raise UserError(f"{error} {hint}" if hint else str(error)) from None
    seconds = time.perf_counter() - started
    written = args.output if drift.rig is not None else None
    backup = None
    if written is not None and drift.rig is not None:
        backup = replace_rig(written, drift.rig)
    summary = _summary(drift) | {
        "rig": None if written is None else str(written),
        "rig_before": None if backup is None else str(backup),
        "seconds": round(seconds, 3),
    }
    _print(summary, args.output is not None)
    if args.json:
        print(json.dumps(summary, allow_nan=False))
    return 0


def _require_cameras(rig: Rig, session: Session, args: argparse.Namespace) -> None:
    missing = [camera_id for camera_id in rig.camera_ids if camera_id not in session.camera_ids]
    if missing:
        raise UserError(
            f"`--rig {args.rig}`: has camera {', '.join(missing)}, which the session has not "
            f"({', '.join(session.camera_ids)}). Check a session of this rig's cameras, under the same ids."
        )


def _summary(drift: DriftReport) -> dict[str, Any]:
    return {
        "verdict": drift.verdict,
        "moved": list(drift.moved),
        "cameras": {camera_id: _camera(one) for camera_id, one in drift.cameras.items()},
        "rmse_px_before": rounded(drift.before_px),
        "rmse_px_after": rounded(drift.after_px),
        "scale_percent": rounded(drift.scale_percent),
        "note": drift.note,
    }


def _camera(one: CameraDrift) -> dict[str, Any]:
    plain = asdict(one)
    del plain["camera_id"]
    return {key: rounded(value) if isinstance(value, float) else bool(value) for key, value in plain.items()}


def _print(summary: dict[str, Any], asked_to_write: bool) -> None:
    note = summary["note"]
    print(f"{note[:1].upper()}{note[1:].rstrip('.')}.")
    for camera_id, one in summary["cameras"].items():
        if one["distance_mm"] is None:
            print(f"  {camera_id}: not known")
            continue
        state = "MOVED" if one["moved"] else "in its place"
        print(
            f"  {camera_id}: {state}; {one['distance_mm']:.1f} ± {one['distance_std_mm']:.1f} mm, "
            f"{one['angle_deg']:.2f} ± {one['angle_std_deg']:.2f} degrees, "
            f"{one['effect_px']:.1f} px at the board's distance"
        )
    print(f"error with the rig as it is: {summary['rmse_px_before']} px RMS", end="")
    print(f"; with the moved cameras solved again: {summary['rmse_px_after']} px" if summary["moved"] else "")
    if summary["rig"]:
        print(f"rig: {summary['rig']}" + (f" (before: {summary['rig_before']})" if summary["rig_before"] else ""))
    elif asked_to_write:
        print("no rig was written: there is none that would be better")
    elif summary["moved"]:
        print("nothing was written; `-o rig.yaml` writes the rig with these cameras solved again")
