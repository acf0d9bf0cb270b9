"""What the landmark network says of the crops of a cache, kept beside them, so that training needs no pictures.

    python -m models.data.sightings WEIGHTS CACHE [--spectrum REAL ...]

A shard gets two files more (R pictures, A variants of each): `sightings.npy` (R, A, SIGHTING) float16, as
models/network/landmark_features.py packs them, and `variants.npy` (R, A, 3, 3) float32, which maps pixels of the cached
crop to those of the variant that the network saw. The first variant is little changed; the others are turned, moved,
blurred, darkened, noisy or partly covered, as a moving hand in a dim room is seen by a webcam. With caches of REAL
hands every variant is first taken towards their light and colours (models/data/spectrum.py).
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from models.data.crop_cache import Shard, read_beside, read_cache, shard_folders
from models.data.landmark_command import add_to_cache
from models.data.spectrum import RealCrops, towards_real
from models.files.npyfile import write_npy
from models.network.landmark_features import SIGHTING, sight
from models.network.landmark_net import IMAGE_PX, LandmarkNet

log = logging.getLogger(__name__)

VARIANTS = 2
_NEARLY_PLAIN = 0.3
_BATCH = 16
_SEED = 50


def add_sightings(cache: Path, network: LandmarkNet, variants: int = VARIANTS, real: RealCrops | None = None) -> int:
    """Write the files of each shard that lacks them; returns how many crops were looked at."""
    manifest, shards = read_cache(cache)
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    count = 0
    for index, (folder, shard) in enumerate(zip(shard_folders(cache), shards, strict=True)):
        if (folder / "sightings.npy").exists():
            continue
        random = np.random.default_rng([_SEED, index])
        packed, affine = _of_shard(shard, network, random, variants, manifest.size_px, manifest.margin, real)
        write_npy(folder / "variants.npy", affine)
        write_npy(folder / ".sightings.npy", packed)
        (folder / ".sightings.npy").rename(folder / "sightings.npy")
        count += len(packed) * variants
        log.info("%s: %d crops seen", folder, count)
    return count


@torch.inference_mode()
def _of_shard(
    shard: Shard,
    network: LandmarkNet,
    random: np.random.Generator,
    variants: int,
    cached_px: int,
    margin: float,
    real: RealCrops | None,
) -> tuple[np.ndarray, np.ndarray]:
    R = len(shard.crops_rgb)
    affine = np.stack([draw_variants(random, variants, cached_px, margin) for _ in range(R)]).astype(np.float32)
    packed = np.zeros((R, variants, SIGHTING), np.float16)
    flat = [(row, variant) for row in range(R) for variant in range(variants)]
    for some in _chunks(flat):
        crops = np.stack(
            [
                variant_image(
                    shard.crops_rgb[row] if real is None else towards_real(shard.crops_rgb[row], real, random),
                    affine[row, variant],
                    random,
                    variant,
                )
                for row, variant in some
            ]
        )
        found = sight(network, torch.from_numpy(crops)).pack().numpy()
        for (row, variant), each in zip(some, found, strict=True):
            packed[row, variant] = each
    return packed, affine


def _chunks(items: list) -> Iterator[list]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def draw_variants(
    random: np.random.Generator, variants: int, cached_px: int, margin: float, plain: bool = False
) -> np.ndarray:
    """(A, 3, 3): the first (nearly) the plain crop; the others as far off as a crop of a predicted hand may be."""
    strength = np.where(np.arange(variants) == 0, 0.0 if plain else _NEARLY_PLAIN, 1.0)
    angle = strength * random.normal(0, np.deg2rad(10), variants)
    scale = IMAGE_PX * margin / cached_px * np.exp(strength * random.normal(0, 0.07, variants))
    centre = (IMAGE_PX - 1) / 2 + IMAGE_PX * strength[:, None] * random.normal(0, 0.04, (variants, 2))
    affine = np.zeros((variants, 3, 3))
    affine[:, 0, 0] = affine[:, 1, 1] = scale * np.cos(angle)
    affine[:, 1, 0] = scale * np.sin(angle)
    affine[:, 0, 1] = -affine[:, 1, 0]
    affine[:, :2, 2] = centre - affine[:, :2, :2].sum(-1) * (cached_px - 1) / 2
    affine[:, 2, 2] = 1
    return affine


def variant_image(
    crop_rgb: np.ndarray, affine: np.ndarray, random: np.random.Generator, variant: int, plain: bool = False
) -> np.ndarray:
    """The variant (224, 224, 3) of a cached crop."""
    image = cv2.warpAffine(crop_rgb, affine[:2], (IMAGE_PX, IMAGE_PX), flags=cv2.INTER_LINEAR)
    if variant == 0 and plain:
        return image
    return degrade(image, random, _NEARLY_PLAIN if variant == 0 else 1.0)


def degrade(image: np.ndarray, random: np.random.Generator, strength: float) -> np.ndarray:
    """The picture (S, S, 3) as a worse camera in worse light takes it; each harm only with some probability."""
    if random.random() < 0.5 * strength:
        image = _move(image, random, strength)
    if random.random() < 0.5 * strength:
        # A far hand: fewer pixels than the crop has.
        small = max(int(image.shape[0] * np.exp(-strength * random.uniform(0.2, 1.2))), 16)
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), image.shape[:2])
    if random.random() < 0.25 * strength:
        image = _cover(image, random)
    picture = image.astype(np.float32) / 255
    gamma = np.exp(strength * random.normal(0, 0.3))
    gain = np.exp(strength * (random.normal(0, 0.15) - 0.5 * random.exponential(0.5)))
    tint = np.exp(strength * random.normal(0, 0.08, 3))
    picture = (picture**gamma * gain * tint).clip(0, 1)
    noise = strength * random.exponential(0.02)
    picture += noise * random.standard_normal(picture.shape, dtype=np.float32)
    return (picture.clip(0, 1) * 255).astype(np.uint8)


def _move(image: np.ndarray, random: np.random.Generator, strength: float) -> np.ndarray:
    """Blurred along a line, as of a hand that moves."""
    length, angle = strength * random.exponential(8.0), random.uniform(0, np.pi)
    size = 2 * int(min(length, 30) / 2) + 1
    if size < 3:
        return image
    kernel = np.zeros((size, size), np.float32)
    half = size // 2
    step = (half * np.array([np.cos(angle), np.sin(angle)])).round().astype(int)
    cv2.line(kernel, tuple(half - step), tuple(half + step), 1.0)  # type: ignore[arg-type]
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _cover(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Something of one colour, or another part of the picture, lies before a part of it."""
    side = image.shape[0]
    width, height = (random.uniform(0.1, 0.35, 2) * side).astype(int)
    left, top = int(random.uniform(0, side - width)), int(random.uniform(0, side - height))
    image = image.copy()
    if random.random() < 0.5:
        image[top : top + height, left : left + width] = random.integers(0, 256, 3)
    else:
        x, y = int(random.uniform(0, side - width)), int(random.uniform(0, side - height))
        image[top : top + height, left : left + width] = image[y : y + height, x : x + width].copy()
    return image


def read_sightings(folder: Path, pictures: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Of a shard's R pictures: sightings (R, A, SIGHTING), memory-mapped, and variants (R, A, 3, 3); None where not
    made. Raises UserError where they are damaged."""
    if not (folder / "sightings.npy").exists():
        return None
    shapes = {"sightings": (SIGHTING,), "variants": (3, 3)}
    again = f"python -m models.data.sightings WEIGHTS {folder.parent}"
    sightings, variants = read_beside(folder, again, pictures, shapes)
    return sightings, variants


def _add(cache: Path, network: LandmarkNet, args: argparse.Namespace) -> None:
    add_sightings(cache, network, real=RealCrops(args.spectrum) if args.spectrum else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m models.data.sightings")
    parser.add_argument("--spectrum", type=Path, nargs="+", metavar="REAL", help="caches of real hands")
    sys.exit(add_to_cache(parser, _add))
