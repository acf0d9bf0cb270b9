"""`python -m models.data.measure_definition CACHE...`: the constants of models/hand/definition.py.

CACHE is of simulated crops with exact labels of many views, with sightings (models/data/sightings.py): the landmark
network's points in all views, fused, against the true joints.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.programs import exit_code
from models.data.crop_cache import Shard, read_cache, shard_folders
from models.data.sightings import read_sightings
from models.hand.definition import measure
from models.network.landmark_features import Sightings
from models.network.lifting import agreement, triangulate

_ROUNDS = 5
_FEWEST_VIEWS = 4
_PRESENT_LOGIT = 2.0


def fused_points(shard: Shard, sightings: np.ndarray, variants: np.ndarray, size_px: int) -> tuple[np.ndarray, ...]:
    """The network's joints (N, 21, 3) of a shard's frames, robustly fused over the views, and how many views (N,)."""
    seen = Sightings.unpack(torch.from_numpy(np.array(sightings[:, 0])))
    inverse = np.linalg.inv(variants[:, 0].astype(np.float64))
    keypoints_px = seen.keypoints_px[..., :2].numpy().astype(np.float64)
    keypoints_px = keypoints_px @ inverse[:, :2, :2].swapaxes(1, 2) + inverse[:, None, :2, 2]
    rows = np.where(shard.rows < len(sightings), shard.rows, -1)
    there = (rows >= 0) & (seen.presence_logit.numpy()[rows] > _PRESENT_LOGIT)
    points = torch.from_numpy(keypoints_px[rows]).float()
    P_crop = torch.from_numpy(shard.P_crop[rows] * (rows >= 0)[..., None, None]).float()
    weights = torch.from_numpy(there).float()[..., None].expand(-1, -1, JOINTS)
    agreeing = weights
    for _ in range(_ROUNDS):
        joints = triangulate(points.transpose(1, 2), agreeing.transpose(1, 2), P_crop[:, None], size_px)
        agreeing = weights * agreement(joints, points, P_crop, size_px)
    return joints.double().numpy(), there.sum(1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.data.measure_definition", description=__doc__)
    parser.add_argument("caches", type=Path, nargs="+", metavar="CACHE")
    args = parser.parse_args()
    return exit_code(lambda: run(args.caches))


def run(caches: list[Path]) -> int:
    ours, theirs = [], []
    for cache in caches:
        manifest, shards = read_cache(cache, truth=True)
        for folder, shard in zip(shard_folders(cache), shards, strict=True):
            found = read_sightings(folder, len(shard.crops_rgb))
            if found is None or shard.joints_m is None:
                raise UserError(
                    f"{cache}: lacks what the landmark network says of its crops. Run: python -m "
                    f"models.data.sightings WEIGHTS {cache}"
                )
            joints_m, views = fused_points(shard, *found, manifest.size_px)
            kept = (views >= _FEWEST_VIEWS) & np.isfinite(joints_m).all((1, 2))
            ours.append(shard.joints_m[kept].astype(np.float64))
            theirs.append(joints_m[kept])
    truth_m, detector_m = np.concatenate(ours), np.concatenate(theirs)
    if not len(truth_m):
        raise UserError(
            f"no hand is seen in {_FEWEST_VIEWS} views. Make a cache of more: `usthand simulate-crops --views 8`."
        )
    for name, offsets in (
        ("_TO_DETECTOR", measure(truth_m, detector_m)),
        ("_TO_ANATOMICAL", measure(detector_m, truth_m)),
    ):
        rows = ",\n        ".join(str([round(float(x), 4) for x in row]) for row in offsets)
        sys.stdout.write(f"{name} = np.array(\n    [\n        {rows},\n    ]\n)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
