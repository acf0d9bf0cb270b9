"""The batches of a training run, in an order that a resumed run repeats, and those to validate on."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from calibration.errors import UserError
from models.data.windows import WindowBatches, WindowKey, quiet_worker
from models.training.config import TrainConfig


class Windows(Protocol):
    """Windows as of models/data/windows.py, by keys (number, epoch, views)."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: WindowKey) -> dict[str, Tensor]: ...


class EndlessBatches(Sampler):
    """Batches of one epoch after the other, from batch number `first` on."""

    def __init__(self, batches: WindowBatches, first: int) -> None:
        self._batches, self._first = batches, first

    def __iter__(self) -> Iterator[list[WindowKey]]:
        self._batches.start = 0
        self._batches.epoch, self._batches.start = divmod(self._first, len(self._batches))
        while True:
            yield from self._batches
            self._batches.epoch, self._batches.start = self._batches.epoch + 1, 0


class ValidationBatches(Sampler):
    """The same windows each time, spread evenly over the data, with each number of views in turn."""

    def __init__(self, length: int, config: TrainConfig) -> None:
        count = min(length, config.validation_windows)
        self._numbers = [index * length // count for index in range(count)]
        self._batch, self._views = config.batch, config.data.views

    def __iter__(self) -> Iterator[Sequence[WindowKey]]:
        for index, first in enumerate(range(0, len(self._numbers), self._batch)):
            views = self._views[index % len(self._views)]
            yield [(number, 0, views) for number in self._numbers[first : first + self._batch]]


def check_shared_memory(windows: Windows, batch: int, views: int, workers: int, room: Path = Path("/dev/shm")) -> None:
    """Raises UserError where the batches, of so many views, that `workers` hand over do not fit into shared memory.

    A worker that runs out of it is killed by SIGBUS, and nothing says why. A container has 64 MB by default.
    """
    if not workers or not room.is_dir():
        return
    item = windows[(0, 0, views)]
    needed = workers * batch * sum(part.element_size() * part.numel() for part in item.values())
    free = shutil.disk_usage(room).free
    if free < needed:
        raise UserError(
            f"{room} has {free / 1e6:.0f} MB free, and {workers} workers hand over batches of {needed / 1e6:.0f} MB in "
            "it. Give the container more (docker run --shm-size 8g), or set `workers: 0` or a smaller `batch`."
        )


def load_batches(windows: Windows, batches: Sampler, workers: int) -> DataLoader:
    dataset: Dataset = windows  # type: ignore[assignment]
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=quiet_worker,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        # The worker's seed comes from here, not from torch's state, which the steps set.
        generator=torch.Generator().manual_seed(0),
    )
