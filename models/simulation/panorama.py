"""Equirectangular panoramas: which way each pixel looks, what it shows, and the light that all of it sheds.

The light on a matt surface is that of R. Ramamoorthi and P. Hanrahan, "An efficient representation for irradiance
environment maps", SIGGRAPH 2001: nine spherical harmonics. Row 0 looks up (world z), columns turn to the right.
"""

import cv2
import numpy as np

# By order: what a matt surface keeps of light's harmonics (their equation 8), divided by pi for albedo 1.
_KEPT = np.array([1.0, *[2 / 3] * 3, *[0.25] * 5])


def directions(height: int, width: int) -> np.ndarray:
    """Unit world directions (H, W, 3) that the pixels of a panorama show."""
    down = np.pi * (np.arange(height) + 0.5) / height
    right = -2 * np.pi * (np.arange(width) + 0.5) / width
    ring = np.sin(down)[:, None]
    return np.stack(
        [ring * np.cos(right), ring * np.sin(right), np.broadcast_to(np.cos(down)[:, None], (height, width))], axis=-1
    )


def solid_angles(height: int, width: int) -> np.ndarray:
    """Steradians (H, 1) of the pixels of a panorama's rows; all together 4 pi."""
    edges = np.cos(np.pi * np.arange(height + 1) / height)
    return (2 * np.pi / width * (edges[:-1] - edges[1:]))[:, None]


def harmonics(unit: np.ndarray) -> np.ndarray:
    """The nine real spherical harmonics (..., 9) of orders 0 to 2 at unit directions (..., 3), as in the paper."""
    x, y, z = np.moveaxis(unit, -1, 0)
    return np.stack(
        [
            np.full(x.shape, 0.282095),
            *(0.488603 * each for each in (y, z, x)),
            *(1.092548 * each for each in (x * y, y * z)),
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        axis=-1,
    )


def irradiance(radiance: np.ndarray) -> np.ndarray:
    """(9, 3) of linear light (H, W, 3): what `harmonics(normals) @` it gives is what white matt surfaces reflect."""
    shape = radiance.shape[:2]
    weighted = (radiance * solid_angles(*shape)[..., None]).reshape(-1, 3)
    return _KEPT[:, None] * (harmonics(directions(*shape)).reshape(-1, 9).T @ weighted)


def picture(panorama: np.ndarray, rays_world: np.ndarray, exposure: float | np.ndarray) -> np.ndarray:
    """What the panorama (H, W, 3) shows in directions (h, w, 3) of any length: (h, w, 3) uint8 BGR, sRGB, of
    linear light times `exposure`, a number or one for each colour (3,)."""
    height, width = panorama.shape[:2]
    unit = rays_world / np.linalg.norm(rays_world, axis=-1, keepdims=True)
    right = (-np.arctan2(unit[..., 1], unit[..., 0]) % (2 * np.pi)) / (2 * np.pi)
    down = np.arccos(np.clip(unit[..., 2], -1, 1)) / np.pi
    u, v = (right * width - 0.5).astype(np.float32), (down * height - 0.5).astype(np.float32)
    seen = cv2.remap(panorama, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.rint(255 * np.clip(exposure * seen, 0, 1)[..., ::-1] ** (1 / 2.2)).astype(np.uint8)


def turned(panorama: np.ndarray, share: float) -> np.ndarray:
    """The panorama turned about the upright by that share of a whole turn."""
    return np.roll(panorama, int(share * panorama.shape[1]), axis=1)
