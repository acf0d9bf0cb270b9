"""`usthand bench streams` and `usthand bench predict`: what streams add, and how near forecasts are."""

import argparse
import json
import sys

from tqdm import tqdm

from app.commands.common import add_command, positive
from app.streams.kinds import STREAMS


def add_streams(parts) -> None:
    streams = add_command(
        parts,
        "streams",
        run_streams,
        "what each stream adds, and what a receiver that stopped reading costs",
        "  usthand bench streams\n  usthand bench streams --streams osc ws --seconds 5 --json",
    )
    streams.add_argument(
        "--streams", nargs="+", choices=list(STREAMS), metavar="NAME", help="(default: all whose library is there)"
    )
    streams.add_argument("--seconds", type=positive, default=10.0, help="of each measurement (%(default)s)")
    streams.add_argument("--fps", type=positive, default=60.0, help="sets a second (%(default)s)")
    predict = add_command(
        parts,
        "predict",
        run_predict,
        "errors of forecasts 20, 50 and 100 ms ahead, on simulated motion",
        "  usthand bench predict\n  usthand bench predict --people 2 --seconds 10 --json",
    )
    predict.add_argument("--people", type=int, default=4, choices=range(1, 101), metavar="N", help="(%(default)s)")
    predict.add_argument("--seconds", type=positive, default=20.0, help="of motion of each (%(default)s)")


def run_streams(args: argparse.Namespace) -> int:
    from app.bench.streams import bench, installed

    result = bench(args.streams or installed(), args.seconds, args.fps)
    print("stream   p50 ms   p99 ms   sets   lost   (from the published pose to a local receiver)")
    for row in result["latency"]:
        p50, p99 = ("" if row[name] is None else f"{row[name]:.3f}" for name in ("p50_ms", "p99_ms"))
        print(f"{row['stream']:6} {p50:>8} {p99:>8} {row['sets']:6} {row['lost']:6}")
    print("the worker beside all of them, by what their receivers do:")
    for row in result["worker"]:
        latency = f"latency {row['latency_p50_ms']:g} ms (p99 {row['latency_p99_ms']:g})"
        print(f"  {row['receivers']:12} {row['sets_per_s']:g} sets/s, {latency}")
    if args.json:
        print(json.dumps(result))
    return 0


def run_predict(args: argparse.Namespace) -> int:
    from app.bench.predict import WAYS, bench

    with tqdm(total=2 * args.people, unit="person", desc="simulating", file=sys.stderr, disable=None) as progress:
        result = bench(args.people, args.seconds, progress.update)
    for grade in ("moderate_labels", "simulated_detector"):
        found = result[grade]
        measured = found["measured"]
        print(
            f"{grade.replace('_', ' ')}: fingertips {measured['mean_mm']:g} mm (median {measured['median_mm']:g}), "
            f"{measured['rms_over_sd']:g} standard deviations (root mean square)"
        )
        for row in found["ahead"]:
            print(f"  {row['ahead_ms']:g} ms ahead, errors of {row['rms_over_sd']:g} standard deviations:")
            for way in ("none", *WAYS):
                each = row[way]
                times = f"{each['of_measured']:g} times (median {each['median_of_measured']:g})"
                print(f"    {way:30} {each['mean_mm']:6.2f} mm, {times}")
    if args.json:
        print(json.dumps(result))
    return 0
