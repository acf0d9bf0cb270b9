"""`usthand demo`: a simulated rig through the whole live path."""

import argparse
import logging
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import msgspec
from tqdm import tqdm

from app.commands.camera_count import check_camera_count
from app.commands.common import (
    add_command,
    add_estimator_flags,
    add_overlap_flag,
    add_view_flags,
    report,
    run_rig,
    run_settings,
    viewer_settings,
)
from app.run.supervisor import ViewerSettings
from calibration.cached_folder import user_cache
from calibration.camera_source import MAX_CAMERAS, SimulatedSource
from calibration.errors import UserError
from calibration.rig import Rig
from models.simulation.rendered_loop import cached_loop, loop_files, loop_sets, render_loop
from models.simulation.simulated_rig import ring_rig

log = logging.getLogger(__name__)


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "demo",
        run,
        "a simulated rig through the whole live path",
        "  usthand demo\n  usthand demo --estimator ust-hand\n  usthand demo --stream ws://127.0.0.1:8765\n"
        "  usthand demo --headless demo.mp4 --seconds 10 --json",
    )
    parser.add_argument("--cameras", type=int, default=4, help=f"2 to {MAX_CAMERAS} (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the detector's noise (default: %(default)s)")
    parser.add_argument("--drawn", action="store_true", help="skeletons instead of rendered hands: starts at once")
    add_estimator_flags(parser, "simulated")
    add_overlap_flag(parser)
    add_view_flags(parser)
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write a picture of each of the viewer's modes, and end"
    )


def run(args: argparse.Namespace) -> int:
    check_camera_count(args.cameras)
    if args.seed < 0:
        raise UserError(f"`--seed {args.seed}`: a seed is a whole number from 0.")
    if args.drawn and args.estimator != "simulated":
        raise UserError(f"`--drawn --estimator {args.estimator}`: a drawing is no hand to it. Leave `--drawn` out.")
    how = "simulated detections" if args.estimator == "simulated" else args.estimator
    viewer = _viewer(args, f"UST-Hand live: demo ({how})")
    settings = run_settings(args, overlap=args.overlap, seed=args.seed)
    if args.estimator == "simulated":
        print("simulated cameras and simulated detections: joints of a simulated hand, projected, with noise")
    # Two people around a table have four hands.
    rig = ring_rig(args.cameras, people=-(-args.hands // 2))
    if not args.drawn:
        rig = rendered_rig(rig)
    return report(run_rig(rig, settings, viewer, args.seconds), args.json)


def _viewer(args: argparse.Namespace, title: str) -> ViewerSettings | None:
    """As `viewer_settings`, or one that writes pictures. Raises UserError."""
    viewer = viewer_settings(args, title)
    if args.pictures is None:
        return viewer
    if viewer is None or viewer.choice.kind != "window" or args.headless or args.snapshot:
        raise UserError(
            "`--pictures` is of the window, and no `--headless`, `--snapshot` or `--no-viewer` goes with it."
        )
    if args.pictures.exists() and not args.pictures.is_dir():
        raise UserError(f"`--pictures {args.pictures}` is no folder. Give the name of one.")
    return replace(viewer, pictures=args.pictures.resolve())


def rendered_rig(rig: Rig) -> Rig:
    """The rig with cameras that play rendered images, which are rendered now if they never were."""
    cache = user_cache()
    try:
        files = loop_files(cached_loop(rig, cache, _render), rig)
    except OSError as error:
        log.warning("%s: %s. The hands are drawn as skeletons.", error.filename or cache, error.strerror)
        return rig
    except BrokenProcessPool:
        log.warning("a rendering process died, perhaps for want of memory. The hands are drawn as skeletons.")
        return rig
    cameras = []
    for camera in rig.cameras:
        assert isinstance(camera.source, SimulatedSource)
        source = msgspec.structs.replace(camera.source, images=str(files[camera.camera_id]))
        cameras.append(replace(camera, source=source))
    return replace(rig, cameras=tuple(cameras))


def _render(rig: Rig, folder: Path) -> None:
    from models.simulation.rendering_pool import usable_cores

    log.info("rendering the demo's hands, once; they are kept in %s", folder.parent)
    with tqdm(total=loop_sets(rig), unit="set", desc="rendering", file=sys.stderr, disable=None) as progress:
        render_loop(rig, folder, usable_cores(), progress.update)
