"""`usthand bench record`: what recording costs by encoder setting, and whether frames are lost."""

import argparse
import json
import logging
import tempfile
from pathlib import Path

from app.commands.camera_count import add_camera_count, add_camera_size, check_camera_count
from app.commands.common import add_command, positive, run_rig
from calibration.written_files import check_can_write

log = logging.getLogger(__name__)

_SETTINGS = ("ultrafast", "superfast", "veryfast", "lossless", "copy")


def add_record(parts) -> None:
    parser = add_command(
        parts,
        "record",
        run,
        "recording of MJPEG cameras by encoder setting: frames dropped, cores of the encoders, bytes",
        "  usthand bench record\n  usthand bench record --settings copy --cameras 8 --seconds 60 --json",
    )
    parser.add_argument(
        "--settings", nargs="+", choices=_SETTINGS, default=_SETTINGS, metavar="NAME", help=", ".join(_SETTINGS)
    )
    add_camera_count(parser)
    add_camera_size(parser)
    parser.add_argument("--seconds", type=positive, default=60.0, help="of each recording (%(default)s)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="on the disk to record to (default: the system's)")


def run(args: argparse.Namespace) -> int:
    from app.bench.record import bench

    check_camera_count(args.cameras)
    if args.folder is not None:
        check_can_write(args.folder / "recording", f"`--folder {args.folder}`")
    rows = []
    print("setting    frames  dropped  encoders  all cores   MB/s")
    for name in args.settings:
        with tempfile.TemporaryDirectory(dir=args.folder, prefix="usthand-bench-") as folder:
            row = bench(
                name,
                args.cameras,
                (args.width, args.height),
                args.fps,
                args.seconds,
                Path(folder) / "session",
                lambda rig, settings: run_rig(rig, settings, None, args.seconds),
            )
        if row is None:
            log.error("%s: the recording failed, for the reason above", name)
            return 1
        rows.append(row)
        encoders = row["cores"].get("encoder", 0.0)
        print(
            f"{name:9} {row['frames']:7d} {row['dropped']:8d} {encoders:9.2f} {row['all_cores']:10.2f} "
            f"{row['mb_per_s']:6.1f}"
        )
    if args.json:
        print(json.dumps({"rows": rows}))
    return 0
