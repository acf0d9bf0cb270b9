"""`usthand demo`: a simulated rig through the whole live path."""

import argparse

from app.commands.common import add_command, add_view_flags, check_publish, report, run_rig, viewer_settings
from app.run import RunSettings
from calibration.errors import UserError
from calibration.rig import MAX_CAMERAS
from models.simulation.rig import ring_rig


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "demo",
        run,
        "a simulated rig through the whole live path, with simulated detections",
        "  usthand demo\n  usthand demo --headless demo.mp4 --seconds 10 --json",
    )
    parser.add_argument("--cameras", type=int, default=4, help="2 to 8 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the detector's noise (default: %(default)s)")
    add_view_flags(parser)


def run(args: argparse.Namespace) -> int:
    if not 2 <= args.cameras <= MAX_CAMERAS:
        raise UserError(f"`--cameras {args.cameras}`: a rig has 2 to {MAX_CAMERAS} cameras.")
    check_publish(args.publish)
    settings = RunSettings(estimator="simulated", seed=args.seed, publish=args.publish)
    viewer = viewer_settings(args, "UST-Hand live: demo (simulated detections)")
    print("simulated cameras and simulated detections: joints of a simulated hand, projected, with noise")
    return report(run_rig(ring_rig(args.cameras), settings, viewer, args.seconds), args.json)
