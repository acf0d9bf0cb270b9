"""What a run shows: a progress bar, and TensorBoard with curves and pictures."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from calibration.hand import BONES
from calibration.written_files import errors_naming
from models.network.lifting import condition_cameras, project
from models.network.ust_hand import UstHand, draw_latents
from models.training.step import INPUTS, to_device

_LABEL_RGB, _HEATMAP_RGB, _RESULT_RGB = (255, 255, 255), (255, 160, 0), (0, 220, 90)
_SCALE = 2
_WINDOWS = 4


class Monitor:
    """Writes to `folder`/tensorboard; steps after `step` that an interrupted run wrote are dropped. Raises OSError with
    that name where the disk is full."""

    def __init__(self, folder: Path, step: int, steps: int) -> None:
        self._curves = folder / "tensorboard"
        with errors_naming(self._curves):
            self._writer = SummaryWriter(str(self._curves), purge_step=step + 1)
        self._bar = tqdm(total=steps, initial=step, desc="train", unit="step", smoothing=0.05, dynamic_ncols=True)

    def advance(self) -> None:
        self._bar.update()

    def show(self, step: int, group: str, figures: Mapping[str, float]) -> None:
        """Curves `group`/name; a few of them go onto the progress bar as well."""
        with errors_naming(self._curves):
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
        short = {name: f"{figures[name]:.3g}" for name in ("total", "waiting", "mpjpe_mm") if name in figures}
        if short:
            self._bar.set_postfix(short, refresh=False)

    def say(self, text: str) -> None:
        self._bar.write(text)

    def show_pictures(self, step: int, pictures: np.ndarray) -> None:
        with errors_naming(self._curves):
            self._writer.add_image("validation/hands", pictures, step, dataformats="HWC")

    def close(self) -> None:
        self._bar.close()
        with errors_naming(self._curves):
            self._writer.close()


@torch.no_grad()
def draw_windows(model: UstHand, batch: Mapping[str, Tensor], device: torch.device) -> np.ndarray:
    """RGB picture (rows of windows, columns of views) of newest crops: labels white, heatmaps orange, result green."""
    inputs = {name: value[:_WINDOWS] for name, value in to_device(batch, device).items()}
    B, T, V = inputs["view_mask"].shape
    size_px = model.config.crop_px
    output = model(*(inputs[name] for name in INPUTS), draw_latents(model.config, B, V, 0).to(device))
    P = condition_cameras(inputs["P_crop"][:, -1], size_px)[:, :, None]
    seen, _ = project(output.joints_m[:, None], P)
    layers = {
        _LABEL_RGB: inputs["labels_px"][:, -1],
        _HEATMAP_RGB: output.stage1.keypoints_px.unflatten(0, (B, T))[:, -1],
        _RESULT_RGB: ((seen + 1) * size_px - 1) / 2,
    }
    labelled = inputs["label_confidence"][:, -1] > 0
    rows = []
    for b in range(B):
        row = []
        for v in range(V):
            crop = inputs["crops_rgb"][b, -1, v].cpu().numpy()
            picture = np.ascontiguousarray(crop.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1))
            for colour, keypoints_px in layers.items():
                shown = labelled[b, v] if colour == _LABEL_RGB else torch.ones_like(labelled[b, v])
                if inputs["view_mask"][b, -1, v]:
                    _draw_hand(picture, _SCALE * keypoints_px[b, v].float().cpu().numpy(), shown.cpu().numpy(), colour)
            row.append(picture)
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)


def _draw_hand(picture: np.ndarray, points_px: np.ndarray, shown: np.ndarray, colour: tuple[int, int, int]) -> None:
    shown = shown & (np.abs(points_px) < 1e4).all(axis=-1)
    for a, b in BONES:
        if shown[a] and shown[b]:
            ends = [tuple(int(value) for value in np.rint(points_px[joint])) for joint in (a, b)]
            cv2.line(picture, ends[0], ends[1], colour, 1, cv2.LINE_AA)
