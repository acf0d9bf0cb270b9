"""The rest of the network learns the rig: how far to trust each view and joint, corrections, and time.

It learns from windows of five sets, of which it sees two or three views, where the teacher, who knows all of them, puts
the joints in those views and in the others; mixed with simulated hands, whose labels are true. What the landmark
network, which does not change any more, says of each crop is kept beside it (models/data/sightings.py).
"""

from pathlib import Path

from calibration.yamlfile import write_yaml


def link_cache(cache: Path, to: Path) -> None:
    """The same crops in another folder, so that what another network says of them can be kept there."""
    for file in [cache / "manifest.json", *cache.glob("shard_*/*")]:
        if file.name.startswith(("maps", "map_", "sightings", "variants")):
            continue
        link = to / file.relative_to(cache)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(file.resolve())


def write_head_config(path: Path, *, crops: Path, held: Path, start: Path, steps: int, rate: float, seed: int) -> None:
    """The settings of a run of `usthand train`, in the folder `run` beside the file."""
    write_yaml(
        path,
        {
            "output": "run",
            "data": {
                "train": [str(crops.resolve()), str(held.resolve())],
                "views": [2, 3],
                "unseen": True,
                "sightings": True,
                "augmentation": {"rotation_deg": 0.0, "scale": 0.0, "centre": 0.0, "colour": 0.0},
            },
            "network": {"recipe": "live"},
            "start": str(start.resolve()),
            "seed": seed,
            "steps": steps,
            "batch": 4,
            "learning_rate": rate,
            "warmup_steps": 10,
            "ema": 0.97,
            "precision": "float32",
            "validation_windows": 0,
            "save_every": 20,
            "workers": 0,
        },
    )
