"""`usthand simulate-crops`: training data rendered straight into a crop cache."""

import argparse
import json
import logging
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from app.commands.common import add_command
from calibration.errors import UserError
from models.simulation.detector_noise import GRADES

log = logging.getLogger(__name__)

_GRADES = "moderate=0.6,noisy=0.4"
_SHARES = {
    "flat": "hands that hold something flat by its edge",
    "pinch": "hands with something small between thumb and finger",
    "tool": "hands with a pen or a handle",
    "touching": "people whose two hands touch, of those with two",
    "worn": "hands with rings or a watch",
}


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "simulate-crops",
        run,
        "training data for the network: crops of simulated hands with a simulated detector's labels",
        "  usthand simulate-crops data/train --people 500\n"
        "  usthand simulate-crops data/test --split test --people 40 --labels moderate=1 --upright --size 224",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the cache to make; one that was interrupted goes on")
    parser.add_argument("--people", type=int, default=200, metavar="N", help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=8, metavar="N", help="of each person (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=10, metavar="N", help="of each clip (default: %(default)s)")
    parser.add_argument("--fps", type=float, default=30.0, metavar="HZ", help="frames a second (default: %(default)s)")
    parser.add_argument("--views", type=int, default=4, metavar="V", help="cameras kept of each rig (%(default)s)")
    parser.add_argument(
        "--pictured", type=int, metavar="V", help="how many of them have pictures, the others labels alone (all)"
    )
    parser.add_argument("--size", type=int, default=128, metavar="PX", help="of the network's crops (%(default)s)")
    parser.add_argument("--upright", action="store_true", help="turned as recipe `live` takes them: give --size 224")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="train", help="default: %(default)s"
    )
    parser.add_argument(
        "--labels", type=_shares, default=_GRADES, metavar="GRADE=SHARE,...", help=f"default: {_GRADES}"
    )
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures to put behind the hands")
    parser.add_argument("--hdri", type=Path, metavar="DIR", help="panoramas (.hdr, .exr, .jpg) to light the hands by")
    for name, what in _SHARES.items():
        parser.add_argument(f"--{name}", type=float, default=0.0, metavar="SHARE", help=f"{what} (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="everything follows from it (default: %(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")


def run(args: argparse.Namespace) -> int:
    # Open3D takes a second to import, which other commands should not wait for.
    from models.data.crop_cache import MARGIN, read_cache
    from models.data.generate import GenerateSettings, generate
    from models.simulation.rendering_pool import usable_cores

    workers = usable_cores() if args.workers is None else args.workers
    if workers < 1:
        raise UserError(f"`--workers {args.workers}`: at least 1 is needed.")
    settings = GenerateSettings(
        split=args.split,
        seed=args.seed,
        people=args.people,
        clips=args.clips,
        frames=args.frames,
        fps=args.fps,
        views=args.views,
        pictured=args.pictured,
        size_px=round(args.size * MARGIN),
        upright=args.upright,
        grades=args.labels,
        backgrounds=None if args.backgrounds is None else str(args.backgrounds.resolve()),
        flat=args.flat,
        pinch=args.pinch,
        tool=args.tool,
        touching=args.touching,
        worn=args.worn,
        hdri=None if args.hdri is None else str(args.hdri.resolve()),
    )
    began = time.monotonic()
    try:
        with tqdm(unit="shard", disable=None) as bar:
            for done, total in generate(args.out, settings, workers):
                bar.total = total
                bar.update(done - bar.n)
    except BrokenProcessPool:
        log.error(
            "a rendering process died, perhaps for lack of memory. Run this again to go on; give fewer --workers."
        )
        return 1
    seconds = time.monotonic() - began
    crops = sum(len(shard.crops_rgb) for shard in read_cache(args.out)[1])
    print(f"{args.out}: {crops} crops of {settings.size_px} pixels, {seconds:.0f} s")
    if args.json:
        print(json.dumps({"crops": crops, "size_px": settings.size_px, "seconds": round(seconds, 1)}))
    return 0


def _shares(text: str) -> dict[str, float]:
    try:
        shares = {name: float(value) for name, _, value in (part.partition("=") for part in text.split(","))}
    except ValueError:
        shares = {}
    if not shares or not set(shares) <= set(GRADES):
        raise argparse.ArgumentTypeError(f"`{text}` is not GRADE=SHARE,... with grades of {', '.join(GRADES)}")
    return shares
