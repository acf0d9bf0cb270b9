"""`python -m models.training.adapt CACHE OUT --hold CACHE...`: one round of adapting a landmark network to a rig.

The student sees one picture, as a worse camera takes it, and learns where the teacher, who knows all views, puts the
joints (CACHE's labels). Only its last blocks and the head of the image coordinates learn, on the maps of
models/data/landmark_maps.py, which are kept; what it said before of the crops of the other caches is held fast, and so
are its features, its presence and its side, which the rest of UST-Hand reads. The weights are averaged over the steps.

OUT gets `weights.safetensors` and `points.npz`: what the trained network, and the mixtures of `--shares` with the one
before (M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022), say of CACHE's crops as they are:
`points_px` (S, L, 21, 2) and `presence` (S, L). An interrupted round goes on where it was.
"""

import argparse
import logging
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.programs import exit_code, finite
from models.data.crop_cache import read_cache, shard_folders
from models.data.landmark_maps import add_maps, read_maps
from models.files.npzfile import write_npz
from models.network.checkpoint import read_tensors, write_tensors
from models.network.landmark_net import IMAGE_PX, LandmarkNet, read_landmark_net
from models.training.landmarks import LATE, pooled_of

log = logging.getLogger(__name__)

_SOFT = 0.03
"""An error of so large a share of the side counts as a logarithm from here on: hidden joints teach less."""
_LEAST_RATE, _WARMUP, _CLIP, _EMA = 0.05, 20, 2.0, 0.99
_SAVE_EVERY = 50
_BATCH = 32
VARIANTS = 4


class LookedAt:
    """A cache's crops as the landmark network's first blocks see them in A variants, the first the crop as it is.

    `maps` (L, A, 112, 14, 14) memory-mapped, `answers` (L, A, 65), `affine` (L, A, 3, 3), `labels_px` (L, 21, 2) in
    pixels of the cached crop and `confidence` (L, 21).
    """

    def __init__(self, cache: Path) -> None:
        """Raises UserError for maps that are damaged, or that another program made of the cache."""
        _, shards = read_cache(cache)
        looked = [
            read_maps(folder, len(shard.crops_rgb), "this again")
            for folder, shard in zip(shard_folders(cache), shards, strict=True)
        ]
        self.maps = [maps for maps, _, _ in looked]
        if any(maps.shape[1] != VARIANTS for maps in self.maps):
            raise UserError(
                f"{cache}: has maps of another number of variants than {VARIANTS}, as `python -m "
                "models.data.landmark_maps` makes them. Remove its shard_*/maps.npy and run this again."
            )
        self.answers = np.concatenate([answers for _, answers, _ in looked])
        self.affine = np.concatenate([affine for _, _, affine in looked]).astype(np.float64)
        self.labels_px = np.concatenate([shard.labels_px[: len(shard.crops_rgb)] for shard in shards])
        self.confidence = np.concatenate([shard.label_confidence[: len(shard.crops_rgb)] for shard in shards])
        self.place = [(number, row) for number, maps in enumerate(self.maps) for row in range(len(maps))]

    def hold(self) -> None:
        """Make the labels what the network says of the crops as they are."""
        plain = np.linalg.inv(self.affine[:, 0])
        points_px = self.answers[:, 0, : 3 * JOINTS].reshape(-1, JOINTS, 3)[..., :2]
        self.labels_px = np.einsum("lab,ljb->lja", plain[:, :2, :2], points_px) + plain[:, None, :2, 2]
        self.confidence = np.ones(self.labels_px.shape[:2])

    def map_of(self, crop: int, variant: int) -> np.ndarray:
        number, row = self.place[crop]
        return self.maps[number][row, variant]

    def draw(self, crops: np.ndarray, random: np.random.Generator) -> list[Tensor]:
        """Of so many of the crops, each in some variant: maps, answers, labels and their confidence."""
        variant = random.integers(self.affine.shape[1], size=len(crops))
        affine = self.affine[crops, variant]
        points_px = np.einsum("nab,njb->nja", affine[:, :2, :2], self.labels_px[crops]) + affine[:, None, :2, 2]
        maps = np.stack([self.map_of(*each) for each in zip(crops, variant, strict=True)])
        parts = maps, self.answers[crops, variant], points_px, self.confidence[crops]
        return [torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts]


def losses_of(network: LandmarkNet, original: LandmarkNet, batch: list[Tensor]) -> dict[str, Tensor]:
    """By name, unweighted; `point_px` is the weighted mean distance for the log, no loss."""
    maps, answers, points_px, confidence = batch
    maps = maps.contiguous(memory_format=torch.channels_last)
    pooled = pooled_of(network, maps)
    with torch.no_grad():
        before = pooled_of(original, maps)
    image, known = network.image(pooled).unflatten(1, (JOINTS, 3)), answers[:, : 3 * JOINTS].unflatten(1, (JOINTS, 3))
    distance = (((image[..., :2] - points_px) / IMAGE_PX).square().sum(-1) + 1e-6).sqrt()
    weight = confidence / confidence.sum().clamp_min(1e-6)
    logits = torch.cat([network.presence(pooled), network.right(pooled)], 1)
    return {
        "point": (weight * _SOFT * torch.log1p(distance / _SOFT)).sum(),
        "depth": (image[..., 2] - known[..., 2]).abs().mean() / IMAGE_PX,
        "feature": (pooled - before).square().mean() / before.square().mean(),
        "logits": (logits - answers[:, 3 * JOINTS :]).square().mean(),
        "point_px": IMAGE_PX * (weight * distance).sum().detach(),
    }


def learning_of(network: LandmarkNet) -> dict[str, Tensor]:
    """The parameters that learn, by name: the late blocks but their filters of each channel, whose gradients cost as
    much as all the rest, and the head."""
    names = {
        name
        for name, _ in network.named_parameters()
        if name.startswith("image.") or (name.startswith("blocks.") and int(name.split(".")[1]) >= LATE)
    }
    names = {name for name in names if not name.endswith("depthwise.weight")}
    return {name: each for name, each in network.named_parameters() if name in names}


class LandmarkRound:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.original, self.network = read_landmark_net(args.original), read_landmark_net(args.start or args.original)
        for each in (self.original, self.network):
            each.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            each.requires_grad_(False)
        self.learning = learning_of(self.network)
        for each in self.learning.values():
            each.requires_grad_(True)
        self.averaged = {name: each.detach().clone() for name, each in self.learning.items()}
        self.optimiser = torch.optim.AdamW(self.learning.values(), lr=args.learning_rate, weight_decay=0)
        self.step, self.stop = 0, False

    def run(self, taught: LookedAt, held: list[LookedAt]) -> None:
        args = self.args
        resume = args.out / "resume.safetensors"
        if resume.is_file():
            self._load(resume)
        teaches = np.flatnonzero((taught.confidence > 0).any(1))
        holds = round(args.hold_share * args.batch) if held else 0
        seen: list[list[float]] = []
        with tqdm(total=args.steps, initial=self.step, unit="step", file=sys.stderr, disable=None) as bar:
            while self.step < args.steps:
                random = np.random.default_rng([args.seed, self.step])
                crops = random.choice(teaches, args.batch - holds, p=None)
                parts = [(taught.draw(crops, random), 1 - args.hold_share if holds else 1.0)]
                if holds:
                    other = held[random.integers(len(held))]
                    parts.append((other.draw(random.integers(len(other.place), size=holds), random), args.hold_share))
                seen.append(self._train(parts))
                self.step += 1
                bar.update()
                if self.step % _SAVE_EVERY == 0 or self.step == args.steps:
                    mean = np.mean(seen[-_SAVE_EVERY:], axis=0)
                    log.info("step %d: %s px off", self.step, ", ".join(f"{each:.2f}" for each in mean))
                    self._save(resume)
        state = self.network.state_dict()
        state |= self.averaged
        write_tensors(args.out / "weights.safetensors", state, {"step": self.step})
        self._look(taught, state)

    def _train(self, parts: list[tuple[list[Tensor], float]]) -> list[float]:
        args = self.args
        rate = min((self.step + 1) / _WARMUP, 1.0)
        rate *= _LEAST_RATE + (1 - _LEAST_RATE) * (1 + math.cos(math.pi * self.step / args.steps)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = args.learning_rate * rate
        weights = {"point": 10.0, "depth": 0.3, "feature": args.hold_features, "logits": 0.002}
        losses = [losses_of(self.network, self.original, part) for part, _ in parts]
        total = torch.stack([
            share * weight * each[name]
            for each, (_, share) in zip(losses, parts, strict=True) for name, weight in weights.items()
        ]).sum()  # fmt: skip
        self.optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(list(self.learning.values()), _CLIP)
        self.optimiser.step()
        decay = min(_EMA, (self.step + 2) / (self.step + 11))
        with torch.no_grad():
            for name, mean in self.averaged.items():
                mean.lerp_(self.learning[name], 1 - decay)
        return [float(each["point_px"]) for each in losses]

    @torch.inference_mode()
    def _look(self, taught: LookedAt, state: dict[str, Tensor]) -> None:
        """Write what the mixtures of the weights before and after say of the crops as they are."""
        before = self.original.state_dict()
        network = LandmarkNet().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        affine = np.linalg.inv(taught.affine[:, 0])
        points, presence = [], []
        for share in self.args.shares:
            network.load_state_dict({name: before[name].lerp(value, share) for name, value in state.items()})
            found, here = [], []
            for first in range(0, len(taught.place), _BATCH):
                crops = range(first, min(first + _BATCH, len(taught.place)))
                maps = torch.from_numpy(np.stack([taught.map_of(crop, 0) for crop in crops])).float()
                pooled = pooled_of(network, maps.contiguous(memory_format=torch.channels_last))
                found.append(network.image(pooled).unflatten(1, (JOINTS, 3))[..., :2].numpy())
                here.append(torch.sigmoid(network.presence(pooled)).squeeze(1).numpy())
            points_px = np.concatenate(found).astype(np.float64)
            points.append(np.einsum("lab,ljb->lja", affine[:, :2, :2], points_px) + affine[:, None, :2, 2])
            presence.append(np.concatenate(here))
        write_npz(self.args.out / "points.npz", {"points_px": np.stack(points), "presence": np.stack(presence)})

    def _save(self, path: Path) -> None:
        state = {f"learning.{name}": each for name, each in self.learning.items()}
        state |= {f"averaged.{name}": each for name, each in self.averaged.items()}
        for name, each in self.learning.items():
            for kind in ("exp_avg", "exp_avg_sq"):
                state[f"{kind}.{name}"] = self.optimiser.state[each][kind]
        write_tensors(path, state, {"step": self.step})

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        tensors, header = read_tensors(path)
        self.step = int(header["step"])
        for name, each in self.learning.items():
            each.copy_(tensors[f"learning.{name}"])
            self.averaged[name].copy_(tensors[f"averaged.{name}"])
            moments = {kind: tensors[f"{kind}.{name}"] for kind in ("exp_avg", "exp_avg_sq")}
            self.optimiser.state[each] = {"step": torch.tensor(float(self.step)), **moments}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.adapt")
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--original", type=Path, required=True, help="weights that are held on to")
    parser.add_argument("--start", type=Path, help="weights to begin from (default: the original's)")
    parser.add_argument("--hold", type=Path, nargs="*", default=[], help="caches of which the answers are held fast")
    parser.add_argument("--shares", type=finite, nargs="+", default=[1.0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hold-share", type=finite, default=0.25)
    parser.add_argument("--hold-features", type=finite, default=0.05)
    parser.add_argument("--learning-rate", type=finite, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_code(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    original = read_landmark_net(args.original)
    args.out.mkdir(parents=True, exist_ok=True)
    for cache in (args.cache, *args.hold):
        add_maps(cache, original, VARIANTS, plain=True)
    taught, held = LookedAt(args.cache), [LookedAt(cache) for cache in args.hold]
    for each in held:
        each.hold()
    LandmarkRound(args).run(taught, held)
    return 0


if __name__ == "__main__":
    sys.exit(main())
