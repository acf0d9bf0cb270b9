"""Shading of what lies in the scene, computed here and not by the window.

The scene then needs no lights, and images and text beside the hands keep their exact colours.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """`vertices_world_m`, unit `normals` and unshaded `base_rgb` in [0, 1] of a mesh, each (N, 3)."""

    vertices_world_m: np.ndarray
    normals: np.ndarray
    base_rgb: np.ndarray


_KEY = np.array([-0.45, -0.75, -0.62]) / np.linalg.norm([-0.45, -0.75, -0.62])
_FILL = np.array([0.8, 0.1, -0.5]) / np.linalg.norm([0.8, 0.1, -0.5])
_HALF = (_KEY + [0, 0, -1]) / np.linalg.norm(_KEY + [0, 0, -1])


_WRAP = np.full(3, 0.25)
_SKIN_WRAP = np.array([0.48, 0.30, 0.24])


def shade(base_rgb: np.ndarray, normals: np.ndarray, R_view_world: np.ndarray, skin: bool = False) -> np.ndarray:
    """Colours (N, 3) under a soft key light from the upper left, a fill light and a rim, all fixed to the view.

    `R_view_world` (3, 3) turns world directions into the view's axes (OpenCV's: +z away from the eye). Wrapped Lambert
    and Blinn-Phong terms. `skin` shines less, and red light reaches farther around it, as it does beneath skin.
    """
    n = normals @ R_view_world.T
    wrap = _SKIN_WRAP if skin else _WRAP
    key = np.clip(((n @ _KEY)[:, None] + wrap) / (1 + wrap), 0, 1)
    fill = np.clip(n @ _FILL, 0, 1)
    rim = np.clip(1 + n[:, 2], 0, 1) ** 3 * key[:, 1]
    gloss = 0.10 * np.clip(n @ _HALF, 0, 1) ** 14 if skin else 0.30 * np.clip(n @ _HALF, 0, 1) ** 40
    light = 0.26 + 0.80 * key + 0.16 * fill[:, None]
    return np.clip(base_rgb * light + (gloss + 0.14 * rim)[:, None], 0, 1)
