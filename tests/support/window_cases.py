"""Windows of coloured dots that move like a hand's joints: exact geometry, labels and truth, made in a millisecond."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from calibration.hand import JOINTS
from deploy.engines.engine import Engine
from deploy.pipeline.pipeline import Pipeline

HALF_WIDTH_M = 0.12
DISTANCE_M = 0.6


class DotWindows:
    """Windows by keys (number, epoch, views), as models/data/windows.py gives them. Each joint is a dot of its own
    colour; labels are exact, but for `noise_px`. With `truth` the samples carry the 3D joints."""

    def __init__(
        self, length: int = 64, frames: int = 5, size_px: int = 64, noise_px: float = 0.0, truth: bool = False
    ) -> None:
        self.length, self.frames, self.size_px, self.noise_px, self.truth = length, frames, size_px, noise_px, truth

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Tensor]:
        number, epoch, V = key
        random = np.random.default_rng([number, epoch])
        T, S = self.frames, self.size_px
        middle_m, speed_m = random.normal(0, 0.01, 3), random.normal(0, 0.004, 3)
        hand_m = np.clip(random.normal(0, 0.035, (JOINTS, 3)), -0.08, 0.08)
        targets_m = middle_m + speed_m * np.arange(T)[:, None]
        joints_m = hand_m + random.normal(0, 0.001, (T, JOINTS, 3))
        P = np.stack([_camera(random, S) for _ in range(V)])
        seen = np.einsum("vab,tjb->tvja", P[:, :, :3], joints_m) + P[None, :, None, :, 3]
        keypoints_px = seen[..., :2] / seen[..., 2:]
        crops = np.stack([[_picture(keypoints_px[t, v], S) for v in range(V)] for t in range(T)])
        labels_px = keypoints_px + random.normal(0, 1, keypoints_px.shape) * self.noise_px
        item = {
            "crops_rgb": torch.from_numpy(crops),
            "P_crop": torch.from_numpy(np.broadcast_to(P, (T, V, 3, 4)).astype(np.float32).copy()),
            "view_mask": torch.ones(T, V, dtype=torch.bool),
            "frame_mask": torch.ones(T, dtype=torch.bool),
            "origins_m": torch.from_numpy((targets_m - targets_m[-1]).astype(np.float32)),
            "labels_px": torch.from_numpy(labels_px.astype(np.float32)),
            "label_confidence": torch.ones(T, V, JOINTS),
        }
        if self.truth:
            item["joints_m"] = torch.from_numpy(joints_m.astype(np.float32))
        return item


def batch_of(windows: DotWindows, count: int, views: int) -> dict[str, Tensor]:
    items = [windows[number, 0, views] for number in range(count)]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _camera(random: np.random.Generator, size_px: int) -> np.ndarray:
    """P_crop (3, 4) of a camera that looks at the origin from anywhere, turned about its axis anyhow."""
    q, _ = np.linalg.qr(random.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    focal_px = size_px / 2 * DISTANCE_M / HALF_WIDTH_M
    K = np.array([[focal_px, 0, (size_px - 1) / 2], [0, focal_px, (size_px - 1) / 2], [0, 0, 1]])
    return K @ np.column_stack([q, [0, 0, DISTANCE_M]])


def _picture(keypoints_px: np.ndarray, size_px: int) -> np.ndarray:
    y, x = np.mgrid[:size_px, :size_px]
    squared = (x - keypoints_px[:, 0, None, None]) ** 2 + (y - keypoints_px[:, 1, None, None]) ** 2
    dots = np.exp(-0.5 * squared / 2.0**2)
    joint = np.arange(JOINTS)
    colours = 40 + 100 * np.stack([joint % 3, joint // 3 % 3, joint // 9], axis=1)
    return np.clip(np.einsum("jyx,jc->yxc", dots, colours), 0, 255).astype(np.uint8)


def run_pipeline(engine: Engine, windows: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """The newest frames' joints (H, 21, 3) of so many hands, frame after frame through one pipeline."""
    pipeline = Pipeline(engine, windows[0]["view_mask"].shape[1], len(windows))
    slots = [pipeline.add_hand(np.eye(3)) for _ in windows]
    for t in range(len(windows[0]["frame_mask"])):
        seen = [slot for slot in slots if windows[slot]["frame_mask"][t]]
        for slot in slots:
            for name, crops in pipeline.crops._asdict().items():
                crops[slot] = windows[slot][name][t]
            if slot not in seen:
                pipeline.ring(slot).miss()
        if seen:
            pipeline.run_stage1(seen, [windows[slot]["origins_m"][t].astype(np.float64) for slot in seen])
    return pipeline.refine(slots).joints_m.copy()
