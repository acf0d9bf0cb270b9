"""What a printed board is where it is not flat and square: stretched, sheared, and bent out of its plane.

Its corners are known up to five numbers, `shape`: the stretch e (x is longer by e / 2, y shorter), the shear g, and the
curvatures (a, b, c) of the height a u^2 + b u v + c v^2, all of places u, v on the board over its half diagonal L. The
mean of both scales is not among them: views cannot tell it from the distance.
"""

from dataclasses import dataclass

import numpy as np

SHAPE_PARAMETERS = 5
# What prints are like, as standard deviations: a printer's stretch, its shear, and a board bent by a fifth of its half
# diagonal. Weak, as they only keep what the views leave unknown from running away.
SHAPE_STDS = np.array([0.03, 0.01, 0.2, 0.2, 0.2])


@dataclass(frozen=True)
class BoardShape:
    """The five numbers (5,), their covariance (5, 5), and the half diagonal `reach_m` that they are over.

    `covariance` is NaN where it is not known.
    """

    values: np.ndarray
    covariance: np.ndarray
    reach_m: float

    @property
    def std(self) -> np.ndarray:
        """(5,)."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0))


def displacement_m(flat_m: np.ndarray, shape: np.ndarray, reach_m: float) -> float:
    """How far the corner that is farthest off is from its place (N, 3) on a flat and square board; heights count from
    amid the highest and the lowest."""
    away = shaped(flat_m, shape, reach_m) - flat_m
    away[:, 2] -= (away[:, 2].max() + away[:, 2].min()) / 2
    return float(np.linalg.norm(away, axis=1).max())


def shaped(flat_m: np.ndarray, shape: np.ndarray, reach_m: float) -> np.ndarray:
    """Centred places (..., 3) of a board's corners that on a flat and square board are at `flat_m` (..., 3).

    Paper bends without being stretched: with H the curvatures, corners come nearer to the middle by p^T H p H p / 6,
    which keeps lengths along the paper to the third order for bends about one axis.
    """
    if not shape.any():
        return flat_m
    e, g = shape[:2]
    plane = flat_m[..., :2] @ np.array([[1 + e / 2, g / 2], [g / 2, 1 - e / 2]])
    turned, height = _bend(flat_m[..., :2], shape, reach_m)
    return np.concatenate([plane - height[..., None] * turned / 3, height[..., None]], axis=-1)


def shape_derivatives(flat_m: np.ndarray, shape: np.ndarray, reach_m: float) -> np.ndarray:
    """Derivatives (..., 3, 5) of `shaped`."""
    x, y = flat_m[..., 0], flat_m[..., 1]
    out = np.zeros((*flat_m.shape, SHAPE_PARAMETERS))
    out[..., 0, 0], out[..., 1, 0] = x / 2, -y / 2
    out[..., 0, 1], out[..., 1, 1] = y / 2, x / 2
    turned, height = _bend(flat_m[..., :2], shape, reach_m)
    by_height = np.stack([x * x, x * y, y * y], axis=-1) / reach_m
    nothing = np.zeros_like(x)
    by_turned = np.stack([np.stack([2 * x, y, nothing], -1), np.stack([nothing, x, 2 * y], -1)], axis=-2) / reach_m
    out[..., 2, 2:] = by_height
    bent = by_height[..., None, :] * turned[..., None] + height[..., None, None] * by_turned
    out[..., :2, 2:] = -bent / 3
    return out


def _bend(plane_m: np.ndarray, shape: np.ndarray, reach_m: float) -> tuple[np.ndarray, np.ndarray]:
    """H p (..., 2) and the height p^T H p / 2 (...) at places (..., 2)."""
    a, b, c = shape[2:] / reach_m
    turned = plane_m @ np.array([[2 * a, b], [b, 2 * c]])
    return turned, (plane_m * turned).sum(-1) / 2
