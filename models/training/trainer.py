"""Training from 2D labels: steps, averaged weights, validation, checkpoints, exact resume.

A run resumed from its last save goes on as if it had not been interrupted, bit for bit on the CPU: all that is random
is a function of the seed and the step, and `resume.safetensors` holds the rest.
"""

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from calibration.errors import UserError
from models.data.windows import WindowBatches
from models.network.checkpoint import (
    CheckpointInfo,
    check_names,
    load_beginning,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from models.network.landmark_net import HeatmapLandmarkNet, LandmarkNet, read_landmark_net
from models.network.ust_hand import UstHand, draw_latents
from models.training.batches import EndlessBatches, ValidationBatches, Windows, check_shared_memory, load_batches
from models.training.config import FREE_FIELDS, TrainConfig
from models.training.monitor import Monitor, draw_windows
from models.training.processes import Processes
from models.training.step import to_device, window_losses
from models.training.validation import validate

RESUME, LAST, BEST = "resume.safetensors", "last.safetensors", "best.safetensors"
_LEAST_RATE = 0.01
_MOMENTS = ("exp_avg", "exp_avg_sq")
_OF_DATA = ("manifests_sha256", "windows")
"""Of a run's provenance: what a resumed run must find as it was."""


class TrainingData(NamedTuple):
    """Windows of a number of frames to train on, windows to validate on, and what checkpoints say of them."""

    windows: Callable[[int], Windows]
    validation: Windows | None
    provenance: dict[str, Any]


class Trainer:
    """One run in `config.output`; `stop` may be set at any time to save and end."""

    def __init__(self, config: TrainConfig, data: TrainingData, processes: Processes, resume: bool = False) -> None:
        self.config, self.data, self.processes = config, data, processes
        self.folder, self.device = Path(config.output), processes.device
        self.stop, self.step, self.skipped, self.best = False, 0, 0, math.inf
        self._bad_in_a_row = 0
        if (self.folder / RESUME).exists() and not resume:
            raise UserError(f"{self.folder}: holds a run already. Add --resume to go on, or give another --output.")
        torch.manual_seed(config.seed)
        self.model = UstHand(config.network_config()).to(self.device)
        if config.start and not resume:
            load_beginning(config.start, self.model)
        if config.backbone_weights:
            self._load_backbone(Path(config.backbone_weights))
        self.averaged = copy.deepcopy(self.model).eval()
        self.model.stage1.to_be_trained()
        self.optimiser = torch.optim.Adam(
            [each for each in self.model.parameters() if each.requires_grad], lr=config.learning_rate
        )
        if resume:
            self._load(self.folder / RESUME)

    def _load_backbone(self, path: Path) -> None:
        backbone = self.model.stage1.backbone
        if isinstance(backbone, LandmarkNet):
            put, wanted = read_landmark_net(path), isinstance(backbone, HeatmapLandmarkNet)
            if isinstance(put, HeatmapLandmarkNet) != wanted:
                raise UserError(
                    f"backbone_weights: {path} has {'no ' if wanted else ''}heatmaps, where the network's "
                    f"`landmark_heatmaps` is {str(wanted).lower()}. Change the one or the other."
                )
            backbone.load_state_dict(put.state_dict())
        else:
            backbone.load_imagenet(path)

    def run(self) -> dict[str, float]:
        """Train to the last step, or to `stop`; returns the figures of the last validation."""
        monitor = Monitor(self.folder, self.step, self.config.steps) if self.processes.rank == 0 else None
        figures: dict[str, float] = {}
        try:
            while self.step < self.config.steps and not self.stop:
                figures = self._run_phase(monitor) or figures
            self._save()
        finally:
            if monitor:
                monitor.close()
        return figures

    def _run_phase(self, monitor: Monitor | None) -> dict[str, float]:
        config, figures = self.config, {}
        stage1_only = self.step < config.stage1_steps
        end = min(config.stage1_steps, config.steps) if stage1_only else config.steps
        batches = iter(self._loader(stage1_only))
        losses, waited_s, since_s = [], 0.0, time.perf_counter()
        while self.step < end:
            asked_s = time.perf_counter()
            batch = next(batches)
            waited_s += time.perf_counter() - asked_s
            losses.append(self._train(batch, stage1_only))
            self.step += 1
            if monitor:
                monitor.advance()
            if self.step % config.log_every == 0:
                now_s = time.perf_counter()
                if monitor:
                    monitor.show(self.step, "train", self._figures(losses, waited_s, now_s - since_s))
                losses, waited_s, since_s = [], 0.0, now_s
            paused_s = time.perf_counter()
            try:
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    figures = self._validate(monitor) or figures
                if self.step % config.save_every == 0:
                    self._save()
            except OSError:
                self.processes.any(True)  # the others wait for this one, and end
                raise
            since_s += time.perf_counter() - paused_s
            if self.processes.any(self.stop):
                self.stop = True
                break
        return figures

    def _train(self, batch: dict[str, Tensor], stage1_only: bool) -> dict[str, Tensor]:
        """One step. A step whose loss or gradient is not finite changes nothing, and too many in a row end the run."""
        seed = _mix(self.config.seed, self.step, self.processes.rank)
        torch.manual_seed(seed)
        inputs = to_device(batch, self.device)
        size, _, views = inputs["view_mask"].shape
        latents = draw_latents(self.model.config, size, views, seed).to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * _rate(self.step, self.config)
        before = [buffer.clone() for buffer in self.model.buffers()]
        self.model.train()
        if self.config.freeze_stage1 and not stage1_only:
            self.model.stage1.eval().requires_grad_(False)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            losses = window_losses(self.model, inputs, latents, self.config.losses, stage1_only)
        losses["total"].backward()
        self.processes.average_gradients(self.model)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):  # of the averaged gradient: the same in every process
            self.optimiser.step()
            self.processes.average_statistics(self.model)
            self._average()
            self._bad_in_a_row = 0
        else:
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(value)
            self._count_bad_step()
        return {name: loss.detach() for name, loss in losses.items()} | {"gradient_norm": norm}

    def _count_bad_step(self) -> None:
        self.skipped += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= self.config.bad_steps:
            raise UserError(
                f"training diverged: the loss was not finite in {self._bad_in_a_row} steps in a row, up to step "
                f"{self.step}. Lower `learning_rate`, or look for bad labels. The last save is untouched."
            )

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 - min(self.config.ema, (1 + self.step) / (10 + self.step))
        for averaged, current in zip(
            self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True
        ):
            if averaged.is_floating_point():
                averaged.lerp_(current, share)
            else:
                averaged.copy_(current)

    def _figures(self, losses: list[dict[str, Tensor]], waited_s: float, passed_s: float) -> dict[str, float]:
        """Means since the last time; `waiting` is the share of the time that steps waited for data."""
        means = {name: torch.stack([each[name] for each in losses]).nanmean().item() for name in losses[-1]}
        seconds = {"waiting": waited_s / passed_s, "step_s": passed_s / len(losses)}
        return means | seconds | {"rate": self.optimiser.param_groups[0]["lr"], "skipped": float(self.skipped)}

    def _validate(self, monitor: Monitor | None) -> dict[str, float]:
        if monitor is None or self.data.validation is None or not self.config.validation_windows:
            return {}
        config, stage1_only = self.config, self.step < self.config.stage1_steps
        loader = load_batches(self.data.validation, ValidationBatches(len(self.data.validation), config), 0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            figures = validate(self.averaged, loader, config.losses, self.device, stage1_only)
            # Of crops that are kept as what the landmark network said of them there are no pictures.
            pictures = None
            if not config.data.sightings:
                pictures = draw_windows(self.averaged, next(iter(loader)), self.device)
        monitor.show(self.step, "validation", figures)
        if pictures is not None:
            monitor.show_pictures(self.step, pictures)
        monitor.say(f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        error = figures.get("mpjpe_mm", figures["projection"])
        if not stage1_only and error < self.best:
            self.best = error
            save_checkpoint(self.folder / BEST, self.averaged.state_dict(), self._info(figures))
        return figures

    def _loader(self, stage1_only: bool) -> DataLoader:
        """Batches from this step on."""
        config, peers = self.config, self.processes
        size = config.stage1_batch if stage1_only else config.batch
        windows = self.data.windows(1 if stage1_only else config.window_frames)
        seed = _mix(config.seed, int(stage1_only), 0)
        batches = WindowBatches(len(windows), size, config.data.views, seed, peers.rank, peers.world)
        if not len(batches):
            raise UserError(
                f"the data has {len(windows)} windows, fewer than a batch ({size} in each of {peers.world} processes). "
                "Give more data, or lower `batch` and `stage1_batch`."
            )
        check_shared_memory(windows, size, max(config.data.views), config.workers)
        done = self.step if stage1_only else self.step - min(config.stage1_steps, self.step)
        return load_batches(windows, EndlessBatches(batches, done), config.workers)

    def _info(self, figures: dict[str, float] | None = None) -> CheckpointInfo:
        provenance = self.data.provenance | {
            "seed": self.config.seed,
            "batch": self.config.batch * self.processes.world,
            "skipped_steps": self.skipped,
        }
        return CheckpointInfo(self.model.config, self.step, provenance | ({"validation": figures} if figures else {}))

    def _save(self) -> None:
        """Write the last checkpoint and what resuming needs, in the first process."""
        if self.processes.rank:
            return
        save_checkpoint(self.folder / LAST, self.averaged.state_dict(), self._info())
        header = {
            "config": msgspec.to_builtins(self.config),
            "data": self._of_data(),
            "world": self.processes.world,
            "step": self.step,
            "skipped": self.skipped,
            "bad_in_a_row": self._bad_in_a_row,
            "best": self.best if math.isfinite(self.best) else None,
        }
        write_tensors(self.folder / RESUME, self._state(), header)

    def _of_data(self) -> dict[str, Any]:
        return {name: self.data.provenance.get(name) for name in _OF_DATA}

    def _state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, but the step's number; the tensors are the run's own."""
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        state |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                state[f"adam.{key}.{name}"] = value
        return state

    def _load(self, path: Path) -> None:
        tensors, header = read_tensors(path)
        try:
            saved = msgspec.convert(header["config"], TrainConfig)
        except (KeyError, msgspec.ValidationError) as error:
            raise UserError(f"{path}: not what a run of this version saves ({error}). Start a new run.") from None
        names = [name for name in TrainConfig.__struct_fields__ if name not in FREE_FIELDS]
        changed = [name for name in names if getattr(saved, name) != getattr(self.config, name)]
        if header["world"] != self.processes.world:
            changed.append("the number of processes")
        if changed:
            raise UserError(f"{path}: the run was started with other settings: {', '.join(changed)}. Restore them.")
        if header.get("data", self._of_data()) != self._of_data():
            folders = ", ".join((*self.config.data.train, *self.config.data.validation))
            raise UserError(
                f"{path}: the run was started with other data than is in {folders} now. "
                f"Restore it, or begin a new run from what was learned: `start: {self.folder / LAST}`."
            )
        parameters = dict(self.model.named_parameters())
        for key in tensors:
            part, kind, name = (*key.split(".", 2), "")[:3]
            if part == "adam" and name in parameters and kind in (*_MOMENTS, "step"):
                like = parameters[name] if kind in _MOMENTS else torch.zeros(())
                self.optimiser.state[parameters[name]][kind] = torch.zeros_like(like)
        state = self._state()
        check_names(path, tensors, state)
        with torch.no_grad():
            for name, tensor in tensors.items():
                state[name].copy_(tensor)
        self.step, self.skipped = header["step"], header["skipped"]
        self._bad_in_a_row, self.best = header["bad_in_a_row"], header["best"] or math.inf


def _rate(step: int, config: TrainConfig) -> float:
    """Share of the learning rate at a step: a linear rise, then half a cosine down to a hundredth."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return _LEAST_RATE + (1 - _LEAST_RATE) * (1 + math.cos(math.pi * min(done, 1))) / 2


def _mix(*numbers: int) -> int:
    """A seed of its own for each tuple of numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
    return seed
