"""Windows of simulated hands, rendered as they are asked for: endless variety, at the price of rendering each once."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from models.data.augmentation import NO_AUGMENTATION, AugmentationConfig
from models.data.crop_cache import MARGIN, CacheManifest
from models.data.generate import GenerateSettings, check_settings, person_shards
from models.data.windows import FRAMES, WindowDataset


class SimulatedWindows(IterableDataset):
    """The windows that a crop cache of `settings` would hold, person after person, each person's in random order.

    Items are those of WindowDataset, with as many views as the settings say. A DataLoader's workers share the people
    among themselves. Raises UserError for settings that cannot be.
    """

    def __init__(
        self,
        settings: GenerateSettings,
        size_px: int = 128,
        frames: int = FRAMES,
        augmentation: AugmentationConfig = NO_AUGMENTATION,
        truth: bool = False,
        unseen: bool = False,
    ) -> None:
        check_settings(settings)
        self.settings, self.size_px, self.frames = settings, size_px, frames
        self.augmentation, self.truth, self.unseen = augmentation, truth, unseen

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        manifest = CacheManifest(size_px=self.settings.size_px, views=self.settings.views, margin=MARGIN, truth=True)
        for person in range(first, self.settings.people, step):
            shards = person_shards(self.settings, person)
            if not self.truth:
                shards = [replace(shard, joints_m=None, visible=None) for shard in shards]
            shards = [shard for shard in shards if len(shard.rows) >= self.frames]
            if not shards:
                continue
            windows = WindowDataset(
                [(manifest, shards)],
                self.size_px,
                self.frames,
                self.augmentation,
                self.settings.views,
                self.truth,
                seed=person,
                unseen=self.unseen,
            )
            for number in np.random.default_rng([self.settings.seed, person]).permutation(len(windows)):
                yield windows[int(number)]
