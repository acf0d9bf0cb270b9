"""What is triangulated: points seen in views."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Observations:
    """Points seen in views.

    `P` (G, J, V, 3, 4) maps homogeneous world metres to normalised image coordinates; `points` (G, J, V, 2) are
    the normalised image coordinates (distortion removed); `std` (G, J, V) their expected error, in the same
    unit; `seen` (G, J, V) says which exist. What is not seen may hold any value.
    """

    P: np.ndarray
    points: np.ndarray
    std: np.ndarray
    seen: np.ndarray

    def __post_init__(self) -> None:
        shape = self.seen.shape
        for name, end in (("P", (3, 4)), ("points", (2,)), ("std", ())):
            if getattr(self, name).shape != (*shape, *end):
                raise ValueError(f"{name} must be {(*shape, *end)}; got {getattr(self, name).shape}")


class ViewArrays:
    """Observations with components first: `P` (4, 3, V, G, J), `points` (2, V, G, J), `scale` (V, G, J) 1 / std.

    `solvable` (G, J) says which points two views or more saw; `seen` (V, G, J) is False for all others.
    """

    def __init__(self, P: np.ndarray, points: np.ndarray, scale: np.ndarray, seen: np.ndarray) -> None:
        self.solvable = seen.sum(0) >= 2
        self.seen = seen & self.solvable
        self.P = P
        self.points = points
        self.scale = np.where(self.seen, scale, 0.0)
        # For the median over a group's points of what each view saw of it: the place of the middle after sorting.
        count = self.seen.sum(-1)
        self.unseen = ~self.seen
        self.absent = count == 0
        self.middle = np.arange(count.size).reshape(count.shape) * seen.shape[-1] + np.maximum(count - 1, 0) // 2

    @classmethod
    def of(cls, obs: Observations) -> "ViewArrays":
        points = obs.points.transpose(3, 2, 0, 1)
        seen = obs.seen.transpose(2, 0, 1) & np.isfinite(points).all(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / obs.std.transpose(2, 0, 1)
        P = np.ascontiguousarray(obs.P.transpose(4, 3, 2, 0, 1))
        return cls(P, np.where(seen, points, 0.0), scale, seen)

    def without_each(self) -> "ViewArrays":
        """1 + V times as many groups: first those with all views, then all those without view 0, and so on."""
        views, groups, joints = self.seen.shape
        keep = ~np.eye(views, 1 + views, 1, dtype=bool)

        def spread(values: np.ndarray) -> np.ndarray:
            wide = np.broadcast_to(values[..., None, :, :], (*values.shape[:-2], 1 + views, groups, joints))
            return wide.reshape(*values.shape[:-2], -1, joints)

        seen = (self.seen[:, None] & keep[:, :, None, None]).reshape(views, -1, joints)
        return ViewArrays(spread(self.P), spread(self.points), spread(self.scale), seen)


def moving_projections(T_cam_world: np.ndarray, gain: np.ndarray, shift_m: np.ndarray) -> np.ndarray:
    """Projections (G, J, V, 3, 4) of points that are at `gain * X + shift` when each view is taken.

    `T_cam_world` (V, 4, 4); `gain` (G, J, V); `shift_m` (G, J, V, 3).
    """
    R, t = T_cam_world[:, :3, :3], T_cam_world[:, :3, 3]
    P = np.empty((*gain.shape, 3, 4))
    P[..., :3] = gain[..., None, None] * R
    P[..., 3] = np.einsum("vab,gjvb->gjva", R, shift_m) + t
    return P
