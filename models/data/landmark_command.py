"""Programs that keep what a landmark network makes of a crop cache beside it."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from calibration.programs import exit_code
from models.data.crop_cache import read_manifest
from models.network.landmark_net import LandmarkNet, read_landmark_net


def add_to_cache(
    parser: argparse.ArgumentParser, add: Callable[[Path, LandmarkNet, argparse.Namespace], object]
) -> int:
    """The exit code of a program of that parser's options, and WEIGHTS CACHE, which adds to the cache's shards."""
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("cache", type=Path, metavar="CACHE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def run() -> int:
        read_manifest(args.cache)
        add(args.cache, read_landmark_net(args.weights), args)
        return 0

    return exit_code(run)
