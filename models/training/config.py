"""The settings of a training run, read from YAML. Loads no torch."""

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from calibration.errors import UserError
from calibration.yamlfile import read_yaml
from models.data.augmentation import AugmentationConfig
from models.network.config import MAX_VIEWS, PARTS, NetworkConfig, recipe


def _at_least(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name} is {value}, expected a number of at least {least}")


class LossConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Weights of the losses, the paper's but for `spread` and `covariance`, and `huber`: models/network/losses.py."""

    heatmap: float = 0.001
    position: float = 10.0
    spread: float = 0.03
    nll: float = 0.1
    projection: float = 10.0
    covariance: float = 0.01
    huber: float = 0.02

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _at_least(name, getattr(self, name), 0)


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Crop caches, or labelled sessions, to train on and to validate on (paths relative to the YAML file).

    `views` are the numbers of views that batches draw; with `unseen` the labels of the others supervise the 3D as well.
    With `fused` positions are learned from what the labels of all views agree on: models/data/fused_labels.py. With
    `sightings` a landmark network is not run: what it said of the crops is read (models/data/sightings.py).
    """

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    views: tuple[int, ...] = (2, 3, 4)
    unseen: bool = True
    fused: bool = False
    sightings: bool = False
    augmentation: AugmentationConfig = AugmentationConfig()

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("data.train is empty, expected at least one crop cache")
        if not self.views or not all(2 <= views <= MAX_VIEWS for views in self.views):
            raise ValueError(f"data.views is {self.views}, expected numbers from 2 to {MAX_VIEWS}")


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A run. `network` is a recipe's name under `recipe` (without it, small), and fields to change.

    The first `stage1_steps` of the `steps` train stage 1 alone, on batches of `stage1_batch` single frames; the others
    everything, on batches of `batch` windows, or, with `freeze_stage1`, everything but stage 1. Windows have as many
    frames as the network takes, or `frames`: one frame teaches all but the temporal attention, at a fifth of the cost.
    The rate of Adam rises over `warmup_steps` to `learning_rate`, then falls as a cosine. Batches are per process.
    `ema` is the decay of the averaged weights, which are those that are validated and saved. `start` is the checkpoint,
    or `shipped`, that the run begins from: of a network that has all parts of this one, in the same sizes.
    `backbone_weights` is a file with the backbone's, which are taken even where there is a `start`. `bad_steps` is how
    many steps in a row may end in NaN before the run does.
    """

    data: DataConfig
    output: str
    network: dict[str, Any] = {}
    losses: LossConfig = LossConfig()
    seed: int = 0
    steps: int = 60_000
    stage1_steps: int = 0
    frames: int | None = None
    freeze_stage1: bool = False
    batch: int = 8
    stage1_batch: int = 40
    learning_rate: float = 3e-4
    warmup_steps: int = 500
    clip_norm: float = 5.0
    ema: float = 0.999
    precision: Literal["bf16", "float32"] = "bf16"
    backbone_weights: str | None = None
    start: str | None = None
    workers: int = 1
    log_every: int = 20
    validate_every: int = 1000
    validation_windows: int = 200
    save_every: int = 500
    bad_steps: int = 20

    def __post_init__(self) -> None:
        positive = ("steps", "batch", "stage1_batch", "log_every", "validate_every", "save_every", "bad_steps")
        for name in positive:
            _at_least(name, getattr(self, name), 1)
        if self.frames is not None:
            _at_least("frames", self.frames, 1)
        for name in ("seed", "stage1_steps", "warmup_steps", "workers", "validation_windows"):
            _at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "clip_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} is {getattr(self, name)}, expected a finite number above 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}, expected 0 or more and below 1")

    def network_config(self) -> NetworkConfig:
        """Raises UserError for an unknown recipe or field, and for windows longer than the network takes."""
        changes = dict(self.network)
        network = recipe(str(changes.pop("recipe", "small")), **changes)
        if (self.frames or 1) > network.frames:
            raise UserError(f"frames is {self.frames}, expected at most {network.frames}, those that the network takes")
        return network

    @property
    def window_frames(self) -> int:
        """Of the windows that everything is trained on."""
        return self.frames or self.network_config().frames


FREE_FIELDS = ("output", "workers", "log_every", "validate_every", "validation_windows", "save_every", "bad_steps")
"""What may change when a run is resumed, because the weights do not depend on it."""


def read_train_config(path: Path, without: str | None = None) -> TrainConfig:
    """Read a run's YAML; its paths are returned absolute.

    `without` is a part of the network to train without, one of `PARTS`; such a run has a folder of its own.
    Raises UserError for a missing file, an unknown key (with the nearest known one) or part, a value that does not fit
    or data that is not there.
    """
    config = read_yaml(path, TrainConfig)
    if without:
        if without not in PARTS:
            raise UserError(f"cannot train without {without!r}; choose one of {', '.join(PARTS)}")
        network, output = config.network | {without: False}, f"{config.output}_without_{without}"
        config = msgspec.structs.replace(config, network=network, output=output)
    path = path.absolute()  # a run may be resumed from another folder
    config.network_config()
    resolved = {
        name: tuple(str(path.parent / each) for each in getattr(config.data, name)) for name in ("train", "validation")
    }
    for folder in (*resolved["train"], *resolved["validation"]):
        if not Path(folder).is_dir():
            raise UserError(f"{path}: data: `{folder}`: no such folder. Give the folders of crop caches.")
    weights = config.backbone_weights and str(path.parent / config.backbone_weights)
    if weights and not Path(weights).is_file():
        raise UserError(f"{path}: backbone_weights: `{weights}`: no such file. Leave it out to start from scratch.")
    start = config.start if config.start in (None, "shipped") else str(path.parent / config.start)
    if start not in (None, "shipped") and not Path(start).is_file():
        raise UserError(f"{path}: start: `{start}`: no such checkpoint. Leave it out to start from scratch.")
    return msgspec.structs.replace(
        config,
        start=start,
        data=msgspec.structs.replace(config.data, **resolved),
        output=str(path.parent / config.output),
        backbone_weights=weights,
    )
