"""`usthand convert`: recorded hands in the files of other programs."""

import argparse
import json
import re

from app.commands.common import add_command, file_name, positive
from app.convert.conversion import convert
from app.convert.formats import FORMATS
from app.convert.up import UPS

_FORMATS_HELP = "endings of OUT:\n" + "\n".join(f"  {ending:14} {known.title}" for ending, known in FORMATS.items())


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "convert",
        run,
        "recorded hands for Blender, OpenSim, Unity, MATLAB, pandas: by the ending of OUT",
        "  usthand replay session/ --fast --no-viewer --poses poses.npz\n"
        "  usthand convert poses.npz hands.bvh                  (Blender, Maya, Unreal)\n"
        "  usthand convert poses.npz hands.glb                  (Blender, Unity, a browser: with a mesh)\n"
        "  usthand convert poses.npz hands.c3d --fill 100       (gaps up to 100 ms are interpolated)\n"
        "  usthand convert poses.npz hands.trc                  (OpenSim; hands.mot has the joint angles)\n"
        "  usthand convert poses.npz hands.csv --smooth         (pandas, R, MATLAB)\n"
        "  usthand convert poses.npz hands.bvh --join           (one person: one left and one right hand)\n\n"
        f"{_FORMATS_HELP}",
    )
    parser.add_argument(
        "poses", type=file_name, metavar="POSES", help="a file of `usthand replay SESSION --poses poses.npz`"
    )
    parser.add_argument("out", type=file_name, metavar="OUT", help="the file to write; its ending says the format")
    parser.add_argument(
        "--fill",
        type=_milliseconds,
        metavar="MS",
        help="interpolate gaps of up to MS milliseconds, and mark them (default: gaps stay gaps)",
    )
    # Else `--up -y` would have to be `--up=-y`.
    parser._negative_number_matcher = re.compile(r"-(\d+|\d*\.\d+|[xyz])$")
    parser.add_argument(
        "--up",
        choices=UPS,
        default="z",
        metavar="AXIS",
        help=f"the axis of the rig's world that points up, of {' '.join(UPS)}: z where its origin board lay flat, -y "
        "where the world is the first camera's; in the file z, or y, is up (default: z)",
    )
    parser.add_argument(
        "--smooth",
        action="store_true",
        help="smooth over time, each joint by its covariance, without delay (default: as measured)",
    )
    parser.add_argument(
        "--join",
        action="store_true",
        help="of one person: what was followed under several numbers, since it was lost and found again, is one hand "
        "of each side (default: each number is a hand)",
    )


def _milliseconds(text: str) -> float:
    try:
        return positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}: milliseconds, for example --fill 100") from None


def run(args: argparse.Namespace) -> int:
    summary = convert(args.poses, args.out, fill_ms=args.fill or 0.0, smoothed=args.smooth, up=args.up, join=args.join)
    print_conversion(summary)
    if args.json:
        print(json.dumps(summary))
    return 0


def print_conversion(summary: dict) -> None:
    print(f"{summary['out']}: {summary['frames']} frames at {summary['rate_hz']:.6g} Hz")
    for hand in summary["hands"]:
        said = f"  {hand['name']}: there in {hand['frames']} of these, gaps between: {hand['gaps']}"
        if summary["fill_ms"]:
            said += f", interpolated: {hand['filled']} (gaps up to {summary['fill_ms']:g} ms)"
        print(said)
    if summary["smoothed"]:
        print("  smoothed over time: joints differ from those measured")
    if summary["up"] != "z":
        print(f"  turned, so that {summary['up']} of the rig's world points up")
    if summary.get("validity"):
        print(f"  {summary['validity']}: in which frames a hand was measured, which the format cannot say")
