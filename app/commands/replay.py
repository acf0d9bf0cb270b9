"""`usthand replay`: a recorded session through the live path, at recorded speed or as fast as possible."""

import argparse
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from app.assembly.phases import recorded_phases
from app.commands.common import (
    add_command,
    add_estimator_flags,
    add_view_flags,
    report,
    run_rig,
    run_settings,
    viewer_settings,
)
from app.run.policy import ReplayPolicy
from calibration.camera_source import RecordedSource
from calibration.errors import UserError
from calibration.rig import Rig, SyncSettings
from calibration.session import Session, check_session


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "replay",
        run,
        "play a recorded session through the live path; no set is skipped",
        "  usthand replay session/\n  usthand replay session/ --fast --no-viewer --poses poses.npz --json\n"
        "  usthand replay session/ --estimate-offsets --headless hands.mp4",
    )
    parser.add_argument("session", type=Path, help="a session directory (make one with `usthand import`)")
    add_estimator_flags(parser)
    parser.add_argument("--fast", action="store_true", help="as fast as possible, not at the recorded speed")
    parser.add_argument(
        "--poses", type=Path, metavar="OUT.npz", help="write time, hand, joints, covariance, confidence"
    )
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
    if args.poses is not None and args.poses.suffix != ".npz":
        raise UserError(f"`--poses {args.poses}`: the name must end in `.npz`.")
    if args.poses is not None and args.poses.is_dir():
        raise UserError(f"`--poses {args.poses}` is a folder. Give the name of a file.")
    viewer = viewer_settings(args, f"UST-Hand live: {args.session}")
    session = check_session(args.session)
    rig = recorded_rig(session)
    settings = run_settings(
        args,
        policy=ReplayPolicy(
            pace="fast" if args.fast else "recorded",
            viewers=0 if viewer is None else 1,
            shows_every_set=viewer is not None and viewer.headless is not None,
        ),
        sets=args.sets,
        poses=str(args.poses.resolve()) if args.poses else None,
        phases_ns=recorded_phases_of(session, rig),
    )
    offsets_ms = None
    if args.estimate_offsets and not session.rig.time_offsets_known:
        fast = ReplayPolicy(pace="fast")
        alone = {"policy": fast, "estimate_offsets": True, "publish": None, "poses": None, "mesh": False}
        first = run_rig(rig, msgspec.structs.replace(settings, **alone), None)
        offsets_ms = first.summary.get("time_offsets_ms")
        if first.exit_code or offsets_ms is None:
            return first.exit_code or 1
        rig = rig.with_time_offsets({camera_id: round(offset * 1e6) for camera_id, offset in offsets_ms.items()})
        settings = msgspec.structs.replace(settings, phases_ns=recorded_phases_of(session, rig))
    outcome = run_rig(rig, settings, viewer, args.seconds)
    if outcome.summary and offsets_ms is not None:
        outcome.summary["time_offsets_ms"] = offsets_ms
    return report(outcome, args.json)


def recorded_rig(session: Session) -> Rig:
    """The session's rig with its recorded cameras as sources, matched by time at the recording's rate."""
    path = str(session.path.resolve())
    cameras = tuple(
        replace(camera, source=RecordedSource(path, camera.camera_id), remote=False) for camera in session.rig.cameras
    )
    steps_ns = [np.diff(session.frame_times_ns(camera_id)) for camera_id in session.camera_ids]
    periods_ns = [float(np.median(steps)) for steps in steps_ns if len(steps)]
    fps = 1e9 / min(periods_ns) if periods_ns else None
    sync = SyncSettings("time", fps, session.rig.sync.tolerance_ms, session.rig.sync.deadline_ms)
    return replace(session.rig, cameras=cameras, sync=sync)


def recorded_phases_of(session: Session, rig: Rig) -> dict[str, int] | None:
    """What to take off each camera's times, besides its time offset, to match frames; None where the rate is unknown.

    Time offsets regroup frames by whole periods only: the estimator bridges the rest, and a set keeps the frames that
    were recorded together.
    """
    if rig.sync.fps is None:
        return None
    period_ns = 1e9 / rig.sync.fps
    times_ns = {camera_id: session.frame_times_ns(camera_id) for camera_id in session.camera_ids}
    phases_ns = recorded_phases(times_ns, period_ns)
    for camera in rig.cameras:
        periods = round(camera.time_offset_ns / period_ns)
        phases_ns[camera.camera_id] += round(periods * period_ns) - camera.time_offset_ns
    return phases_ns
