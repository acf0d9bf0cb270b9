"""`usthand bench soak`: chaos over a running rig."""

import argparse
import json
import sys
from pathlib import Path

from app.commands.camera_count import add_camera_count, check_camera_count
from app.commands.common import add_command, positive
from calibration.written_files import check_can_write


def add_soak(parts) -> None:
    parser = add_command(
        parts,
        "soak",
        run,
        "kills, stops, network stalls, bad bytes and full disks over a running rig: what is lost, how soon all is well",
        "  usthand bench soak\n  usthand bench soak --minutes 60 --cameras 4 --strict --json\n"
        "  usthand bench soak --hostile 100000",
    )
    parser.add_argument("--minutes", type=positive, default=3.0, metavar="N", help="(%(default)s)")
    add_camera_count(parser)
    parser.add_argument("--fps", type=positive, default=30.0, help="of each camera (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule (%(default)s)")
    parser.add_argument(
        "--hostile",
        type=positive,
        metavar="N",
        help="instead: N hostile messages a second from one peer with the keys, beside the same run without",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="write there what the run said")
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 where a promise of docs/reliability.md is not kept"
    )


def run(args: argparse.Namespace) -> int:
    from app.bench.soak.promises import broken_promises
    from app.bench.soak.soak import SoakSettings, soak

    check_camera_count(args.cameras)
    if args.log is not None:
        check_can_write(args.log, f"`--log {args.log}`")
    settings = SoakSettings(fps=args.fps)
    if args.hostile:
        return _run_hostile(args)
    result = soak(args.minutes, args.cameras, args.seed, _tell, settings, args.log)
    result["broken"] = broken_promises(result)
    _print(result)
    if args.json:
        print(json.dumps(result))
    return 1 if args.strict and result["broken"] else 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(result: dict) -> None:
    print(
        f"{result['sets']} moments, {result['lost']} without a set, {result['lost_beside']} of them beside all faults"
    )
    print(f"{'fault':16} events recovered   median s  most s   lost during, after")
    for kind, row in result["causes"].items():
        median, most = (f"{row[f'recover_s_{name}'] or float('nan'):8.2f}" for name in ("median", "most"))
        lost = f"{result['lost_during'][kind]} in {result['seconds_during'][kind]:g} s, {result['lost_after'][kind]}"
        print(f"{kind:16} {row['events']:6} {row['recovered']:9}   {median}{most}   {lost}")
    for name, row in result["growth"].items():
        print(
            f"{name}: {row['memory_mb']:+g} MB, {row['descriptors']:+g} descriptors, {row['threads']:+g} threads "
            f"in {row['seconds']:g} s"
        )
    print(f"exit code {result['exit_code']}, left behind: {', '.join(result['left_behind']) or 'nothing'}")
    for line in result["broken"]:
        print(f"broken: {line}")


def _run_hostile(args: argparse.Namespace) -> int:
    from app.bench.soak.hostile import bench
    from app.bench.soak.promises import HOSTILE_KEPT

    result = bench(args.cameras, args.fps, args.hostile, 20.0 * args.minutes)
    print(f"{result['offered_per_s']} messages/s offered by the peer")
    print("without it, with it beside the rig (connected to a socket that nobody reads), and with it connected:")
    rows = {f"frames/s of {camera_id}": row for camera_id, row in result["cameras"].items()}
    rows |= {"sets/s": result["sets"], "cores that the worker takes": result["worker_cores"]}
    rows |= {"processor time for a set, of the whole run, ms": result["cpu_ms_per_set"]}
    for name, row in rows.items():
        print(f"  {name}: {row['without']} {row['beside']} {row['with']}")
    print(f"kept: {result['kept']:.3f} of the cameras' rate without the peer")
    print(
        f"kept_of_machine: {result['kept_of_machine']:.3f} of that with the peer beside the rig: what is the rig's own"
    )
    if args.json:
        print(json.dumps(result))
    return 1 if args.strict and result["kept_of_machine"] < HOSTILE_KEPT else 0
