"""`usthand simulate`: recordings of simulated hands, rendered, with the truth that no recording has."""

import argparse
import json
import logging
import math
import re
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from app.commands.common import add_command, positive
from calibration.camera_source import MAX_CAMERAS
from calibration.errors import UserError, pasted
from calibration.rig import Rig, read_rig
from models.simulation.detector_noise import GRADES
from models.simulation.hands import CENTRE_WORLD_M, MOST_PEOPLE
from models.simulation.simulated_rig import LAYOUTS, random_rig

log = logging.getLogger(__name__)

_CAMERAS, _SIZE, _FPS = 4, (640, 480), 30.0
_MOST_SESSIONS = 10_000
# Of one session: its truth is held in memory until the end.
_MOST_SETS = 250_000
_SLOWEST_FPS, _FASTEST_FPS = 1.0, 1000.0
_LONGEST_MS = 1000.0


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "simulate",
        run,
        "recordings of simulated hands, rendered, with the truth",
        "  usthand simulate session/ --sets 300 --cameras 4 --seed 1\n  usthand replay session/\n"
        "  usthand simulate sessions/ --hours 2 --sessions 240 --layout dome --labels noisy --seed 1\n"
        "  usthand simulate --contact-sheet hands.png",
    )
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="the session to make, or a folder of several")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=positive, metavar="H", help="how long, all sessions together")
    length.add_argument("--sets", type=int, metavar="N", help="how many frame sets, all sessions together")
    parser.add_argument("--sessions", type=int, default=1, metavar="K", help="each with its own hands, rig and light")
    parser.add_argument("--cameras", type=int, metavar="V", help=f"2 to {MAX_CAMERAS} (default: {_CAMERAS})")
    parser.add_argument("--layout", default="ring", metavar="|".join(LAYOUTS), help="how they stand (%(default)s)")
    parser.add_argument("--size", type=_size, metavar="WxH", help=f"of the images (default: {_SIZE[0]}x{_SIZE[1]})")
    parser.add_argument("--fps", type=positive, help=f"frame sets per second (default: {_FPS:g})")
    parser.add_argument("--rig", type=Path, help="render this rig.yaml instead of rigs made up")
    parser.add_argument("--hands", choices=("right", "left", "both"), default="both", help="default: %(default)s")
    people = range(1, MOST_PEOPLE + 1)
    parser.add_argument("--people", type=int, default=1, choices=people, metavar="N", help="around a table: 1 to 4")
    parser.add_argument("--in-front", action="store_true", help="hands as over a desk, not in any orientation")
    parser.add_argument(
        "--no-things", action="store_false", dest="things", help="no held objects, nothing that floats before the hands"
    )
    parser.add_argument("--touching", action="store_true", help="the two hands of a person touch")
    parser.add_argument("--worn", action="store_true", help="each hand has rings, or a watch")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures to put behind the hands")
    parser.add_argument(
        "--labels", choices=tuple(GRADES), default="moderate", help="the detector's noise (%(default)s)"
    )
    parser.add_argument(
        "--offset-ms", type=_milliseconds, default=0.0, metavar="MS", help="spread of the cameras' clocks"
    )
    parser.add_argument("--jitter-ms", type=_milliseconds, default=0.0, metavar="MS", help="spread of a frame's time")
    parser.add_argument("--drop-rate", type=_share, default=0.0, metavar="P", help="share of frames that are lost")
    parser.add_argument("--seed", type=int, default=0, help="everything follows from it (default: %(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--contact-sheet", type=Path, metavar="PICTURE", help="only draw many hands, .png or .jpg")


def run(args: argparse.Namespace) -> int:
    if args.seed < 0:
        raise UserError(f"`--seed {args.seed}`: a seed is a whole number from 0.")
    if args.contact_sheet is not None:
        return _contact_sheet(args)
    _check(args)
    # The renderer takes seconds to import, which other commands should not wait for.
    from models.simulation.recording import Timing, record_session
    from models.simulation.rendering_pool import RenderingPool, SceneSpec, usable_cores
    from models.simulation.simulated_scene import SceneSettings

    workers = usable_cores() if args.workers is None else args.workers
    given = None if args.rig is None else _read_rig(args.rig)
    if given is not None and (args.cameras or len(given.cameras)) != len(given.cameras):
        raise UserError(f"`--cameras {args.cameras}`, but {args.rig} has {len(given.cameras)}. Leave one of them out.")
    fps = args.fps or (given and given.sync.fps) or _FPS
    if not _SLOWEST_FPS <= fps <= _FASTEST_FPS:
        raise UserError(f"{fps:g} frame sets per second; give `--fps` from {_SLOWEST_FPS:g} to {_FASTEST_FPS:g}.")
    wanted = args.sets if args.sets is not None else args.hours * 3600 * fps
    if wanted > _MOST_SETS * args.sessions:
        raise UserError(
            f"{wanted:.6g} frame sets in {args.sessions} sessions; a session has at most {_MOST_SETS}. Give more "
            "`--sessions`."
        )
    total = round(wanted)
    if total < args.sessions:
        raise UserError(f"{total} frame sets in {args.sessions} sessions; each needs at least one.")
    settings = SceneSettings(
        hands=args.hands,
        anywhere=not args.in_front,
        things=args.things,
        backgrounds=args.backgrounds,
        people=args.people,
        touching=float(args.touching),
        worn=float(args.worn),
    )
    rigs = [given or _random_rig(args, index, fps) for index in range(args.sessions)]
    paths = [args.out] if args.sessions == 1 else [args.out / f"{index:04d}" for index in range(args.sessions)]
    counts = [total // args.sessions + (index < total % args.sessions) for index in range(args.sessions)]
    began = time.monotonic()
    images = 0
    try:
        with RenderingPool(workers) as pool, tqdm(total=total, unit="set", file=sys.stderr, disable=None) as progress:
            for index, (path, rig, sets) in enumerate(zip(paths, rigs, counts, strict=True)):
                spec = SceneSpec(rig, _session_seed(args.seed, index), settings)
                timing = Timing(sets, fps, args.jitter_ms, args.drop_rate)
                images += record_session(path, spec, timing, pool, args.labels, progress.update)
    except BrokenProcessPool:
        log.error("a rendering process died, perhaps for want of memory. Try fewer `--workers`.")
        return 1
    seconds = time.monotonic() - began
    summary = {
        "sessions": [str(path) for path in paths],
        "sets": total,
        "images": images,
        "cameras": len(rigs[0].cameras),
        "labels": args.labels,
        "seed": args.seed,
        "workers": workers,
        "seconds": round(seconds, 2),
        "images_per_s": round(images / seconds, 1),
    }
    print(
        f"{args.out}: {args.sessions} sessions, {total} frame sets, {images} images, {summary['images_per_s']} images/s"
    )
    print(f"Play it with: usthand replay {pasted(paths[0])}")
    if args.json:
        print(json.dumps(summary))
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.out is None:
        raise UserError("nothing to make: give the directory OUT of the session, or `--contact-sheet hands.png`.")
    if args.out.exists():
        raise UserError(f"{args.out} is there already. Give the name of a new directory.")
    if args.hours is None and args.sets is None:
        raise UserError("how long is the recording to be? Give `--sets N` or `--hours H`.")
    for name, value in (("sets", args.sets), ("workers", args.workers), ("sessions", args.sessions)):
        if value is not None and value < 1:
            raise UserError(f"`--{name} {value}`: at least 1.")
    if args.sessions > _MOST_SESSIONS:
        raise UserError(f"`--sessions {args.sessions}`: at most {_MOST_SESSIONS}; run again with another seed.")
    if args.touching and args.hands != "both":
        raise UserError(f"`--touching` and `--hands {args.hands}`: two hands are needed. Leave one of them out.")
    if args.drop_rate >= 1:
        raise UserError(f"`--drop-rate {args.drop_rate:g}`: a share below 1.")
    if args.rig is not None and args.size is not None:
        raise UserError(f"`--size` and `--rig`: the image size is that of {args.rig}. Leave one of them out.")


def _read_rig(path: Path) -> Rig:
    """The rig. Raises UserError where fewer than two cameras have the middle of the simulated hands in their images."""
    rig = read_rig(path)
    seen = 0
    for camera in rig.cameras:
        u, v = camera.project(CENTRE_WORLD_M)
        seen += bool(0 <= u <= camera.camera.width - 1 and 0 <= v <= camera.camera.height - 1)
    if seen < 2:
        raise UserError(
            f"{path}: {seen} of {len(rig.cameras)} cameras look at the simulated hands, which move about "
            f"{CENTRE_WORLD_M.tolist()} m in the rig's world; at least 2 must. Put the world's origin below the place "
            "that the cameras look at, z up."
        )
    return rig


def _random_rig(args: argparse.Namespace, index: int, fps: float) -> Rig:
    cameras = _CAMERAS if args.cameras is None else args.cameras
    width, height = args.size or _SIZE
    seed = _session_seed(args.seed, index)
    return random_rig(seed, args.layout, cameras, width, height, fps, offset_ms=args.offset_ms, people=args.people)


def _session_seed(seed: int, index: int) -> int:
    """Different for all sessions of all seeds."""
    return seed * _MOST_SESSIONS + index


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no image size, such as 640x480")
    return int(match[1]), int(match[2])


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not zero or more")
    return value


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _LONGEST_MS:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {_LONGEST_MS:g}")
    return value


def _contact_sheet(args: argparse.Namespace) -> int:
    from models.simulation.contact_sheet import write_contact_sheet

    if args.contact_sheet.suffix not in (".png", ".jpg"):
        raise UserError(f"`{args.contact_sheet}`: the name must end in `.png` or `.jpg`.")
    write_contact_sheet(args.contact_sheet, args.seed, args.backgrounds)
    print(args.contact_sheet)
    if args.json:
        print(json.dumps({"contact_sheet": str(args.contact_sheet), "seed": args.seed}))
    return 0
