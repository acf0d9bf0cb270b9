"""Two cameras whose images come under each other's names from a moment on, as devices do that are numbered anew."""

from dataclasses import dataclass

import numpy as np

from calibration.rotations import inverse_transform, rotation_angle
from calibration.solve.pair_graph import shared_views
from calibration.solve.view_poses import ViewPoses

# Relative poses from single views of torn lenses agree where they differ by less: radians, and share of the distance.
_TURN_RAD, _SHIFT_SHARE = 0.2, 0.3
_LEAST_SETS = 2
# Share of a pair's moments that must fit one of both orders.
_FITTING = 0.5


@dataclass(frozen=True)
class Exchange:
    """Cameras by index, and the stamped time from which on they are exchanged."""

    first: int
    second: int
    time_s: float


def find_exchange(poses: ViewPoses) -> Exchange | None:
    """The pair whose relative pose is at first one, then its inverse; None where there is none."""
    for (first, second), views in shared_views(poses.table).items():
        views = views[np.isfinite(poses.rmse_px[views, 0]).all(1)]
        if len(views) < 2 * _LEAST_SETS:
            continue
        times = poses.table.time_s[views].mean(1)
        order = np.argsort(times, kind="stable")
        times, (a, b) = times[order], views[order].T
        relative = poses.T_cam_board[b, 0] @ inverse_transform(poses.T_cam_board[a, 0])
        alike = _alike(relative, relative)
        swapped = _alike(relative, inverse_transform(relative)) & ~alike
        pick = int(np.argmax(np.minimum(alike.sum(1), swapped.sum(1))))
        one, other = times[alike[pick]], times[swapped[pick]]
        enough = min(len(one), len(other)) >= _LEAST_SETS and len(one) + len(other) >= _FITTING * len(times)
        if not enough:
            continue
        early, late = (one, other) if np.median(one) < np.median(other) else (other, one)
        if np.percentile(early, 90) <= np.percentile(late, 10):
            return Exchange(first, second, float(late.min()))
    return None


def _alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which relative poses (N, 4, 4) are like which others (M, 4, 4), as (N, M)."""
    step = first[:, None] @ inverse_transform(second)[None]
    near = rotation_angle(step[..., :3, :3]) < _TURN_RAD
    apart = np.linalg.norm(first[:, None, :3, 3] - second[None, :, :3, 3], axis=-1)
    return near & (apart < _SHIFT_SHARE * np.linalg.norm(first[:, None, :3, 3], axis=-1))
