"""What the landmark network's first blocks make of a cache's crops, kept beside them: its last blocks learn from that.

    python -m models.data.landmark_maps WEIGHTS CACHE

A shard gets three files more (R pictures, A variants of each): `maps.npy` (R, A, 112, 14, 14) float16, the level of
stride 16; `map_answers.npy` (R, A, 65) float32, the original network's 63 image coordinates, its logit of presence and
that of the right side; `map_variants.npy` (R, A, 3, 3), from pixels of the cached crop to those that it saw. Variants
are those of models/data/sightings.py: worse pictures of the hand, or first the crop as it is and then those.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from models.data.crop_cache import Shard, read_beside, read_cache, shard_folders
from models.data.landmark_command import add_to_cache
from models.data.sightings import draw_variants, variant_image
from models.files.npyfile import write_npy, write_npy_parts
from models.network.landmark_net import CHANNELS, IMAGE_PX, LandmarkNet

log = logging.getLogger(__name__)

STRIDE, LEVEL = 16, 2
VARIANTS = 2
_BATCH = 16
_SEED = 77


def add_maps(
    cache: Path,
    network: LandmarkNet,
    variants: int = VARIANTS,
    plain: bool = False,
    progress: Callable[[int], object] = lambda crops: None,
) -> int:
    """Write the files of each shard that lacks them; returns how many crops were looked at.

    With `plain` the first variant is the crop as it is. `progress` is called with the number of crops that were seen.
    """
    manifest, shards = read_cache(cache)
    network = network.eval()
    count = 0
    for index, (folder, shard) in enumerate(zip(shard_folders(cache), shards, strict=True)):
        if (folder / "maps.npy").exists():
            continue
        random = np.random.default_rng([_SEED, index])
        R = len(shard.crops_rgb)
        affine = np.stack([
            draw_variants(random, variants, manifest.size_px, manifest.margin, plain) for _ in range(R)
        ])  # fmt: skip
        answers = np.zeros((R, variants, 65), np.float32)
        maps = _of_shard(shard, network, random, affine, plain, answers, progress)
        shape = (R, variants, CHANNELS[LEVEL], IMAGE_PX // STRIDE, IMAGE_PX // STRIDE)
        write_npy_parts(folder / ".maps.npy", np.float16, shape, maps)
        write_npy(folder / "map_variants.npy", affine.astype(np.float32))
        write_npy(folder / "map_answers.npy", answers)
        (folder / ".maps.npy").rename(folder / "maps.npy")
        count += R * variants
        log.info("%s: %d crops seen", folder, count)
    return count


@torch.inference_mode()
def _of_shard(
    shard: Shard,
    network: LandmarkNet,
    random: np.random.Generator,
    affine: np.ndarray,
    plain: bool,
    answers: np.ndarray,
    progress: Callable[[int], object],
) -> Iterator[np.ndarray]:
    """The maps, some at a time, in order; `answers` (R, A, 65) are filled in."""
    R, A = affine.shape[:2]
    flat = [(row, variant) for row in range(R) for variant in range(A)]
    for start in range(0, len(flat), _BATCH):
        some = flat[start : start + _BATCH]
        crops = [variant_image(shard.crops_rgb[row], affine[row, which], random, which, plain) for row, which in some]
        found = network(torch.from_numpy(np.stack(crops)))
        logits = torch.stack([found.presence_logit, found.right_logit], 1)
        said = torch.cat([found.image.flatten(1), logits], 1).numpy()
        answers.reshape(R * A, -1)[start : start + len(some)] = said
        progress(len(some))
        yield found.levels[LEVEL].numpy()


def read_maps(folder: Path, pictures: int, again: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a shard's R pictures: maps, memory-mapped, answers and variants.

    Raises UserError where they are damaged, which says what is to be run `again`, by default this program.
    """
    again = again or f"python -m models.data.landmark_maps WEIGHTS {folder.parent}"
    side = IMAGE_PX // STRIDE
    shapes = {"maps": (CHANNELS[LEVEL], side, side), "map_answers": (65,), "map_variants": (3, 3)}
    maps, answers, variants = read_beside(folder, again, pictures, shapes)
    return maps, answers, variants


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m models.data.landmark_maps")
    sys.exit(add_to_cache(parser, lambda cache, network, _: add_maps(cache, network)))
