"""A training for a given time, from crops that lie packed on its device."""

import copy
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from models.data.packed_crops import PackedCrops
from models.network.config import recipe
from models.network.landmark_net import LandmarkNet, read_landmark_net
from models.network.ust_hand import UstHand, draw_latents
from models.training.config import LossConfig
from models.training.step import INPUTS, window_losses
from models.weights import checkpoint_path

_VIEWS = (2, 3, 4)
_RATES, _USUAL_RATE, _LEAST_SHARE = {"live": 1e-3}, 5e-4, 0.01
"""Adam's rate at the start, which falls as half a cosine to that share of it."""
_CLIP_NORM, _EMA = 5.0, 0.995
_STAGE1_SHARE = 0.7
"""Of the time, on single frames; then windows of all frames, a third as many of them."""
_VALIDATIONS, _HELD, _CHECKED = 8, 48, 4


class TimedTraining:
    """One recipe; `curve` has a row for each validation, `averaged` the weights to keep."""

    def __init__(self, name: str, packed: PackedCrops, batch: int) -> None:
        torch.manual_seed(0)
        self.config, self.packed, self.batch, self.device = recipe(name), packed, batch, packed.device
        self.model = UstHand(self.config).to(self.device)
        if isinstance(self.model.stage1.backbone, LandmarkNet):
            weights = read_landmark_net(checkpoint_path("shipped")).state_dict()
            self.model.stage1.backbone.load_state_dict(weights)
        self.averaged = copy.deepcopy(self.model).eval()
        self.model.stage1.to_be_trained()
        self.curve: list[dict[str, float | None]] = []
        self.step = self.skipped = 0
        self._rate = _RATES.get(name, _USUAL_RATE)
        learned = [each for each in self.model.parameters() if each.requires_grad]
        self._optimiser = torch.optim.Adam(learned, lr=self._rate)
        self._generator = torch.Generator(self.device).manual_seed(1)
        self._random = np.random.default_rng(2)
        self._windows = {frames: packed.windows(frames, held=False) for frames in (1, self.config.frames)}
        self._held = packed.windows(self.config.frames, held=True)

    def train(self, seconds: float, on_validation: Callable[[], object]) -> None:
        began, due = time.perf_counter(), 0.0
        while (done := (time.perf_counter() - began) / seconds) < 1 or self.step < 2:
            # The second step, too, is one of whole windows: what does not fit the memory shows at once.
            frames = 1 if done < _STAGE1_SHARE and self.step != 1 else self.config.frames
            loss = self._train_step(frames, self._rate * max((1 + math.cos(math.pi * min(done, 1))) / 2, _LEAST_SHARE))
            if done >= due:
                self.curve.append(self._row(frames, loss, time.perf_counter() - began))
                on_validation()
                due += 1 / _VALIDATIONS
        self.curve.append(self._row(self.config.frames, loss, time.perf_counter() - began))

    def windows_to_check(self) -> dict[str, np.ndarray]:
        """A few of four views, as arrays, of the held ones where there are such; with the true `joints_m`."""
        some = self._held if len(self._held) else self._windows[self.config.frames]
        batch = self._batch(some[:: max(len(some) // _CHECKED, 1)][:_CHECKED], self.config.frames, 4, None)
        return {name: batch[name].cpu().numpy() for name in (*INPUTS, "joints_m")}

    def _train_step(self, frames: int, rate: float) -> torch.Tensor:
        """One step. Where the gradient is not finite it changes nothing."""
        views = int(self._random.choice(_VIEWS))
        windows = self._windows[frames]
        size = max(self.batch // (1 if frames == 1 else 3), 1)
        chosen = torch.from_numpy(self._random.integers(len(windows), size=size)).to(self.device)
        batch = self._batch(windows[chosen], frames, views, self._generator)
        latents = draw_latents(self.config, size, views, self.step).to(self.device)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self._optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            losses = window_losses(self.model, batch, latents, LossConfig(), stage1_only=frames == 1)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP_NORM)
        if torch.isfinite(norm):
            self._optimiser.step()
            self._average()
        else:
            self.skipped += 1
        self.step += 1
        return losses["total"].detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 - min(_EMA, (1 + self.step) / (10 + self.step))
        both = zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True)
        for averaged, current in both:
            if averaged.is_floating_point():
                averaged.lerp_(current, share)
            else:
                averaged.copy_(current)

    def _batch(
        self, newest: torch.Tensor, frames: int, views: int, generator: torch.Generator | None
    ) -> dict[str, torch.Tensor]:
        views = min(views, self.packed.views)
        return self.packed.batch(newest, frames, views, self.config.crop_px, self.config.definition, generator)

    @torch.no_grad()
    def _row(self, frames: int, loss: torch.Tensor, seconds: float) -> dict[str, float | None]:
        """Of a validation: the mean error in mm of held hands in four views, of the result and of stage 1's mode."""
        row: dict[str, float | None] = {"seconds": round(seconds, 1), "step": self.step, "frames": frames}
        row["loss"] = round(float(loss), 4) if torch.isfinite(loss) else None
        errors: dict[str, list[torch.Tensor]] = {"mpjpe_mm": [], "stage1_mm": []}
        held = self._held[:: max(len(self._held) // _HELD, 1)][:_HELD]
        for some in held.split(8) if len(held) else ():
            batch = self._batch(some, self.config.frames, 4, None)
            latents = draw_latents(self.config, len(some), batch["view_mask"].shape[2], 1).to(self.device)
            with self._autocast():
                found = self.averaged(*(batch[name] for name in INPUTS), latents)
            mode_m = found.stage1.queries_m.unflatten(0, (len(some), -1))[:, -1]
            for name, joints_m in (("mpjpe_mm", found.joints_m), ("stage1_mm", mode_m)):
                errors[name].append(1e3 * (joints_m.float() - batch["joints_m"][:, -1]).norm(dim=-1).flatten())
        for name, values in errors.items():
            if values and math.isfinite(mean := float(torch.cat(values).nanmean())):
                row[name] = round(mean, 2)
        sys.stderr.write(f"{self.config.recipe}: {row}\n")
        return row
