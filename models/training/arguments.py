"""The arguments of a training, for the command line and for the processes that it starts. Loads no torch."""

import argparse
from pathlib import Path

from calibration.arguments import words
from models.network.config import PARTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="YAML file of settings, `data` and `output` at least"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of the run (default: CONFIG's)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in that folder was interrupted")
    parser.add_argument("--without", metavar="PART", help=f"train without a part, for an ablation: {', '.join(PARTS)}")


def to_words(args: argparse.Namespace) -> list[str]:
    """The same arguments as words."""
    return [str(args.config), *words(args, ("output", "resume", "without"))]
