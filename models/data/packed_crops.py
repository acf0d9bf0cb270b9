"""Crops in one small file, and windows of them made on the device that trains: no picture is decoded by a library.

    python -m models.data.pack_crops OUT.npz CACHE... --validation CACHE      writes it

`packed.npz` holds, of R pictures of S pixels a side, N frames of one or more hands and V views at most: luma (R, S, S)
and chroma (R, S / 2, S / 2, 2) uint8, as JPEG has them (ITU-T T.871); P_crop (R, 3, 4); for each definition of
keypoints labels_px (R, 21, 2) and confidence (R, 21); rows (N, V), the picture of each frame and view, -1 for none;
sequence (N,), time follows within one; targets_m (N, 3); joints_m (N, 21, 3), NaN where the truth is not known; held
(N,) bool, the frames to validate on; upright, 1 of upright crops, 0 of plain ones, -1 where no cache says it. Letters:
B windows, T frames, S pixels.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from calibration.errors import UserError
from calibration.found_files import open_found
from calibration.hand import Definition
from models.files.npzfile import open_archive
from models.network.config import MAX_VIEWS

NAMES = ("luma", "chroma", "P_crop", "rows", "sequence", "targets_m", "held", "margin", "upright")
DEFINITIONS: tuple[Definition, ...] = ("anatomical", "detector")
_ROTATION_RAD, _SCALE, _CENTRE, _GAIN = 0.17, 0.06, 0.04, 0.2
"""Augmentation: standard deviations of a view's turn, of the logarithms of its size and of its brightness, and of its
place, a share of the side. They are those of models/data/sightings.py."""


class PackedCrops:
    """`upright`: whether crops are, None where nobody knows. Raises UserError where the file is missing or is none."""

    def __init__(self, path: Path, device: torch.device) -> None:
        arrays = _read(path)
        self.upright = {1: True, 0: False}.get(int(arrays["upright"]))
        self.device = device
        tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
        luma, chroma = tensors.pop("luma"), tensors.pop("chroma")
        some = zip(luma.split(256), chroma.split(256), strict=True)
        self._pictures = torch.cat([rgb_of(each.to(device), other.to(device)) for each, other in some])
        self._tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.size_px, self.margin = self._pictures.shape[1], float(tensors["margin"])
        self.views = tensors["rows"].shape[1]

    def windows(self, frames: int, held: bool) -> Tensor:
        """The newest frames (n,) of windows of so many, to train on or held back."""
        rows, sequence = self._tensors["rows"], self._tensors["sequence"]
        last = torch.arange(len(rows), device=self.device)
        first = (last - frames + 1).clamp_min(0)
        whole = (last >= frames - 1) & (sequence == sequence[first])
        enough = (rows >= 0).sum(1) >= 2
        return last[whole & enough & (self._tensors["held"] == held)]

    def batch(
        self,
        newest: Tensor,
        frames: int,
        views: int,
        size_px: int,
        definition: Definition,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Windows as of models/data/windows.py with so many views, the others unseen, MAX_VIEWS in all; drawn views,
        turned axes and augmented crops with a generator of this device, else the first views as they are. With
        `joints_m` (B, T, 21, 3)."""
        known, B = self._tensors, len(newest)
        span = newest[:, None] + torch.arange(1 - frames, 1, device=self.device)
        rows = known["rows"][span]
        order = torch.rand(B, self.views, device=self.device, generator=generator)
        order = order if generator else torch.arange(self.views, device=self.device).flip(0).expand(B, -1) / 1.0
        order = (order + (rows[:, -1] >= 0) * self.views).argsort(1, descending=True)
        rows = rows.gather(2, order[:, None].expand(-1, frames, -1))
        turn = _rotations(B, self.device, generator)
        P = known["P_crop"][rows.clamp_min(0)] * (rows >= 0)[..., None, None]
        P = torch.cat([P[..., :3] @ turn.mT[:, None, None], P[..., 3:]], -1)
        labels_px = known[f"labels_px_{definition}"][rows.clamp_min(0)]
        confidence = known[f"confidence_{definition}"][rows.clamp_min(0)] * (rows >= 0)[..., None]
        A = self._affines((B, self.views), size_px, generator)[:, None].expand(-1, frames, -1, -1, -1)
        P, labels_px = A @ P, labels_px @ A[..., :2, :2].mT + A[..., None, :2, 2]
        targets_m = known["targets_m"][span]
        return {
            "crops_rgb": self._crops(rows[:, :, :views], A[:, :, :views], size_px, generator),
            "P_crop": P[:, :, :views],
            "view_mask": rows[:, :, :views] >= 0,
            "frame_mask": (rows[:, :, :views] >= 0).any(2),
            "origins_m": ((targets_m - targets_m[:, -1:]) @ turn.double().mT).float(),
            "labels_px": labels_px[:, :, :views],
            "label_confidence": confidence[:, :, :views],
            "unseen_P_crop": P[:, :, views:MAX_VIEWS],
            "unseen_labels_px": labels_px[:, :, views:MAX_VIEWS],
            "unseen_confidence": confidence[:, :, views:MAX_VIEWS],
            "joints_m": known[f"joints_m_{definition}"][span] @ turn.mT[:, None],
        }

    def _affines(self, sizes: tuple[int, int], size_px: int, generator: torch.Generator | None) -> Tensor:
        """(B, V, 3, 3): pixels of pictures to those of crops."""
        noise = torch.zeros(4, *sizes, device=self.device)
        if generator:
            noise = torch.randn(4, *sizes, device=self.device, generator=generator)
        angle = _ROTATION_RAD * noise[0]
        scale = size_px * self.margin / self.size_px * (_SCALE * noise[1]).exp()
        A = torch.zeros(*sizes, 3, 3, device=self.device)
        A[..., 0, 0] = A[..., 1, 1] = scale * angle.cos()
        A[..., 1, 0] = scale * angle.sin()
        A[..., 0, 1] = -A[..., 1, 0]
        centre_px = (size_px - 1) / 2 + _CENTRE * size_px * torch.stack([noise[2], noise[3]], -1)
        A[..., :2, 2] = centre_px - A[..., :2, :2].sum(-1) * (self.size_px - 1) / 2
        A[..., 2, 2] = 1
        return A

    def _crops(self, rows: Tensor, A: Tensor, size_px: int, generator: torch.Generator | None) -> Tensor:
        """(B, T, V, S, S, 3) uint8; black where there is no picture."""
        flat, sizes = rows.flatten(), (*rows.shape, size_px, size_px, 3)
        # Of a picture's and of a crop's pixels, to coordinates from -1 to 1 over them.
        to, by = _normaliser(self.size_px, self.device), _normaliser(size_px, self.device)
        theta = to @ torch.linalg.inv(A.flatten(0, 2)) @ torch.linalg.inv(by)
        grid = functional.affine_grid(theta[:, :2], [len(flat), 3, size_px, size_px], align_corners=False)
        pictures = self._pictures[flat.clamp_min(0)].permute(0, 3, 1, 2).float()
        crops = functional.grid_sample(pictures, grid, align_corners=False).permute(0, 2, 3, 1)
        if generator:
            gain = torch.randn(len(flat), 1, 1, 3, device=self.device, generator=generator)
            crops = crops * (_GAIN * (gain.mean(-1, keepdim=True) + 0.3 * gain)).exp()
        return (crops * (flat >= 0)[:, None, None, None]).round().clamp(0, 255).byte().view(sizes)


def rgb_of(luma: Tensor, chroma: Tensor) -> Tensor:
    """Pictures (R, S, S, 3) uint8 of luma (R, S, S) and chroma (R, S / 2, S / 2, 2): T.871's equations."""
    Y = luma.float()
    Cb, Cr = chroma.float().repeat_interleave(2, 1).repeat_interleave(2, 2).sub(128).unbind(-1)
    rgb = torch.stack([Y + 1.402 * Cr, Y - 0.344136 * Cb - 0.714136 * Cr, Y + 1.772 * Cb], -1)
    return rgb.round().clamp(0, 255).byte()


def _normaliser(size_px: int, device: torch.device) -> Tensor:
    shift = 1 / size_px - 1
    return torch.tensor([[2 / size_px, 0, shift], [0, 2 / size_px, shift], [0, 0, 1]], device=device)


def _rotations(count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """(n, 3, 3): any, or none without a generator."""
    if generator is None:
        return torch.eye(3, device=device).expand(count, -1, -1)
    Q = torch.linalg.qr(torch.randn(count, 3, 3, device=device, generator=generator))[0]
    return Q * torch.linalg.det(Q)[:, None, None].sign()


def _read(path: Path) -> dict[str, np.ndarray]:
    kinds = [f"{kind}_{each}" for kind in ("labels_px", "confidence", "joints_m") for each in DEFINITIONS]
    try:
        with open_found(path) as stream, open_archive(stream) as file:
            return {name: file[name] for name in (*NAMES, *kinds)}
    except Exception as error:  # A damaged archive can fail in any way.
        raise UserError(
            f"{path}: no packed crops ({error}). Make them: python -m models.data.pack_crops OUT.npz CACHE..."
        ) from None
