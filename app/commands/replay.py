"""`usthand replay`: a recorded session through the live path, at recorded speed or as fast as possible."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from tqdm import tqdm

from app.assembly.recorded_sets import recorded_sets
from app.assembly.session_part import SessionPart, cameras_named
from app.commands.common import (
    add_body_flag,
    add_command,
    add_detector_flag,
    add_estimator_flags,
    add_view_flags,
    body_of,
    check_output,
    detector_of,
    report,
    run_rig,
    run_settings,
    viewer_settings,
)
from app.commands.poses_flag import add_poses_flag, convert_poses, pose_file_of
from app.run.policy import ReplayPolicy
from app.run.supervisor import ViewerSettings
from app.viewer.pose_overlay import write_pose_overlay
from calibration.errors import UserError
from calibration.session import Session, check_session


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "replay",
        run,
        "play a recorded session through the live path; no set is skipped",
        "  usthand replay session/\n  usthand replay session/ --fast --no-viewer --poses poses.npz --json\n"
        "  usthand replay session/ --fast --no-viewer --poses hands.bvh\n"
        "  usthand replay session/ --estimate-offsets --headless hands.mp4\n"
        "  usthand replay session/ --from 12 --to 20 --every 2 --cameras cam_0,cam_2 --overlay overlay.mp4\n"
        "  usthand replay session/ --stream osc://127.0.0.1:9000 --no-viewer\n"
        "  usthand replay session/ --as-published --poses poses.npz    (what `usthand live --record` published)",
    )
    parser.add_argument("session", type=Path, help="a session directory (make one with `usthand import`)")
    add_estimator_flags(parser)
    add_detector_flag(parser)
    add_body_flag(parser)
    parser.add_argument("--fast", action="store_true", help="as fast as possible, not at the recorded speed")
    add_poses_flag(parser)
    parser.add_argument("--sets", type=int, metavar="N", help="end after N frame sets")
    parser.add_argument("--from", type=float, metavar="S", dest="from_s", help="begin S seconds from the first frame")
    parser.add_argument("--to", type=float, metavar="S", dest="to_s", help="end S seconds from the first frame")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="play one of N sets")
    parser.add_argument(
        "--cameras", metavar="A,B", help="play these cameras only, two at least; a name with a comma in double quotes"
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="the very sets that were estimated while `usthand live --record` recorded them",
    )
    parser.add_argument(
        "--overlay", type=Path, metavar="OUT.mp4", help="then draw the hands into every camera's images, full size"
    )
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
    check_output(args.overlay, ".mp4")
    session = check_session(args.session)
    part = SessionPart(
        from_s=args.from_s,
        to_s=args.to_s,
        every=args.every,
        cameras=cameras_named(args.cameras) if args.cameras else (),
        published=args.as_published,
    )
    part.check(session)
    with contextlib.ExitStack() as stack:
        return _replay(args, session, part, viewer, pose_file, stack)


def _replay(
    args: argparse.Namespace,
    session: Session,
    part: SessionPart,
    viewer: ViewerSettings | None,
    pose_file: str | None,
    stack: contextlib.ExitStack,
) -> int:
    rig = part.rig(session)
    poses = pose_file
    if poses is None and args.overlay is not None:
        poses = f"{stack.enter_context(tempfile.TemporaryDirectory())}/poses.npz"
    settings = run_settings(
        args,
        detector=detector_of(args),
        body=body_of(args),
        policy=ReplayPolicy(
            pace="fast" if args.fast else "recorded",
            viewers=(viewer is not None) + len(args.stream),
            shows_every_set=viewer is not None and viewer.file is not None,
        ),
        sets=args.sets,
        every=part.every,
        poses=poses,
        phases_ns=part.phases_ns(session, rig),
    )
    total = min(part.sets(session, rig), args.sets or sys.maxsize)
    offsets_ms = None
    if args.estimate_offsets and not session.rig.time_offsets_known:
        fast = ReplayPolicy(pace="fast")
        alone = {
            "policy": fast,
            "estimate_offsets": True,
            "publish": None,
            "events": None,
            "streams": [],
            "poses": None,
            "mesh": False,
            "body": False,
        }
        with progress_bar("time offsets", total) as at:
            first = run_rig(rig, msgspec.structs.replace(settings, **alone), None, on_progress=at)
        offsets_ms = first.summary.get("time_offsets_ms")
        if first.exit_code or offsets_ms is None:
            return first.exit_code or 1
        rig = rig.with_time_offsets({camera_id: round(offset * 1e6) for camera_id, offset in offsets_ms.items()})
        settings = msgspec.structs.replace(settings, phases_ns=part.phases_ns(session, rig))
    with progress_bar("replay", total) as at:
        outcome = run_rig(rig, settings, viewer, args.seconds, on_progress=at)
    if args.overlay is not None and outcome.exit_code == 0 and poses is not None:
        sets = recorded_sets(session, rig, settings.phases_ns)
        with progress_bar("overlay", total) as at:
            pictures = write_pose_overlay(rig, sets, Path(poses), args.overlay, part.every, at)
        outcome.summary["overlay"] = {"video": str(args.overlay), "pictures": pictures}
    if args.poses is None:
        outcome.summary.pop("poses", None)
    if outcome.summary and offsets_ms is not None:
        outcome.summary["time_offsets_ms"] = offsets_ms
    return report(convert_poses(args, outcome), args.json, in_time=not args.fast)


@contextlib.contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """On a terminal, with the time left; what it gives is called with how many sets there were."""
    with tqdm(desc=what, total=total, unit=" sets", file=sys.stderr, disable=None) as bar:

        def at(count: int) -> None:
            bar.update(count - bar.n)

        yield at
