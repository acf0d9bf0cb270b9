"""`usthand bench load`: many cameras at once, with simulated detections."""

import argparse
import json

from app.commands.camera_count import add_camera_count, add_camera_size, check_camera_count
from app.commands.common import add_command, positive, run_rig
from app.run.settings import RunSettings
from models.simulation.simulated_rig import ring_rig


def add_load(parts) -> None:
    parser = add_command(
        parts,
        "load",
        run,
        "many large simulated cameras: sets a second, frames lost by cause, and which process takes the time",
        "  usthand bench load\n  usthand bench load --cameras 8 --fps 30 --seconds 30 --json",
    )
    add_camera_count(parser, 8)
    add_camera_size(parser)
    parser.add_argument("--seconds", type=positive, default=30.0, help="of the run (%(default)s)")
    parser.add_argument("--no-mesh", action="store_false", dest="mesh", help="fit no hand mesh")


def run(args: argparse.Namespace) -> int:
    from app.bench.load import bench

    check_camera_count(args.cameras)
    rig = ring_rig(args.cameras, args.width, args.height, args.fps)
    settings = RunSettings(estimator="simulated", mesh=args.mesh)
    result = bench(rig, settings, lambda rig, settings: run_rig(rig, settings, None, args.seconds))
    if not result:
        return 1
    size, cores = f"{args.width}x{args.height}", result["cores"]
    print(f"{result['cameras']} cameras of {size} at {args.fps:g} frames/s: {result['sets_per_s']} sets/s")
    share = {cause: f"{count / max(1, result['frames']):.1%}" for cause, count in result["lost"].items()}
    print(f"of {result['frames']} frames " + ", ".join(f"{share[cause]} {cause}" for cause in share))
    print(f"latency {result['latency_ms']} ms; stages, medians: {result['stage_ms']} ms")
    print(f"cores, of {result['processors']}: " + ", ".join(f"{name} {count}" for name, count in cores.items()))
    print(f"  of the grabbers' {result['cores_of_drawing']} draw the pictures, which cameras would not need")
    if args.json:
        print(json.dumps(result))
    return 0
