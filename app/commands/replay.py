"""`usthand replay`: a recorded session through the live path, at recorded speed or as fast as possible."""

import argparse
from pathlib import Path

import msgspec

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.commands.common import (
    add_command,
    add_detector_flag,
    add_estimator_flags,
    add_view_flags,
    detector_of,
    report,
    run_rig,
    run_settings,
    viewer_settings,
)
from app.commands.poses_flag import add_poses_flag, convert_poses, pose_file_of
from app.run.policy import ReplayPolicy
from calibration.errors import UserError
from calibration.session import check_session


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "replay",
        run,
        "play a recorded session through the live path; no set is skipped",
        "  usthand replay session/\n  usthand replay session/ --fast --no-viewer --poses poses.npz --json\n"
        "  usthand replay session/ --fast --no-viewer --poses hands.bvh\n"
        "  usthand replay session/ --estimate-offsets --headless hands.mp4",
    )
    parser.add_argument("session", type=Path, help="a session directory (make one with `usthand import`)")
    add_estimator_flags(parser)
    add_detector_flag(parser)
    parser.add_argument("--fast", action="store_true", help="as fast as possible, not at the recorded speed")
    add_poses_flag(parser)
    parser.add_argument("--sets", type=int, metavar="N", help="end after N frame sets")
    parser.add_argument(
        "--estimate-offsets",
        action="store_true",
        help="first estimate each camera's time offset from the hands' own motion, where rig.yaml has none",
    )
    add_view_flags(parser)


def run(args: argparse.Namespace) -> int:
    if args.sets is not None and args.sets < 1:
        raise UserError(f"`--sets {args.sets}`: at least 1 set.")
    pose_file = pose_file_of(args)
    viewer = viewer_settings(args, f"UST-Hand live: {args.session}")
    session = check_session(args.session)
    rig = recorded_rig(session)
    settings = run_settings(
        args,
        detector=detector_of(args),
        policy=ReplayPolicy(
            pace="fast" if args.fast else "recorded",
            viewers=0 if viewer is None else 1,
            shows_every_set=viewer is not None and viewer.headless is not None,
        ),
        sets=args.sets,
        poses=pose_file,
        phases_ns=recorded_phases_of(session, rig),
    )
    offsets_ms = None
    if args.estimate_offsets and not session.rig.time_offsets_known:
        fast = ReplayPolicy(pace="fast")
        alone = {
            "policy": fast,
            "estimate_offsets": True,
            "publish": None,
            "events": None,
            "poses": None,
            "mesh": False,
        }
        first = run_rig(rig, msgspec.structs.replace(settings, **alone), None)
        offsets_ms = first.summary.get("time_offsets_ms")
        if first.exit_code or offsets_ms is None:
            return first.exit_code or 1
        rig = rig.with_time_offsets({camera_id: round(offset * 1e6) for camera_id, offset in offsets_ms.items()})
        settings = msgspec.structs.replace(settings, phases_ns=recorded_phases_of(session, rig))
    outcome = run_rig(rig, settings, viewer, args.seconds)
    if outcome.summary and offsets_ms is not None:
        outcome.summary["time_offsets_ms"] = offsets_ms
    convert_poses(args, outcome)
    return report(outcome, args.json)
