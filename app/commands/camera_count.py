"""How many cameras a simulated rig is to have."""

import argparse

from app.commands.common import positive
from calibration.camera_source import MAX_CAMERAS
from calibration.errors import UserError


def add_camera_count(parser: argparse.ArgumentParser, default: int = 4) -> None:
    """`--cameras`, which `check_camera_count` is to look at."""
    said = f"2 to {MAX_CAMERAS} (%(default)s)"
    parser.add_argument("--cameras", type=int, default=default, metavar="N", help=said)


def add_camera_size(parser: argparse.ArgumentParser) -> None:
    """`--fps`, `--width` and `--height` of each."""
    parser.add_argument("--fps", type=positive, default=30.0, help="of each (%(default)s)")
    parser.add_argument("--width", type=int, choices=range(160, 4097), default=1280, metavar="PX", help="(%(default)s)")
    parser.add_argument("--height", type=int, choices=range(120, 4097), default=720, metavar="PX", help="(%(default)s)")


def check_camera_count(cameras: int) -> None:
    """Of `--cameras`. Raises UserError for a number that no rig has."""
    if not 2 <= cameras <= MAX_CAMERAS:
        raise UserError(f"`--cameras {cameras}`: a rig has 2 to {MAX_CAMERAS} cameras.")
