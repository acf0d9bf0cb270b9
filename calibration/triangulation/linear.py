"""Linear triangulation: the DLT, and the point nearest to lines."""

import numpy as np


def dlt_equations(P: np.ndarray, points: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The DLT's normal equations M X = b of each observation, as (3, 4, ...): M in three columns, b in the last.

    Components first: `P` (4, 3, ...) the columns of the projection matrix, `points` (2, ...), `scale` (...) the
    weight of the observation's rows. Their sum over the views is what `solve3` solves.
    """
    rows = points * P[:, 2:] - P[:, :2]
    rows *= scale
    rows[3] *= -1
    return rows[:3, None, 0] * rows[None, :, 0] + rows[:3, None, 1] * rows[None, :, 1]


def solve3(A: np.ndarray) -> np.ndarray:
    """Solve symmetric 3x3 systems `A` (3, 4, ...), M and b, by the adjugate; huge or NaN where M is singular."""
    (xx, xy, xz, x), (_, yy, yz, y), (_, _, zz, z) = A
    a, d, f = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    e, g, h = xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - xx * yz
    out = np.empty(A.shape[:1] + A.shape[2:])
    out[0] = a * x + e * y + g * z
    out[1] = e * x + d * y + h * z
    out[2] = g * x + h * y + f * z
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        out /= xx * a + xy * e + xz * g
    return out


def nearest_to_lines(
    origins_m: np.ndarray, directions: np.ndarray, weights: np.ndarray, likely_m: np.ndarray, trust: float
) -> np.ndarray:
    """The point (..., 3) with the least weighted sum of squared distances to lines (..., L), and to a likely point.

    The lines go through `origins_m` (..., L, 3) along unit vectors `directions` (..., L, 3); `weights` (..., L). The
    point `likely_m` (..., 3), which counts as `trust` lines across each axis, decides what parallel lines leave open.
    """
    across = np.eye(3) - directions[..., :, None] * directions[..., None, :]
    across = across * weights[..., None, None]
    M = across.sum(-3) + trust * np.eye(3)
    b = (across @ origins_m[..., None]).sum(-3) + trust * likely_m[..., None]
    return np.linalg.solve(M, b)[..., 0]
