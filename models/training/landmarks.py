"""`python -m models.training.landmarks WEIGHTS OUT --simulated CACHE... --real CACHE...`: the landmark network's last
blocks learn hands that we know, without forgetting the ones that it knows.

Its last blocks and the head of the image coordinates are trained on the maps of models/data/landmark_maps.py: on
simulated crops towards the true points, on real ones, worse copies of which are looked at, towards its own answers on
the clean ones. Where its own answers are right that changes nothing, and features and other heads are held where they
were. What is written are the original's weights moved a share `--share` of the way to the trained ones (M. Wortsman et
al., "Robust fine-tuning of zero-shot models", CVPR 2022). OUT is a file as models/tools/landmark_weights.py writes.
"""

import argparse
import logging
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.programs import exit_code, finite
from models.data.crop_cache import read_cache, shard_folders
from models.data.fused_labels import in_definition
from models.data.landmark_maps import read_maps
from models.network.landmark_net import IMAGE_PX, LandmarkNet, read_landmark_net, write_landmark_net

log = logging.getLogger(__name__)

LATE = 11
"""The first of the blocks that are trained; what it takes is the level of stride 16."""
_SOFT = 0.03
"""An error of so large a share of the side counts as a logarithm from here on: hidden joints teach less."""
_REAL_SHARE = 0.4
_WARMUP, _LEAST_RATE, _CLIP = 20, 0.02, 2.0
_EMA = 0.99
_WEIGHTS = {"point": 10.0, "depth": 0.3, "feature": 0.05, "logits": 0.002}
_LOG_EVERY = 50


class Maps:
    """The maps of a cache, with the points (R, A, 21, 2) that are to be found in them; only wholly labelled crops.

    Raises UserError where there are none, or maps are missing or damaged.
    """

    def __init__(self, cache: Path, part: float = 1.0) -> None:
        manifest, shards = read_cache(cache)
        self.shards, self.places = [], []
        for number, (folder, read) in enumerate(zip(shard_folders(cache), shards, strict=True)):
            if not (folder / "maps.npy").exists():
                raise UserError(f"{cache}: lacks maps. Run: python -m models.data.landmark_maps WEIGHTS {cache}")
            shard = in_definition(read, manifest.definition, "detector")
            maps, answers, affine = read_maps(folder, len(read.crops_rgb))
            affine = affine.astype(np.float64)
            kept = int(part * len(maps))
            points = np.einsum("rvab,rjb->rvja", affine[:, :, :2, :2], shard.labels_px[: len(maps)].astype(np.float64))
            points += affine[:, :, None, :2, 2]
            self.shards.append((maps, answers, points.astype(np.float32)))
            whole = (shard.label_confidence[:kept] > 0).all(1)
            self.places += [(number, int(row)) for row in np.flatnonzero(whole)]
        if not self.places:
            raise UserError(f"{cache}: no crop has labels of all joints. Give a cache of whole hands.")

    def draw(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = []
        for place in random.integers(len(self.places), size=count):
            number, row = self.places[place]
            variant = random.integers(self.shards[number][0].shape[1])
            found.append([part[row, variant] for part in self.shards[number]])
        maps, answers, points = zip(*found, strict=True)
        return np.stack(maps), np.stack(answers), np.stack(points)


def draw(sets: list[Maps], weights: np.ndarray, count: int, random: np.random.Generator) -> list[Tensor]:
    """Maps, answers and points of `count` crops, of the sets by their weights."""
    counts = random.multinomial(count, weights / weights.sum())
    parts = [each.draw(int(some), random) for each, some in zip(sets, counts, strict=True) if some]
    return [torch.from_numpy(np.concatenate(part)).float() for part in zip(*parts, strict=True)]


def pooled_of(network: LandmarkNet, maps: Tensor) -> Tensor:
    """(N, 1152) of the maps (N, 112, 14, 14) that the late blocks take."""
    for block in network.blocks[LATE:]:
        maps = block(maps)
    return maps.mean((2, 3))


def losses_of(network: LandmarkNet, original: LandmarkNet, batch: list[Tensor]) -> dict[str, Tensor]:
    """By name, unweighted; `point_px` is the mean distance for the log, no loss."""
    maps, answers, points_px = batch
    maps = maps.contiguous(memory_format=torch.channels_last)
    pooled = pooled_of(network, maps)
    with torch.no_grad():
        before = pooled_of(original, maps)
    image, known = network.image(pooled).unflatten(1, (JOINTS, 3)), answers[:, : 3 * JOINTS].unflatten(1, (JOINTS, 3))
    distance = (((image[..., :2] - points_px) / IMAGE_PX).square().sum(-1) + 1e-6).sqrt()
    logits = torch.cat([network.presence(pooled), network.right(pooled)], 1)
    return {
        "point": _SOFT * torch.log1p(distance / _SOFT).mean(),
        "depth": (image[..., 2] - known[..., 2]).abs().mean() / IMAGE_PX,
        "feature": (pooled - before).square().mean() / before.square().mean(),
        "logits": functional.mse_loss(logits, answers[:, 3 * JOINTS :]),
        "point_px": IMAGE_PX * distance.mean().detach(),
    }


def train(
    network: LandmarkNet,
    original: LandmarkNet,
    simulated: list[Maps],
    real: list[Maps],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> None:
    """Train the late blocks and the image head in place; their averaged weights are what remains."""
    network.requires_grad_(False)
    learning = [each for block in network.blocks[LATE:] for each in block.parameters()]
    learning += list(network.image.parameters())
    for each in learning:
        each.requires_grad_(True)
    averaged = [each.detach().clone() for each in learning]
    optimiser, random = torch.optim.AdamW(learning, lr=rate, weight_decay=0), np.random.default_rng(seed)
    of_simulated = np.array([len(each.places) for each in simulated], float)
    of_real = np.sqrt([len(each.places) for each in real])
    real_count = round(_REAL_SHARE * batch)
    seen: list[list[float]] = []
    for step in range(steps):
        share = min((step + 1) / _WARMUP, 1.0)
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate * share * (_LEAST_RATE + (1 - _LEAST_RATE) * cosine)
        parts = draw(simulated, of_simulated, batch - real_count, random), draw(real, of_real, real_count, random)
        losses = [losses_of(network, original, part) for part in parts]
        total = torch.stack([
            weight * (losses[0][name] * (1 - _REAL_SHARE) + losses[1][name] * _REAL_SHARE)
            for name, weight in _WEIGHTS.items()
        ]).sum()  # fmt: skip
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(learning, _CLIP)
        optimiser.step()
        decay = min(_EMA, (step + 2) / (step + 11))
        with torch.no_grad():
            for mean, each in zip(averaged, learning, strict=True):
                mean.lerp_(each, 1 - decay)
        seen.append([float(each["point_px"]) for each in losses])
        if (step + 1) % _LOG_EVERY == 0:
            on_simulated, on_real = np.mean(seen[-_LOG_EVERY:], axis=0)
            log.info("step %d: %.2f px off on simulated crops, %.2f px on real ones", step + 1, on_simulated, on_real)
    with torch.no_grad():
        for mean, each in zip(averaged, learning, strict=True):
            each.copy_(mean)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.landmarks")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=Path, nargs="+", required=True)
    parser.add_argument("--real", type=Path, nargs="+", required=True)
    parser.add_argument("--start", type=Path, help="weights to begin from instead; WEIGHTS are held on to all the same")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=finite, default=3e-4)
    parser.add_argument("--share", type=finite, default=1.0, help="of the way to the trained weights")
    parser.add_argument("--real-part", type=finite, default=1.0, help="of each real cache; the rest is held out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_code(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    original, network = (
        read_landmark_net(path).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for path in (args.weights, args.start or args.weights)
    )
    simulated, real = [Maps(cache) for cache in args.simulated], [Maps(cache, args.real_part) for cache in args.real]
    train(
        network,
        original,
        simulated,
        real,
        steps=args.steps,
        batch=args.batch,
        rate=args.learning_rate,
        seed=args.seed,
    )
    before = original.state_dict()
    write_landmark_net(
        args.out, {name: before[name].lerp(value, args.share) for name, value in network.state_dict().items()}
    )
    log.info("%s", args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
