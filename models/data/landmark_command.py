"""Programs that keep what a landmark network makes of a crop cache beside it."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from calibration.programs import exit_code
from models.data.crop_cache import read_manifest
from models.network.landmark_net import LandmarkNet, read_landmark_net


def add_to_cache(module: str, add: Callable[[Path, LandmarkNet], object]) -> int:
    """The exit code of `python -m MODULE WEIGHTS CACHE`, which adds to the cache's shards."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("cache", type=Path, metavar="CACHE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def run() -> int:
        read_manifest(args.cache)
        add(args.cache, read_landmark_net(args.weights))
        return 0

    return exit_code(run)
