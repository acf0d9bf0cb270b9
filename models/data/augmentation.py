"""Augmentation of a window: what it changes in a crop's pixels it changes in its camera and its labels as well.

Amounts as in the paper's training: centre by 5 % of the side, scale by 6 %, colour by 30 %, rotation by 10 degrees. The
world's axes are turned, too, since a rig's world may lie any way, and the crops' target is moved about.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])


class AugmentationConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The largest changes: `centre` (share of the side), `scale` and `colour` (shares), `rotation_deg`, `target_m` (of
    the crops' origin, along each axis); `world` turns the axes not at all, about z, or anyhow; `drop_frames` and
    `drop_crops` are the probabilities that a window lacks its first frames and that a crop is not there."""

    centre: float = 0.05
    scale: float = 0.06
    colour: float = 0.3
    rotation_deg: float = 10.0
    target_m: float = 0.01
    world: Literal["none", "yaw", "any"] = "any"
    drop_frames: float = 0.1
    drop_crops: float = 0.02

    def __post_init__(self) -> None:
        shares = ("centre", "scale", "colour", "drop_frames", "drop_crops")
        for name, most in {**dict.fromkeys(shares, 1.0), "rotation_deg": 180.0, "target_m": 1.0}.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"augmentation.{name} is {getattr(self, name)}, expected from 0 to {most:g}")


NO_AUGMENTATION = AugmentationConfig(
    centre=0.0, scale=0.0, colour=0.0, rotation_deg=0.0, target_m=0.0, world="none", drop_frames=0.0, drop_crops=0.0
)


@dataclass(frozen=True, kw_only=True)
class WindowChange:
    """What is done to a window of T frames and V views.

    `affine` (T, V, 3, 3) maps pixels of the cached crop to those of the new one, `colour` (V, 3, 4) the colours;
    `Q_new_old` (3, 3) turns hand-centred metres, `shift_m` (T, 3) moves the origin (in the new axes); `keep` (T, V).
    """

    affine: np.ndarray
    colour: np.ndarray | None
    Q_new_old: np.ndarray
    shift_m: np.ndarray
    keep: np.ndarray

    def image(self, crop_rgb: np.ndarray, frame: int, view: int, size_px: int) -> np.ndarray:
        """The crop (size, size, 3) made from the cached one."""
        import cv2  # not where training needs no pictures of a cache, as models/training/gpu_run.py

        out = cv2.warpAffine(crop_rgb, self.affine[frame, view, :2], (size_px, size_px), flags=cv2.INTER_LINEAR)
        return out if self.colour is None else cv2.transform(out, self.colour[view])

    def projection(self, P_crop: np.ndarray, frames: np.ndarray, views: np.ndarray) -> np.ndarray:
        """New P_crop (n, 3, 4) of the cached ones (n, 3, 4), which are of these frames (n,) and views (n,)."""
        turn = P_crop[:, :, :3] @ self.Q_new_old.T
        move = P_crop[:, :, 3] + np.einsum("nab,nb->na", turn, self.shift_m[frames])
        return self.affine[frames, views] @ np.concatenate([turn, move[..., None]], axis=-1)

    def labels(self, labels_px: np.ndarray, frames: np.ndarray, views: np.ndarray) -> np.ndarray:
        """New labels (n, 21, 2) of the cached ones."""
        affine = self.affine[frames, views]
        return labels_px @ affine[:, :2, :2].swapaxes(1, 2) + affine[:, None, :2, 2]

    def joints(self, joints_m: np.ndarray) -> np.ndarray:
        """New hand-centred joints (T, 21, 3) of the old."""
        return joints_m @ self.Q_new_old.T - self.shift_m[:, None]

    def origins(self, targets_m: np.ndarray) -> np.ndarray:
        """Each frame's origin (T, 3) relative to the last frame's, of the crops' targets (T, 3)."""
        origins = (targets_m - targets_m[-1]) @ self.Q_new_old.T + self.shift_m
        return origins - origins[-1]


def draw(
    config: AugmentationConfig,
    random: np.random.Generator,
    frames: int,
    views: int,
    cached_px: int,
    size_px: int,
    margin: float,
) -> WindowChange:
    """A random change of a window whose cached crops, `cached_px` wide, show `margin` times what is to be seen."""
    angle = np.deg2rad(random.uniform(-config.rotation_deg, config.rotation_deg, (1, views)))
    scale = size_px * margin / cached_px * (1 + random.uniform(-config.scale, config.scale, (frames, views)))
    centre = (size_px - 1) / 2 + size_px * random.uniform(-config.centre, config.centre, (frames, views, 2))
    affine = np.zeros((frames, views, 3, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = scale * np.cos(angle)
    affine[..., 1, 0] = scale * np.sin(angle)
    affine[..., 0, 1] = -affine[..., 1, 0]
    affine[..., :2, 2] = centre - affine[..., :2, :2].sum(-1) * (cached_px - 1) / 2
    affine[..., 2, 2] = 1
    keep = random.random((frames, views)) >= config.drop_crops
    keep[-1] = True
    if frames > 1 and random.random() < config.drop_frames:
        keep[: random.integers(1, frames)] = False
    shift_m = random.uniform(-config.target_m, config.target_m, (frames, 3))
    return WindowChange(
        affine=affine,
        colour=_colours(config, random, views),
        Q_new_old=_turn(config, random),
        shift_m=shift_m,
        keep=keep,
    )


def _colours(config: AugmentationConfig, random: np.random.Generator, views: int) -> np.ndarray | None:
    """Brightness, contrast, saturation and each channel's gain as one map (V, 3, 4) of colours 0 to 255."""
    if config.colour == 0:
        return None
    brightness, contrast, saturation = 1 + config.colour * random.uniform(-1, 1, (3, views, 1, 1))
    gain = 1 + config.colour / 3 * random.uniform(-1, 1, (views, 3, 1))
    mix = saturation * np.eye(3) + (1 - saturation) * _LUMA
    mix = mix * gain * brightness * contrast
    return np.concatenate([mix, np.tile(127.5 * brightness * (1 - contrast), (1, 3, 1))], axis=-1)


def _turn(config: AugmentationConfig, random: np.random.Generator) -> np.ndarray:
    """A random rotation (3, 3): of a normal quaternion (K. Shoemake, "Uniform random rotations", 1992), or about z."""
    w, x, y, z = random.normal(size=4)
    if config.world == "none":
        return np.eye(3)
    if config.world == "yaw":
        x, y = 0.0, 0.0
    w, x, y, z = np.array([w, x, y, z]) / np.sqrt(w * w + x * x + y * y + z * z)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
