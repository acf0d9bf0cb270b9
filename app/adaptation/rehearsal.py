"""Simulated hands: those of which the network's answers are held fast, and those on which it is measured that it has
forgotten nothing. Rendered when they are first needed, and kept in the user's cache."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from calibration.cached_folder import cached_folder
from calibration.found_files import read_found
from models.data.crop_cache import MARGIN
from models.data.generate import GenerateSettings, generate

log = logging.getLogger(__name__)

_SIZE_PX = round(MARGIN * 224)
REHEARSAL = GenerateSettings(
    seed=9090, people=24, clips=8, frames=1, size_px=_SIZE_PX, upright=True, grades={"perfect": 1.0}
)
TEST = GenerateSettings(
    split="test", seed=9090, people=8, clips=3, frames=6, size_px=_SIZE_PX, upright=True, grades={"moderate": 1.0}
)


def simulated_crops(
    cache: Path,
    settings: GenerateSettings,
    weights: Path | None,
    workers: int,
    progress: Callable[[int, int], object],
) -> Path:
    """The crop cache of these settings in `cache`; one of its own for each landmark network whose `weights` will be
    asked about the crops, for the answers are kept beside them."""

    def make(folder: Path) -> None:
        for done, total in generate(folder, settings, workers):
            progress(done, total)

    told = json.dumps(msgspec.to_builtins(settings), sort_keys=True).encode()
    key = hashlib.sha256(told + (read_found(weights) if weights else b"")).hexdigest()[:12]
    kind = f"simulated-{settings.split}-crops"
    return cached_folder(cache, kind, key, lambda folder: (folder / "manifest.json").is_file(), make)
