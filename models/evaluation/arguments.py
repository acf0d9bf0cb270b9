"""The arguments of an evaluation, for the command line and for the process that it starts. Loads no torch."""

import argparse
from pathlib import Path

from calibration.arguments import words
from models.network.config import PARTS
from models.simulation.detector_noise import GRADES

DEFAULTS = {"windows": 400, "seed": 0}
"""Set by the process that evaluates, so that the command line knows what was given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All but `--json`."""
    parser.add_argument(
        "--checkpoint",
        default="shipped",
        metavar="C",
        help="a file that `usthand train` wrote (default: shipped)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="D",
        help="what `simulate-crops` made, a session with truth, or recorded sessions",
    )
    parser.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="views per window (default: all, and a table by number)",
    )
    parser.add_argument("--labels", choices=sorted(GRADES), help="new labels of this grade, for the DLT of the labels")
    parser.add_argument("--ablate", choices=PARTS, metavar="PART", help=f"switch a part off: {', '.join(PARTS)}")
    parser.add_argument("--windows", type=int, metavar="N", help=f"windows at most (default: {DEFAULTS['windows']})")
    parser.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help=f"of windows and labels (default: {DEFAULTS['seed']})",
    )
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page with PCK curves and worst cases")


def to_words(args: argparse.Namespace) -> list[str]:
    """The same arguments as words."""
    return words(args, ("checkpoint", "data", "views", "labels", "ablate", "windows", "seed", "report"))
