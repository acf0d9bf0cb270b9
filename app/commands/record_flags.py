"""The flags of a recording, which `record` and `live --record` share."""

import argparse
from pathlib import Path

from app.commands.common import positive
from app.recording.disk import DiskSpace
from app.run.record_settings import RecordSettings
from app.sources.video_file import is_video_file
from app.transport.sockets import check_listen, is_loopback
from calibration.camera_source import OpenCvSource
from calibration.errors import UserError, write_error
from calibration.rig import Rig

_DEFAULTS = RecordSettings(folder="")
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium")
_LONGEST_PRE_ROLL_S = 60.0


def add_record_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--lossless", action="store_true", help="FFV1: every pixel as it was, at 5 to 20 times the bytes")
    how.add_argument(
        "--copy", action="store_true", help="keep the cameras' own MJPEG or H.264 as it is, of USB and network cameras"
    )
    parser.add_argument(
        "--crf", type=int, default=_DEFAULTS.crf, help="quality of H.264, 0 to 51 (default: %(default)s)"
    )
    parser.add_argument(
        "--preset", choices=_PRESETS, default=_DEFAULTS.preset, help="slower is smaller (default: %(default)s)"
    )
    parser.add_argument(
        "--takes", action="store_true", help="record when asked: by the viewer's `r`, a request, or a camera's line"
    )
    parser.add_argument(
        "--pre-roll", type=positive, metavar="S", help="with --takes: a take begins S seconds before it is asked for"
    )
    parser.add_argument(
        "--control", metavar="ADDRESS", help="hear requests there (docs/messages.md): tcp://127.0.0.1:PORT"
    )
    parser.add_argument(
        "--reserve-mb",
        type=int,
        default=_DEFAULTS.reserve_mb,
        metavar="MB",
        help="end while so much of the disk is free (%(default)s)",
    )


def record_settings(args: argparse.Namespace, rig: Rig, folder: Path) -> RecordSettings:
    """From the flags. Raises UserError where they contradict each other, or `folder` cannot be recorded to."""
    for camera in rig.cameras if args.copy else ():
        if not isinstance(camera.source, OpenCvSource) or is_video_file(camera.source.device):
            raise UserError(
                f"`--copy`: camera `{camera.camera_id}` has no stream of its own that can be copied; USB cameras with "
                "MJPEG or H.264, and network cameras (rtsp, http, udp) have one. Leave `--copy` out."
            )
    if args.pre_roll is not None and not args.takes:
        raise UserError("`--pre-roll` is the time before a take is asked for: give `--takes` as well.")
    if args.pre_roll is not None and args.pre_roll > _LONGEST_PRE_ROLL_S:
        raise UserError(f"`--pre-roll {args.pre_roll:g}`: at most {_LONGEST_PRE_ROLL_S:g} seconds are kept.")
    if not 0 <= args.crf <= 51:
        raise UserError(f"`--crf {args.crf}`: 0 to 51, lower is better.")
    if args.reserve_mb < 1:
        raise UserError(f"`--reserve-mb {args.reserve_mb}`: at least 1 MB, so that a recording can be finished.")
    if args.control is not None:
        if not is_loopback(args.control):
            raise UserError(
                f"`--control {args.control}`: requests are heard on this host only. Give tcp://127.0.0.1:PORT."
            )
        check_listen(args.control)
    _check_folder(folder, args.takes, args.reserve_mb)
    return RecordSettings(
        folder=str(folder.resolve()),
        takes=args.takes,
        codec="ffv1" if args.lossless else "copy" if args.copy else "h264",
        crf=args.crf,
        preset=args.preset,
        pre_roll_s=args.pre_roll or 0.0,
        control=args.control,
        reserve_mb=args.reserve_mb,
    )


def _check_folder(folder: Path, takes: bool, reserve_mb: int) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file. Give the name of a folder.")
        if folder.exists() and any(folder.iterdir()) and not takes:
            raise UserError(f"{folder}: is there already. Give another folder, or remove it first.")
        if folder.exists() and (folder / "session.yaml").exists():
            raise UserError(f"{folder}: is a session. Give a folder for takes.")
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".usthand-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise write_error(f"{folder}: cannot be written ({error.strerror}). Give another folder.", error) from None
    left = DiskSpace(folder, reserve_mb * 10**6).left
    if left <= 0:
        raise UserError(
            f"{folder}: only {(left + reserve_mb * 10**6) // 10**6} MB of the disk are free, and {reserve_mb} stay so. "
            "Make room, give a folder on another disk, or a smaller `--reserve-mb`."
        )
