"""`python -m models.training.heatmaps WEIGHTS OUT --simulated CACHE... --real CACHE... --held-out CACHE...`: heatmaps
on the frozen landmark network's levels, and how good their points are beside the network's own.

Two heads are trained on the same levels, which are kept in memory (0.55 MB a crop), with the losses of heatmaps and
their means (models/network/losses.py):

`distilled`: taught by the network's own points. On simulated and on real crops it sees worse copies of pictures, and
    the points are those of the picture as it is (models/data/sightings.py).
`scratch`: taught by the simulated crops' labels, where a detector puts its points (models/hand/definition.py).

OUT gets `distilled.safetensors` and `scratch.safetensors`, files of weights for models/training/put_landmarks.py and
`backbone_weights` of a network with `landmark_heatmaps: true`; where both are there already, nothing is trained.
Printed is, for crops that no head saw, the distance to their labels in px of a crop of 224, and of caches of three or
more cameras the distance of a view's labels to what the estimates in the others say, triangulated. Labels of
photographs and films are the network's own points of the picture as it is: there its own are right by definition. A
labelled session does for a cache to hold out.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.programs import exit_code, finite
from models.data.crop_cache import MARGIN, Shard, read_cache, read_manifest
from models.data.fused_labels import in_definition
from models.data.session_cache import cache_of
from models.data.sightings import draw_variants, variant_image
from models.evaluation.withheld_points import withheld_distances_px
from models.network.heatmap_head import HeatmapHead
from models.network.landmark_net import (
    CHANNELS,
    IMAGE_PX,
    HeatmapLandmarkNet,
    LandmarkNet,
    read_landmark_net,
    write_landmark_net,
)
from models.network.losses import LabelBatch, heatmap_loss, position_loss
from models.training.config import LossConfig

log = logging.getLogger(__name__)

HEADS = ("distilled", "scratch")
VARIANTS = ("as it is", "worse")
CACHED_PX = round(MARGIN * IMAGE_PX)
"""Side of the crops of a session, which are cut out where a cache is not given."""
_WARMUP, _LEAST_RATE, _CLIP = 50, 0.02, 1.0
_SEEN_AT_ONCE = 16
_SEED = 90
_LOG_EVERY = 100


class Crops(NamedTuple):
    """N crops, each in A = 2 variants: as it is, and worse."""

    levels: tuple[Tensor, ...]
    """(N, A, C, s, s) float16, the landmark network's, finest first."""
    own_px: Tensor
    """(N, A, 21, 2): the landmark network's own points of this variant."""
    taught_px: Tensor
    """(N, A, 21, 2): its points of the picture as it is, in pixels of the variant."""
    labels_px: Tensor
    """(N, A, 21, 2)"""

    def __len__(self) -> int:
        return len(self.own_px)


def look(network: LandmarkNet, cache: Path, count: int, seed: int = _SEED) -> Crops:
    """`count` wholly labelled crops of the cache, or all. Raises UserError where there are none."""
    manifest, shards = read_cache(cache)
    moved = [in_definition(shard, manifest.definition, "detector") for shard in shards]
    places = [(shard, int(row)) for shard in moved for row in _whole(shard)]
    if not places:
        raise UserError(f"{cache}: no crop has labels of all joints. Give a cache of whole hands.")
    random = np.random.default_rng(seed)
    places = [places[index] for index in sorted(random.permutation(len(places))[:count])]
    parts = []
    for start in range(0, len(places), _SEEN_AT_ONCE):
        some = places[start : start + _SEEN_AT_ONCE]
        affine = np.stack([
            draw_variants(random, len(VARIANTS), manifest.size_px, manifest.margin, plain=True) for _ in some
        ])  # fmt: skip
        pictures = np.stack([
            variant_image(shard.crops_rgb[row], each[which], random, which, plain=True)
            for (shard, row), each in zip(some, affine, strict=True) for which in range(len(VARIANTS))
        ])  # fmt: skip
        labels_px = np.stack([shard.labels_px[row] for shard, row in some])
        parts.append(_seen(network, pictures, affine, labels_px))
    log.info("%s: %d crops looked at", cache, len(places))
    return joined(parts)


def joined(parts: Sequence[Crops]) -> Crops:
    """All of them, in one."""
    levels = tuple(torch.cat([part.levels[number] for part in parts]) for number in range(len(CHANNELS)))
    points = (torch.cat([getattr(part, name) for part in parts]) for name in ("own_px", "taught_px", "labels_px"))
    return Crops(levels, *points)


def _whole(shard: Shard) -> np.ndarray:
    return np.flatnonzero((shard.label_confidence[: len(shard.crops_rgb)] > 0).all(1))


@torch.no_grad()
def _seen(network: LandmarkNet, pictures: np.ndarray, affine: np.ndarray, labels_px: np.ndarray) -> Crops:
    """Of pictures (N * A, 224, 224, 3), made by the maps (N, A, 3, 3) from crops with labels (N, 21, 2)."""
    found = network(torch.from_numpy(pictures))
    own_px = found.image[..., :2].unflatten(0, affine.shape[:2])
    from_clean = affine @ np.linalg.inv(affine[:, :1])
    return Crops(
        tuple(level.unflatten(0, affine.shape[:2]).half() for level in found.levels),
        own_px,
        _moved(own_px[:, 0].numpy(), from_clean),
        _moved(labels_px, affine),
    )


def _moved(points_px: np.ndarray, affine: np.ndarray) -> Tensor:
    """Points (N, 21, 2) as the maps (N, A, 3, 3) move them: (N, A, 21, 2)."""
    moved = np.einsum("naij,npj->napi", affine[..., :2, :2], points_px.astype(np.float64)) + affine[..., None, :2, 2]
    return torch.from_numpy(moved).float()


def train(head: HeatmapHead, sets: Sequence[tuple[Crops, str]], steps: int, batch: int, rate: float, seed: int) -> None:
    """Train the head on sets of crops, each with the name of the points that teach: a batch has as many of each set.

    Errors count as shares of the crop's side: as of `usthand train`.
    """
    weights, random = LossConfig(), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-4)
    head.train()
    seen: list[float] = []
    for step in range(steps):
        for group in optimiser.param_groups:
            cosine = (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = rate * min((step + 1) / _WARMUP, 1.0) * (_LEAST_RATE + (1 - _LEAST_RATE) * cosine)
        drawn = [_draw(crops, taught, batch // len(sets), random) for crops, taught in sets]
        levels = tuple(torch.cat(each) for each in zip(*(each for each, _ in drawn), strict=True))
        points_px = torch.cat([each for _, each in drawn])
        labels = LabelBatch(points_px[:, None], torch.ones(len(points_px), 1, JOINTS))
        with torch.autocast("cpu", torch.bfloat16):
            found = head(levels)
        positions_px = found.keypoints_px.float()[:, None]
        loss = weights.heatmap * heatmap_loss(found.heatmaps[:, None].float(), labels, IMAGE_PX)
        loss = loss + weights.position * position_loss(positions_px, labels, weights.huber, IMAGE_PX)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), _CLIP)
        optimiser.step()
        seen.append(float((positions_px.detach() - labels.keypoints_px).norm(dim=-1).median()))
        if (step + 1) % _LOG_EVERY == 0:
            log.info("  step %d: %.2f px from what teaches", step + 1, np.mean(seen[-_LOG_EVERY:]))
    head.eval()


def _draw(crops: Crops, taught: str, count: int, random: np.random.Generator) -> tuple[list[Tensor], Tensor]:
    row, variant = torch.from_numpy(random.integers([len(crops), len(VARIANTS)], size=(count, 2))).T
    return [level[row, variant].float() for level in crops.levels], getattr(crops, taught)[row, variant]


@torch.no_grad()
def points_of(head: HeatmapHead, crops: Crops) -> Tensor:
    """(N, A, 21, 2)"""
    found = []
    for start in range(0, len(crops), _SEEN_AT_ONCE):
        levels = tuple(level[start : start + _SEEN_AT_ONCE].flatten(0, 1).float() for level in crops.levels)
        found.append(head(levels).keypoints_px.unflatten(0, (-1, crops.own_px.shape[1])))
    return torch.cat(found)


def compared(heads: dict[str, HeatmapHead], crops: Crops) -> dict[str, list[tuple[float, float]]]:
    """By estimate, for each variant: median distance to the labels, and the mean, px."""
    off = {name: (each - crops.labels_px).norm(dim=-1) for name, each in _estimates(heads, crops).items()}
    return {
        name: [(float(each[:, variant].median()), float(each[:, variant].mean())) for variant in range(len(VARIANTS))]
        for name, each in off.items()
    }


def withheld_px(network: LandmarkNet, heads: dict[str, HeatmapHead], cache: Path) -> dict[str, float]:
    """By estimate, of a cache of several cameras: the median distance of the labels in a view, px of a crop of 224, to
    what the estimates in the other views say, robustly triangulated."""
    manifest, shards = read_cache(cache)
    off: dict[str, list[np.ndarray]] = {}
    for read in shards:
        shard = in_definition(read, manifest.definition, "detector")
        random = np.random.default_rng(0)
        affine = draw_variants(random, 1, manifest.size_px, manifest.margin, plain=True)
        parts = []
        for start in range(0, len(shard.crops_rgb), _SEEN_AT_ONCE):
            some = slice(start, start + _SEEN_AT_ONCE)
            pictures = np.stack(
                [variant_image(crop, affine[0], random, 0, plain=True) for crop in shard.crops_rgb[some]]
            )
            parts.append(_seen(network, pictures, np.repeat(affine[None], len(pictures), 0), shard.labels_px[some]))
        for name, points in _estimates(heads, joined(parts)).items():
            points_px = _moved(points[:, 0].numpy(), np.linalg.inv(affine)[None].repeat(len(points), 0))[:, 0]
            scale = IMAGE_PX * manifest.margin / manifest.size_px
            off.setdefault(name, []).append(scale * withheld_distances_px(points_px.double().numpy(), shard))
    return {name: float(np.median(np.concatenate(each))) for name, each in off.items()}


def _estimates(heads: dict[str, HeatmapHead], crops: Crops) -> dict[str, Tensor]:
    return {"own points": crops.own_px} | {name: points_of(head, crops) for name, head in heads.items()}


def run(args: argparse.Namespace) -> int:
    network = read_landmark_net(args.weights).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    files = {name: args.out / f"{name}.safetensors" for name in HEADS}
    if not all(file.exists() for file in files.values()):
        _train_both(network, args, files)
    heads = {}
    for name, file in files.items():
        trained = read_landmark_net(file).eval()
        assert isinstance(trained, HeatmapLandmarkNet)
        heads[name] = trained.heatmap_head
    for path in args.held_out:
        cache = cache_of(path, CACHED_PX, upright=True)
        figures = compared(heads, look(network, cache, args.compared, _SEED + 1))
        for number, variant in enumerate(VARIANTS):
            words = [f"{name} {each[number][0]:.2f} (mean {each[number][1]:.2f})" for name, each in figures.items()]
            sys.stdout.write(f"{path.name}, {variant}: px from the labels: {', '.join(words)}\n")
        if read_manifest(cache).views > 2:
            words = [f"{name} {each:.2f}" for name, each in withheld_px(network, heads, cache).items()]
            sys.stdout.write(f"{path.name}, withheld view: {', '.join(words)}\n")
    return 0


def _train_both(network: LandmarkNet, args: argparse.Namespace, files: dict[str, Path]) -> None:
    simulated = joined([look(network, cache, args.crops // len(args.simulated)) for cache in args.simulated])
    real = joined([look(network, cache, args.crops) for cache in args.real])
    teaches = {"distilled": [(simulated, "taught_px"), (real, "taught_px")], "scratch": [(simulated, "labels_px")]}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        torch.manual_seed(args.seed)
        whole = HeatmapLandmarkNet()
        whole.load_state_dict(network.state_dict(), strict=False)
        log.info("%s:", name)
        train(whole.heatmap_head, teaches[name], args.steps, args.batch, args.learning_rate, args.seed)
        write_landmark_net(file, whole.state_dict())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.heatmaps")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=Path, nargs="+", required=True)
    parser.add_argument("--real", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--crops", type=int, default=4000, help="simulated ones, and of each other cache, at most")
    parser.add_argument("--compared", type=int, default=400, help="crops of each held-out cache, at most")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=finite, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_code(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
