"""`usthand live`: the live viewer on a calibrated rig."""

import argparse
from pathlib import Path

from app.commands.common import (
    add_body_flag,
    add_command,
    add_detector_flag,
    add_estimator_flags,
    add_overlap_flag,
    add_view_flags,
    body_of,
    check_live_rig,
    detector_of,
    positive,
    report,
    run_rig,
    run_settings,
    viewer_settings,
)
from app.commands.poses_flag import add_poses_flag, convert_poses, pose_file_of
from app.commands.record import print_recording
from app.commands.record_flags import add_record_flags, record_settings
from app.run.policy import LivePolicy
from app.run.record_settings import RecordSettings
from app.transport.keys import Keys
from app.transport.sockets import check_listen
from calibration.camera_source import SimulatedSource
from calibration.errors import UserError
from calibration.rig import Rig, read_rig


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "live",
        run,
        "3D hands live from the cameras of a rig",
        "  usthand live rig.yaml\n  usthand live rig.yaml --no-viewer --publish tcp://127.0.0.1:5555\n"
        "  usthand live rig.yaml --stream vmc:// --stream ws://127.0.0.1:8765 --predict 50   (docs/streams.md)\n"
        "  usthand live rig.yaml --record session/   (with the poses; see `usthand record --help`)\n"
        "  usthand live rig.yaml --record takes/ --takes --pre-roll 3   (`r` begins and ends a take, `k` marks)\n"
        "  usthand live rig.yaml --listen tcp://0.0.0.0:5600 --keys keys/   (cameras with `remote: true`)",
    )
    parser.add_argument("rig", type=Path, help="rig.yaml, or a folder with one")
    add_estimator_flags(parser)
    add_detector_flag(parser)
    add_body_flag(parser)
    add_overlap_flag(parser)
    parser.add_argument(
        "--max-age-ms",
        type=positive,
        default=LivePolicy().max_age_ms,
        help="older frames are never shown (%(default)s)",
    )
    parser.add_argument("--listen", metavar="ADDRESS", help="where remote grabbers connect, tcp://HOST:PORT")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder of CURVE keys, see `usthand keys`")
    add_view_flags(parser)
    add_poses_flag(parser)
    parser.add_argument("--record", type=Path, metavar="DIR", help="record the cameras and the poses into a session")
    add_record_flags(parser.add_argument_group("recording, with --record"))


def run(args: argparse.Namespace) -> int:
    rig = read_rig(args.rig)
    remote = [camera.camera_id for camera in rig.cameras if camera.remote]
    if remote and not args.listen:
        raise UserError(
            f"{args.rig}: on other machines: {', '.join(remote)}. Give `--listen tcp://HOST:PORT` for their grabbers."
        )
    check_live_rig(rig, args.rig)
    keys = Keys(args.keys) if args.keys else None
    if args.listen:
        check_listen(args.listen, keys, of_grabbers=True)
    record = _recording(args, rig)
    viewer = viewer_settings(args, f"UST-Hand live: {args.rig}")
    pose_file = pose_file_of(args)
    settings = run_settings(
        args,
        detector=detector_of(args),
        body=body_of(args),
        overlap=args.overlap,
        policy=LivePolicy(max_age_ms=args.max_age_ms),
        listen=args.listen,
        keys=str(args.keys.resolve()) if args.keys else None,
        record=record,
        poses=pose_file,
    )
    outcome = run_rig(rig, settings, viewer, args.seconds)
    outcome = convert_poses(args, outcome)
    if "recording" in outcome.summary:
        print_recording(outcome.summary["recording"])
    if outcome.summary and not outcome.summary["sets_with_hand"] and args.estimator != "simulated" and _drawn(rig):
        outcome.summary["notes"].append(
            f"{args.rig} has simulated cameras, which draw skeletons: only `--estimator simulated` sees hands in them."
        )
    return report(outcome, args.json)


def _drawn(rig: Rig) -> bool:
    sources = [camera.source for camera in rig.cameras]
    return any(isinstance(each, SimulatedSource) and each.images is None and each.screen is None for each in sources)


def _recording(args: argparse.Namespace, rig: Rig) -> RecordSettings | None:
    if args.record is not None:
        return record_settings(args, rig, args.record)
    for flag in ("lossless", "copy", "takes", "pre_roll", "control"):
        if getattr(args, flag):
            raise UserError(f"`--{flag.replace('_', '-')}` is of a recording: give `--record DIR` as well.")
    return None
