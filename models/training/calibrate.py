"""`python -m models.training.calibrate CHECKPOINT OUT CACHE...`: presence and side of recipe `live`, as probabilities.

The network's two logits become probabilities by a scale and a shift each (J. Platt, "Probabilistic
outputs for support vector machines", 1999), the likeliest on crops of hands, mirrored ones, and ones whose hand is
hidden or hidden for the most part (models/evaluation/reliability.py). They are stored in the checkpoint OUT. Every
cache counts alike. `usthand evaluate` on simulated data says how well they hold.
"""

import argparse
import logging
import math
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from calibration.errors import UserError
from calibration.programs import exit_code
from models.data.windows import WindowDataset
from models.evaluation.reliability import Said, judged, reliability
from models.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from models.network.stage1 import Calibration
from models.network.ust_hand import UstHand

log = logging.getLogger(__name__)

_SMALLEST = 1e-6


def fit_calibration(logit: np.ndarray, true: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The scale and shift of the likeliest sigmoid(scale x logit + shift). All arrays (n,), `true` 0 or 1."""

    def unlikely(unknown: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = np.exp(unknown[0]) * logit
        raw = scaled + unknown[1]
        off = weight * (1 / (1 + np.exp(-raw)) - true)
        value = (weight * (np.logaddexp(0, raw) - true * raw)).sum()
        return value / weight.sum(), np.array([(off * scaled).sum(), off.sum()]) / weight.sum()

    log_scale, shift = minimize(unlikely, np.zeros(2), jac=True, bounds=[(-3, 3), (-10, 10)]).x
    return float(np.exp(log_scale)), float(shift)


def calibrate(source: Path | str, out: Path, caches: list[Path], windows: int, seed: int = 0) -> None:
    """Write the checkpoint with its calibrations fitted. Raises UserError where it is of a recipe without them."""
    network, info = load_checkpoint(source)
    if not network.config.landmarks:
        raise UserError(f"{source}: a checkpoint of recipe `{info.network.recipe}`, which says nothing of the side and "
                        "judges presence by its heatmaps. Give one of recipe `live`.")  # fmt: skip
    calibrations = network.stage1.presence, network.stage1.right
    for calibration in calibrations:
        _set(calibration, 1.0, 0.0)
    said = [_said(network, cache, windows, seed) for cache in caches]
    for which, (name, calibration) in enumerate(zip(("presence", "side"), calibrations, strict=True)):
        logits, every = [_logit(each[which].probability) for each in said], [each[which] for each in said]
        weight = np.concatenate([np.full(len(each.true), 1 / len(each.true)) for each in every])
        true = np.concatenate([each.true for each in every]).astype(float)
        scale, shift = fit_calibration(np.concatenate(logits), true, weight)
        _set(calibration, scale, shift)
        log.info("%s: scale %.3f, shift %.3f", name, scale, shift)
        for cache, logit, before in zip(caches, logits, every, strict=True):
            after = Said(1 / (1 + np.exp(-(scale * logit + shift))), before.true)
            was, now = (reliability(each)["expected_calibration_error"] for each in (before, after))
            log.info("  %s: expected calibration error %.3f, was %.3f", cache.name, now, was)
    provenance = info.provenance | {"calibrated_on": [cache.name for cache in caches]}
    save_checkpoint(out, network.state_dict(), CheckpointInfo(info.network, info.step, provenance))


def _logit(probability: np.ndarray) -> np.ndarray:
    probability = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.log(probability / (1 - probability))


def _said(network: UstHand, cache: Path, windows: int, seed: int) -> tuple[Said, Said]:
    config = network.config
    data = WindowDataset([cache], config.crop_px, 1, definition=config.definition)
    numbers = np.unique(np.linspace(0, len(data) - 1, min(windows, len(data))).astype(int))
    return judged(network, data, numbers, data.views, seed)


def _set(calibration: Calibration, scale: float, shift: float) -> None:
    with torch.no_grad():
        calibration.log_scale.fill_(math.log(scale))
        calibration.shift.fill_(shift)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.calibrate")
    parser.add_argument("checkpoint")
    parser.add_argument("out", type=Path)
    parser.add_argument("caches", type=Path, nargs="+", metavar="CACHE")
    parser.add_argument("--windows", type=int, default=150, help="of each cache (default: %(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def run() -> int:
        calibrate(args.checkpoint, args.out, args.caches, args.windows)
        return 0

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
