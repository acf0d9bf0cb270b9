"""`usthand bench viewer`: redraws a second, and the worker's rate with and without the viewer."""

import argparse
import json
import logging

from app.commands.camera_count import check_camera_count
from app.commands.common import add_command, positive, run_rig
from app.run.settings import RunSettings
from calibration.camera_source import MAX_CAMERAS
from models.simulation.simulated_rig import ring_rig

log = logging.getLogger(__name__)


def add_viewer(parts) -> None:
    parser = add_command(
        parts,
        "viewer",
        run,
        "the window under Xvfb beside the worker: redraws a second, and the worker's rate with and without it",
        "  usthand bench viewer\n  usthand bench viewer --estimator mediapipe --rendered --seconds 30 --json",
    )
    estimators = ("simulated", "mediapipe", "ust-hand")
    parser.add_argument("--estimator", choices=estimators, default="simulated", help="default: %(default)s")
    parser.add_argument(
        "--cameras", type=int, default=4, metavar="N", help=f"simulated, 2 to {MAX_CAMERAS} (%(default)s)"
    )
    parser.add_argument("--rendered", action="store_true", help="rendered hands, as in the demo, instead of skeletons")
    parser.add_argument("--seconds", type=positive, default=20.0, help="of each run (%(default)s)")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), default=2, metavar="N", help="(%(default)s)")


def run(args: argparse.Namespace) -> int:
    from app.bench.viewer import bench
    from app.commands.demo import rendered_rig

    check_camera_count(args.cameras)
    rig = ring_rig(args.cameras)
    if args.rendered or args.estimator != "simulated":
        rig = rendered_rig(rig)
    settings = RunSettings(estimator=args.estimator)
    result = bench(rig, settings, args.rounds, lambda *what: run_rig(*what, seconds=args.seconds))
    if result is None:
        log.error("a run failed, for the reason above: there is nothing to compare")
        return 1
    busy, sets, latency = result["redraw_ms"], result["sets_per_s"], result["latency_ms"]
    print(f"{result['redraws_per_s']} redraws/s; the work of one {busy['p50']} ms (p99 {busy['p99']} ms)")
    print(
        f"worker: {sets['without_viewer']} sets/s without the viewer, {sets['with_viewer']} with it "
        f"({result['difference_percent']} % fewer), latency {latency['without_viewer']} and {latency['with_viewer']} ms"
    )
    if args.json:
        print(json.dumps(result))
    return 0
