"""The crops of a labelled session, to train on: see models/data/session_cache.py.

python -m models.data.cache_session SESSION OUT
"""

import argparse
import json
import sys
from pathlib import Path

from calibration.programs import exit_code
from models.data.crop_cache import MARGIN
from models.data.session_cache import cache_session


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.data.cache_session", description=__doc__)
    parser.add_argument("session", type=Path, help="with labels.npz, of `usthand label`")
    parser.add_argument("out", type=Path, help="the crop cache to make")
    parser.add_argument("--size", type=int, default=128, metavar="PX", help="of the network's crops (%(default)s)")
    parser.add_argument("--upright", action="store_true", help="turned as recipe `live` takes them: give --size 224")
    parser.add_argument("--json", action="store_true", help="print one machine-readable object as the last line")
    return parser


def main() -> int:
    args = make_parser().parse_args()
    return exit_code(lambda: run(args), place=args.out)


def run(args: argparse.Namespace) -> int:
    size_px = round(args.size * MARGIN)
    crops = cache_session(args.session, args.out, size_px, args.upright)
    sys.stdout.write(f"{args.out}: {crops} crops of {size_px} pixels\n")
    if args.json:
        sys.stdout.write(json.dumps({"crops": crops, "size_px": size_px}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
