"""`python -m models.training.presence WEIGHTS OUT --train CACHE... --held-out CACHE...`: whether there is a hand, and
which, learned anew from the landmark network's pooled features.

Its two heads are linear; here they are the likeliest on crops of hands, mirrored ones, worse ones, ones whose hand is
hidden or hidden for the most part (models/data/handless.py), ones out of which it has moved but for a few joints, and
crops of images' other parts (models/data/elsewhere.py). What they were before is the prior: the
weights' change is held small. Every kind of crop of every cache counts alike. A labelled session does for a cache.

Printed is, for the caches to hold out, how well the original logit and the learned one hold as probabilities, both by a
scale and a shift fitted on the crops to train on (models/training/calibrate.py): area under the curve (AUC), expected
calibration error, Brier score. OUT is a file of weights with the learned heads, for `backbone_weights` and
models/training/put_landmarks.py; models/training/calibrate.py comes after that.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from calibration.errors import UserError
from calibration.programs import exit_code, finite
from models.data.crop_cache import MARGIN, read_cache
from models.data.handless import without_hand
from models.data.session_cache import cache_of
from models.data.sightings import draw_variants, variant_image
from models.evaluation.reliability import Said, reliability
from models.network.landmark_net import IMAGE_PX, LandmarkNet, read_landmark_net, write_landmark_net
from models.training.calibrate import fit_calibration

log = logging.getLogger(__name__)

HEADS = ("presence", "right")
_PART_JOINTS, _HAND_JOINTS = 5, 15
"""In the picture: at most so many are a part of a hand, so many or more are one. Between them nobody could say."""
_MOVED_OUT = (0.2, 1.1)
_LEAST_SPREAD = 0.05
"""Of a feature, a share of all features' spread: what hardly ever is there has no say."""
_SEEN_AT_ONCE = 16
_SEED = 61


class Looked(NamedTuple):
    """What the landmark network says of N crops, and what is so."""

    pooled: np.ndarray
    """(N, 1152)"""
    there: np.ndarray
    """(N,) bool"""
    right: np.ndarray
    """(N,) bool; nothing where there is no hand."""
    kind: np.ndarray
    """(N,) names."""

    def of(self, chosen: np.ndarray) -> "Looked":
        return Looked(*(part[chosen] for part in self))


def look(network: LandmarkNet, cache: Path, count: int, seed: int = _SEED) -> Looked:
    """Of `count` pictures of the cache, or all, each as it is told above. Raises UserError where none is labelled."""
    manifest, shards = read_cache(cache)
    random = np.random.default_rng(seed)
    places = [(shard, row) for shard in shards for row in range(len(shard.crops_rgb))]
    empty = manifest.source == "elsewhere"
    pictures, there, right, kinds = [], [], [], []
    for index in sorted(random.permutation(len(places))[:count]):
        shard, row = places[index]
        crop, points_px = shard.crops_rgb[row], shard.labels_px[row].astype(np.float64)
        if not empty and not (shard.label_confidence[row] > 0).all():
            continue
        made = _pictures(crop, None if empty else points_px, manifest.size_px, manifest.margin, random)
        for kind, picture in made:
            pictures.append(picture)
            there.append(kind in ("hand", "mirrored", "worse"))
            right.append(kind in ("hand", "worse"))
            kinds.append(kind)
    if not pictures:
        raise UserError(f"{cache}: no crop has labels of all joints. Give a cache of whole hands.")
    pooled = []
    with torch.no_grad():
        for start in range(0, len(pictures), _SEEN_AT_ONCE):
            found = network(torch.from_numpy(np.stack(pictures[start : start + _SEEN_AT_ONCE])))
            pooled.append(found.pooled.numpy())
    log.info("%s: %d crops looked at", cache, len(kinds))
    return Looked(np.concatenate(pooled), np.array(there), np.array(right), np.array(kinds))


def _pictures(
    crop: np.ndarray, points_px: np.ndarray | None, cached_px: int, margin: float, random: np.random.Generator
) -> list[tuple[str, np.ndarray]]:
    """Of one cached crop, with what kind each is. Points (21, 2), None where there is no hand."""
    plain, worse = draw_variants(random, 2, cached_px, margin, plain=True)
    if points_px is None:
        return [("elsewhere", variant_image(crop, plain, random, 0, plain=True))]
    hand = variant_image(crop, plain, random, 0, plain=True)
    found = [("hand", hand), ("mirrored", np.ascontiguousarray(hand[:, ::-1]))]
    found.append(("hidden", variant_image(without_hand(crop, points_px, random), plain, random, 0, plain=True)))
    towards = random.normal(size=2)
    worse[:2, 2] += IMAGE_PX * random.uniform(*_MOVED_OUT) * towards / np.linalg.norm(towards)
    seen_px = points_px @ worse[:2, :2].T + worse[:2, 2]
    inside = int(((seen_px > 0) & (seen_px < IMAGE_PX - 1)).all(1).sum())
    if inside <= _PART_JOINTS or inside >= _HAND_JOINTS:
        found.append(("worse" if inside >= _HAND_JOINTS else "out", variant_image(crop, worse, random, 1)))
    return found


def joined(sets: list[Looked]) -> Looked:
    return Looked(*(np.concatenate(part) for part in zip(*sets, strict=True)))


def weights_of(sets: list[Looked]) -> np.ndarray:
    """(N,) of all sets' crops in order: every kind of every set counts alike, and both answers together."""
    weight = np.concatenate([sum((each.kind == kind) / (each.kind == kind).sum() for kind in set(each.kind))
                             for each in sets])  # fmt: skip
    there = np.concatenate([each.there for each in sets])
    return np.where(there, weight / weight[there].sum(), weight / weight[~there].sum())


def fit_head(pooled: np.ndarray, true: np.ndarray, weight: np.ndarray, before: np.ndarray, held: float) -> np.ndarray:
    """The likeliest weights and bias (1153,) of a logit of features (N, 1152), near to those `before`.

    `held` times the square of their change, of features of unit spread, is the price in nats per crop.
    """
    spread = np.maximum(pooled.std(0), _LEAST_SPREAD * pooled.std())
    design = np.column_stack([pooled / spread, np.ones(len(pooled))])
    scale = np.append(spread, 1.0)
    prior, total = before * scale, weight.sum()

    def unlikely(unknown: np.ndarray) -> tuple[float, np.ndarray]:
        logit, change = design @ unknown, unknown - prior
        value = (weight * (np.logaddexp(0, logit) - true * logit)).sum() / total + held * change @ change
        off = weight * (expit(logit) - true) / total
        return value, design.T @ off + 2 * held * change

    return minimize(unlikely, prior, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x / scale


def auc(logit: np.ndarray, true: np.ndarray) -> float:
    """The share of pairs of a true and a false one in which the true one has the larger logit."""
    positive = int(true.sum())
    ranks = rankdata(logit)[true].sum() - positive * (positive + 1) / 2
    return float(ranks / max(positive * (len(true) - positive), 1))


def run(args: argparse.Namespace) -> int:
    network = read_landmark_net(args.weights).eval()
    caches = {path: cache_of(path, round(MARGIN * IMAGE_PX), upright=True) for path in (*args.train, *args.held_out)}
    trained = [look(network, caches[path], args.crops) for path in args.train]
    held_out = joined([look(network, caches[path], args.crops, _SEED + 1) for path in args.held_out])
    weight, together = weights_of(trained), joined(trained)
    for name in HEADS:
        chosen = together.there | (name == "presence")
        looked, share, head = together.of(chosen), weight[chosen], getattr(network, name)
        true = _true(looked, name).astype(float)
        before = np.append(head.weight.detach().numpy()[0], head.bias.detach().numpy()).astype(np.float64)
        after = fit_head(looked.pooled.astype(np.float64), true, share, before, args.held)
        for title, some in _compared(held_out, name):
            words = []
            for heads in (before, after):
                scale, shift = fit_calibration(_logit(looked, heads), true, share)
                words.append(_words(scale * _logit(some, heads) + shift, _true(some, name)))
            sys.stdout.write(f"{name}, {title} ({len(some.kind)} crops): original {words[0]}; learned {words[1]}\n")
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(after[None, :-1]))
            head.bias.fill_(float(after[-1]))
    write_landmark_net(args.out, network.state_dict())
    return 0


def _compared(looked: Looked, name: str) -> list[tuple[str, Looked]]:
    """What is to be told apart, together and by what there is instead of a hand, or of a right one."""
    if name == "right":
        return [("all", looked.of(looked.there))]
    kinds = sorted(set(looked.kind[~looked.there]))
    return [("all", looked), *((kind, looked.of(looked.there | (looked.kind == kind))) for kind in kinds)]


def _words(logit: np.ndarray, true: np.ndarray) -> str:
    said = reliability(Said(expit(logit), true))
    error = f"calibration error {said['expected_calibration_error']:.3f}, Brier {said['brier']:.4f}"
    return f"AUC {auc(logit, true):.4f}, {error}, wrong {said['wrong']:.1%}"


def _true(looked: Looked, name: str) -> np.ndarray:
    return looked.there if name == "presence" else looked.right


def _logit(looked: Looked, head: np.ndarray) -> np.ndarray:
    return looked.pooled @ head[:-1] + head[-1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.presence")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--crops", type=int, default=400, help="pictures of each cache, at most (default: %(default)s)")
    parser.add_argument("--held", type=finite, default=1e-3, help="the price of the change (default: %(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_code(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
