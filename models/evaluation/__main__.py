"""`python -m models.evaluation`: what `usthand evaluate` starts."""

import argparse
import json
import logging
import shlex
import sys
from typing import Any

import numpy as np
import torch

from calibration.errors import UserError
from calibration.found_files import hash_found
from calibration.programs import exit_code
from calibration.written_files import write_atomic
from models.data.crop_cache import MARGIN, check_upright
from models.data.relabel import relabel
from models.data.session_cache import cache_of
from models.data.windows import WindowDataset
from models.evaluation.arguments import DEFAULTS, add_arguments, to_words
from models.evaluation.evaluate import Evaluation, compared, evaluate
from models.evaluation.metrics import joint_errors_mm
from models.evaluation.pictures import window_picture
from models.evaluation.predict import METHODS
from models.evaluation.report import report_html
from models.network.checkpoint import load_checkpoint
from models.network.config import without
from models.network.ust_hand import UstHand
from models.simulation.detector_noise import GRADES
from models.weights import checkpoint_path

log = logging.getLogger(__name__)

_WORST = 6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.evaluation")
    add_arguments(parser)
    parser.set_defaults(**DEFAULTS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return exit_code(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    if args.windows < 1 or args.seed < 0:
        raise UserError(
            f"`--windows {args.windows} --seed {args.seed}`: give at least one window and a seed of 0 or more."
        )
    if args.report and args.report.is_dir():
        raise UserError(f"`--report {args.report}` is a folder. Give the name of a file in it.")
    if len(args.data) > 1:
        raise UserError(
            "`--data`: several recorded sessions can be evaluated together, crops and sessions with truth not."
        )
    (path,) = args.data
    network, info = load_checkpoint(args.checkpoint)
    if args.ablate:
        network = _ablated(network, args.ablate)
    size = network.config
    cache = cache_of(path, round(size.crop_px * MARGIN), size.landmarks)
    check_upright(cache, size.landmarks)
    # Labels as they are: made those of another definition, each would be what all views say, also of two.
    data = WindowDataset([cache], size.crop_px, size.frames, truth=True, definition=None)
    if args.labels:
        data.labels_definition = "anatomical"
        data.change_shards(lambda number, shard: relabel(shard, GRADES[args.labels], args.seed + number))
    evaluation = evaluate(network, data, args.windows, args.views, args.seed)
    provenance: dict[str, Any] = {
        "checkpoint": str(args.checkpoint),
        "checkpoint_sha256": hash_found(checkpoint_path(args.checkpoint))[:16],
        "recipe": size.recipe,
        "steps": info.step,
        "data": path.name,
        "labels": args.labels or "as in the data",
        "ablated": args.ablate or "nothing",
        "seed": args.seed,
        "torch": torch.__version__,
        "command": shlex.join(["usthand", "evaluate", *to_words(args)]),
    }
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in provenance.items()))
    sys.stdout.write(text_table(evaluation))
    if args.json:
        sys.stdout.write(json.dumps(_finite(provenance | evaluation.figures), allow_nan=False) + "\n")
    if args.report:  # after the figures, which took long: the disk may be full
        page = report_html(evaluation, provenance, _worst(data, evaluation))
        write_atomic(args.report, page.encode())
        log.info("%s", args.report)
    return 0


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have: figures of which the data tells nothing."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _ablated(network: UstHand, part: str) -> UstHand:
    """The network with a part switched off and its other weights as they are."""
    if not getattr(network.config, part):
        raise UserError(f"`--ablate {part}`: the checkpoint's network has no such part. Leave `--ablate` out.")
    smaller = UstHand(without(network.config, part))
    smaller.load_state_dict(network.state_dict(), strict=False)
    return smaller.eval()


def _worst(data: WindowDataset, evaluation: Evaluation) -> list[tuple[str, str]]:
    """Captions and pictures of the windows with the largest errors, one of each hand's sequence at most."""
    predictions, views = evaluation.predictions, evaluation.figures["views"]
    joints = predictions.joints_m["ust_hand"]
    errors = joint_errors_mm(joints, predictions.truth_m).mean(1)
    kept = np.flatnonzero(compared(predictions))
    worst: dict[tuple[int, int], int] = {}
    for index in kept[np.argsort(-errors[kept])]:
        worst.setdefault(data.place(int(predictions.number[index])).sequence, int(index))
    return [
        (
            f"window {predictions.number[index]}: {errors[index]:.1f} mm",
            window_picture(data, int(predictions.number[index]), views, joints[index]),
        )
        for index in list(worst.values())[:_WORST]
    ]


def text_table(evaluation: Evaluation) -> str:
    """The figures as lines for a terminal."""
    figures = evaluation.figures
    lines = [f"{figures['windows_compared']} windows of {figures['windows']} compared, up to {figures['views']} views"]
    lines.append(f"{'':30} MPJPE  median    p90   root     PA  MPVPE  AUC20  accel.")
    for name, values in figures["methods"].items():
        keys = ("mpjpe_mm", "median_mm", "p90_mm", "root_aligned_mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm")
        numbers = "".join(f"{values[key]:7.2f}" if key in values else f"{'-':>7}" for key in keys)
        lines.append(f"{METHODS[name]:28}{numbers}{values['auc_20']:7.3f}{figures['acceleration_error_mm'][name]:8.2f}")
    for count, values in figures.get("by_views", {}).items():
        lines.append(
            f"{count} views: " + ", ".join(f"{METHODS[name]} {value:.2f} mm" for name, value in values.items())
        )
    for angle, values in figures.get("two_views_by_angle", {}).items():
        errors = ", ".join(f"{METHODS[name]} {values[name]:.2f} mm" for name in METHODS)
        lines.append(f"2 views {angle} degrees apart ({values['windows']} windows): {errors}")
    held = ", ".join(f"{float(level):.0%}: {share:.1%}" for level, share in figures["coverage"].items())
    lines.append(f"the ellipsoids hold {held} of the true joints")
    for name in ("presence", "side"):
        if name in figures:
            said = figures[name]
            lines.append(
                f"{name} in {said['n']} crops: expected calibration error {said['expected_calibration_error']:.3f}, "
                f"Brier score {said['brier']:.3f}, {said['wrong']:.1%} on the wrong side of 0.5"
            )
    for name, what in (("keypoint", "stage 1's keypoints"), ("label", "the labels")):
        error = figures[f"{name}_error_of_crop"]
        lines.append(f"2D error of {what}: median {error['median']:.2%} of the crop's side, 90 % {error['p90']:.2%}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
