"""`usthand bench`: speed on this machine, against references measured in the same run."""

import argparse
import json
import tempfile
from pathlib import Path

import msgspec

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.commands.bench_batch import add_batch
from app.commands.bench_calibration import add_calibration
from app.commands.bench_load import add_load
from app.commands.bench_record import add_record
from app.commands.bench_soak import add_soak
from app.commands.bench_streams import add_streams
from app.commands.bench_viewer import add_viewer
from app.commands.common import add_command, positive, run_rig
from app.estimators import ESTIMATORS
from app.run.policy import ReplayPolicy
from app.run.settings import RunSettings
from calibration.errors import UserError
from calibration.hand import JOINT_NAMES
from calibration.session import check_session
from deploy.engines import ENGINES
from models.network.config import MAX_VIEWS, RECIPES, recipe
from models.simulation.simulated_rig import ring_rig

# A video plays from when its grabber opens it, while the worker may still load its networks.
_STARTS_IN_S = 10.0


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("bench", help="speed on this machine, against its references")
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    live = add_command(
        parts, "live", run_live, "the whole live path against the detector alone", "  usthand bench live session/"
    )
    live.add_argument("session", type=Path, help="a recorded session")
    detectors = [name for name in ESTIMATORS if name != "ust-hand"]  # whose engines have a bench of their own
    live.add_argument("--estimator", choices=detectors, default="mediapipe", help="default: %(default)s")
    live.add_argument("--seconds", type=positive, default=20.0, help="of each live run (%(default)s)")
    add_batch(parts)
    add_calibration(parts)
    add_streams(parts)
    add_viewer(parts)
    _add_engines(parts)
    detector = add_command(
        parts,
        "detector",
        run_detector,
        "hand detection by engine: speed, start-up, memory and errors, beside MediaPipe's wheel",
        "  usthand bench detector session/\n  usthand bench detector session/ --wheel-python wheel/bin/python --json",
    )
    detector.add_argument("session", type=Path, help="a recorded session")
    detector.add_argument(
        "--wheel-python", type=Path, metavar="PYTHON", help="of an environment with mediapipe 0.10.21, to compare with"
    )
    detector.add_argument("--seconds", type=positive, default=10.0, help="of each measurement (%(default)s)")
    detector.add_argument("--rounds", type=int, choices=range(1, 21), default=2, metavar="N", help="(%(default)s)")
    hand = add_command(
        parts, "hand", run_hand, "the fit of the hand's mesh, beside a general solver", "  usthand bench hand --json"
    )
    hand.add_argument("--frames", type=int, default=300, choices=range(1, 100001), metavar="N", help="(%(default)s)")
    labels = add_command(
        parts,
        "labels",
        run_labels,
        "the simulated detector's errors beside a real detector's, and this one's on rendered pictures",
        "  usthand bench labels session/\n  usthand bench labels session/ --rendered rendered/ --json",
    )
    labels.add_argument("session", type=Path, help="a recorded session")
    labels.add_argument(
        "--rendered", type=Path, metavar="DIR", help="a session of `usthand simulate`, to compare its pictures with"
    )
    simulate = add_command(
        parts,
        "simulate",
        run_simulate,
        "rendering of the simulated rig: images and crops a second, and where the time goes",
        "  usthand bench simulate\n  usthand bench simulate --processes 1 2 4 --seconds 3 --json",
    )
    simulate.add_argument(
        "--processes", type=int, nargs="+", choices=range(1, 129), metavar="N", help="counts (default: 1 and all cores)"
    )
    simulate.add_argument(
        "--images",
        type=int,
        choices=range(10001),
        default=0,
        metavar="N",
        help="let MediaPipe look for a hand in N images",
    )
    simulate.add_argument("--seconds", type=positive, default=10.0, help="of each measurement (%(default)s)")
    add_load(parts)
    add_record(parts)
    add_soak(parts)
    transport = add_command(
        parts,
        "transport",
        run_transport,
        "frames between processes: shared-memory ring, ZeroMQ, TCP, memcpy",
        "  usthand bench transport\n  usthand bench transport --seconds 1 --paced-seconds 5 --json",
    )
    counts = range(1, 33)
    transport.add_argument(
        "--producers", type=int, nargs="+", default=[4, 8], choices=counts, metavar="N", help="counts (default: 4 8)"
    )
    transport.add_argument("--seconds", type=positive, default=3.0, help="per path at saturation (%(default)s)")
    transport.add_argument("--paced-seconds", type=positive, default=60.0, help="of the paced runs (%(default)s)")
    transport.add_argument("--fps", type=positive, default=30.0, help="of each paced producer (%(default)s)")


def _add_engines(parts) -> None:
    engines = add_command(
        parts,
        "engines",
        run_engines,
        "the network by engine, views and hands, against torch, recomputed windows and what the CPU can do",
        "  usthand bench engines\n  usthand bench engines --recipe paper --all --seconds 10 --markdown",
    )
    which = engines.add_mutually_exclusive_group()
    which.add_argument("--recipe", choices=RECIPES, default="small", help="of an untrained network (%(default)s)")
    which.add_argument("--checkpoint", metavar="C", help="a file that `usthand train` wrote, or `shipped`")
    known = [name for name in ENGINES if name != "auto"]
    engines.add_argument("--engines", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known))
    counts = {
        "views": (range(2, MAX_VIEWS + 1), [2, 4, 6, 8], "cameras"),
        "hands": (range(1, 3), [1, 2], "of a person"),
        "hypotheses": (range(1, 65), [], "M, each an export of half a minute"),
        "blocks": (range(1, 13), [], "K, each an export of half a minute"),
    }
    for name, (choices, default, what) in counts.items():
        said = f"{what} (default: {' '.join(map(str, default)) or 'only as the network is'})"
        engines.add_argument(f"--{name}", type=int, nargs="+", choices=choices, default=default, metavar="N", help=said)
    engines.add_argument("--all", action="store_true", help="as --hypotheses 4 8 16 32 --blocks 1 2 3 4")
    engines.add_argument("--seconds", type=positive, default=1.0, help="of each row (%(default)s)")
    engines.add_argument("--markdown", action="store_true", help="print the tables as in docs/performance.md")


def run_engines(args: argparse.Namespace) -> int:
    from app.bench.engine_networks import check_exporter, export_checkpoint, export_untrained, tensorrt_here
    from app.bench.engine_tables import summary, tables
    from app.bench.engines import Plan, bench
    from models.simulation.rendering_pool import usable_cores

    check_exporter()
    if args.checkpoint not in (None, "shipped") and not Path(args.checkpoint).is_file():
        raise UserError(
            f"`--checkpoint {args.checkpoint}`: there is no such file. Give one that `usthand train` wrote."
        )
    plan = Plan(
        engines=list(dict.fromkeys(args.engines)),
        views=sorted(set(args.views)),
        hands=sorted(set(args.hands)),
        hypotheses=sorted(set(args.hypotheses)) or ([4, 8, 16, 32] if args.all else []),
        blocks=sorted(set(args.blocks)) or ([1, 2, 3, 4] if args.all else []),
        seconds=args.seconds,
    )
    tensorrt = "tensorrt" in plan.engines and tensorrt_here()
    with tempfile.TemporaryDirectory(prefix="usthand-bench-") as folder:
        directory = Path(folder)
        if args.checkpoint:
            network = export_checkpoint(args.checkpoint, directory / "network", tensorrt)
        else:
            network = export_untrained(recipe(args.recipe), directory / "network", tensorrt)
        result = bench(plan, network, directory, usable_cores())
    for table in tables(result):
        print(table.markdown() if args.markdown else table.aligned(), end="\n\n")
    for line in summary(result):
        print(line + ("  " if args.markdown else ""))
    if args.json:
        print(json.dumps(result))
    return 0


def run_detector(args: argparse.Namespace) -> int:
    from app.bench.detector import bench

    result = bench(args.session, args.seconds, args.rounds, args.wheel_python)
    print(f"{'':14} {'crops/s':>15} {'sets/s':>15} {'first hand s':>15} memory MB   (in brackets: of processor time)")
    for row in result["rows"]:
        cells = [
            f"{row[name]:.4g} ({row[cpu]:.4g})" if row[name] else "none"
            for name, cpu in (
                ("crops_per_s", "crops_per_cpu_s"),
                ("sets_per_s", "sets_per_cpu_s"),
                ("first_hand_s", "first_hand_cpu_s"),
            )
        ]
        print(f"{row['kind']:14} {' '.join(f'{cell:>15}' for cell in cells)} {row['memory_mb']:9g}")
        print(
            f"{'':14} a hand in {row['sets_with_hand']} sets, leave-one-out {row['leave_one_out_px']} px, "
            f"{row['detections_used']} of {row['detections']} detections used"
        )
    for kind, of in result.get("of_wheel", {}).items():
        rates = ", ".join(
            f"{of[f'{what}_per_s']} ({of[f'{what}_per_cpu_s']}) times the {what}" for what in ("crops", "sets")
        )
        print(f"{kind}: {rates} of the wheel, {of['memory_mb']:+g} MB, leave-one-out {of['leave_one_out_px']} of its")
    if args.json:
        print(json.dumps(result))
    return 0


def run_hand(args: argparse.Namespace) -> int:
    from app.bench.hand import bench

    result = bench(args.frames)
    learning = result["fit_learning_ms"]
    print(f"a fit: {result['fit_ms']} ms (p99 {result['fit_ms_p99']}), {learning} ms while bone lengths are learnt")
    print(f"posing the mesh: {result['pose_ms']} ms")
    print(f"scipy's least_squares: {result['scipy_ms']} ms, {result['times_faster_than_scipy']} times as long")
    print(f"joints {result['error_mm']['noisy']} mm from the truth, fitted {result['error_mm']['fitted']} mm")
    if args.json:
        print(json.dumps(result))
    return 0


def run_labels(args: argparse.Namespace) -> int:
    from app.bench.labels import compare, own_residuals

    given = []
    for path in (args.session, args.rendered):
        if path is not None:
            session = check_session(path)
            rig = recorded_rig(session)
            given.append((session, rig, recorded_phases_of(session, rig), "mediapipe"))
    result = compare(*given[0])
    if args.rendered is not None:
        result["mediapipe_rendered"] = own_residuals(*given[1])
    print(f"{result['hands']} hands; leave-one-out residuals in % of the hand's size, and in pixels")
    print(f"{'detector':18} keypoints   median      p90      p99   median px   p90 px")
    rows = {name: row for name, row in result.items() if isinstance(row, dict)}
    for name, row in rows.items():
        share, px = row["percent_of_hand"], row["px"]
        cells = f"{share['p50']:8g} {share['p90']:8g} {share['p99']:8g} {px['p50']:11g} {px['p90']:8g}"
        print(f"{name:18} {row['keypoints']:9} {cells}")
    print(f"\n{'median % by joint':26}" + "".join(f"{name:>20}" for name in rows))
    for joint, title in enumerate(JOINT_NAMES):
        cells = (row["percent_of_hand_median_by_joint"][joint] for row in rows.values())
        print(f"{title:26}" + "".join(f"{cell:20.1f}" for cell in cells))
    if args.json:
        print(json.dumps(result))
    return 0


def run_simulate(args: argparse.Namespace) -> int:
    from app.bench.simulate import bench, mediapipe_rate
    from models.simulation.rendering_pool import usable_cores

    processes = args.processes or sorted({1, usable_cores()})
    result = bench(tuple(processes), args.seconds)
    print(f"{'image':10} processes  images/s  images per second of processor time")
    for row in result["throughput"]:
        print(f"{row['image']:10} {row['processes']:9} {row['images_per_s']:9g} {row['images_per_cpu_s']:10g}")
    if args.images > 0:
        result["mediapipe"] = mediapipe_rate(args.images)
        print(f"MediaPipe finds {result['mediapipe']['found']:.0%} of {args.images} rendered open hands")
    for image, shares in result["share_of_time"].items():
        print(f"{image}: " + ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items()))
    if args.json:
        print(json.dumps(result))
    return 0


def run_transport(args: argparse.Namespace) -> int:
    from app.bench.transport import bench

    result = bench(tuple(args.producers), args.seconds, args.paced_seconds, args.fps)
    memcpy = result["memcpy_gb_per_s"]
    print(f"memcpy in one process: {memcpy['cached']} GB/s cached, {memcpy['350_mb']} GB/s over 350 MB")
    print(f"{'path':18} producers   frames/s    GB/s  of memcpy    lost   p50 ms   p99 ms  cores")
    for row in result["saturation"]:
        _print_row(row, row["path"])
    for row in result["paced"]:
        _print_row({**row, "of_memcpy": None}, f"ring at {row['asked_fps']:g} fps")
    if args.json:
        print(json.dumps(result))
    return 0


def _print_row(row: dict, name: str) -> None:
    cells = [row["fps"], row["gb_per_s"], row["of_memcpy"], row["lost"], row["latency_p50_ms"], row["latency_p99_ms"]]
    fps, gb, share, lost, p50, p99 = ("" if cell is None else f"{cell:g}" for cell in cells)
    cores = row["cpu_cores"]
    print(f"{name:18} {row['producers']:9} {fps:>10} {gb:>7} {share:>10} {lost:>7} {p50:>8} {p99:>8} {cores:6g}")


def run_live(args: argparse.Namespace) -> int:
    from app.bench.live import detector_alone, frames_lost, read_sets
    from app.bench.live_videos import longest_run, write_videos

    session = check_session(args.session)
    rig = recorded_rig(session)
    phases_ns = recorded_phases_of(session, rig)
    sets = read_sets(session, rig, phases_ns)
    result, hands = detector_alone(rig, sets, args.estimator)
    live = RunSettings(estimator=args.estimator)
    replay = msgspec.structs.replace(live, policy=ReplayPolicy(), phases_ns=phases_ns)
    with tempfile.TemporaryDirectory(prefix="usthand-bench-") as folder:
        videos = write_videos(rig, sets[longest_run(hands)], Path(folder), args.seconds + _STARTS_IN_S)
        sets.clear()
        runs = {
            "replay_fast": (rig, msgspec.structs.replace(replay, policy=ReplayPolicy(pace="fast")), None),
            "replay_recorded": (rig, replay, None),
            "simulated_live": (ring_rig(4), RunSettings(estimator="simulated"), args.seconds),
            "videos_live": (videos, live, args.seconds),
            "videos_live_without_mesh": (videos, msgspec.structs.replace(live, mesh=False), args.seconds),
        }
        for name, (of_rig, settings, seconds) in runs.items():
            outcome = run_rig(of_rig, settings, None, seconds)
            if outcome.exit_code or not outcome.summary:
                return outcome.exit_code or 1
            summary = outcome.summary
            kept = ("frame_sets", "sets_with_both_hands", "fps", "latency_ms", "stage_ms", "stage_p99_ms")
            result[name] = {key: summary[key] for key in kept} | frames_lost(summary)
    result["of_detector"] = round(result["replay_fast"]["fps"] / result["detector_sets_per_s"], 3)
    _print_live(result)
    if args.json:
        print(json.dumps(result))
    return 0


def _print_live(result: dict) -> None:
    print(f"detector alone on the same crops: {result['detector_sets_per_s']} sets/s")
    print(f"whole path, as fast as possible:  {result['replay_fast']['fps']} sets/s, {result['of_detector']:.0%} of it")
    for name in ("replay_recorded", "simulated_live", "videos_live", "videos_live_without_mesh"):
        run = result[name]
        lost = ", ".join(f"{run[key]} {key}" for key in ("dropped", "late", "stale"))
        print(f"{name}: {run['frame_sets']} sets, {run['fps']} a second, latency {run['latency_ms']} ms")
        print(f"  of {run['frames']} frames {lost}")
        stages = (f"{stage} {value:g}/{run['stage_p99_ms'][stage]:g}" for stage, value in run["stage_ms"].items())
        print("  median / p99 ms: " + ", ".join(stages))
