"""How well each camera has agreed with the others lately: a camera that keeps disagreeing loses its weight."""

from collections.abc import Sequence

import numpy as np

_MEMORY = 30.0
_TOLERATED = 1.8


class CameraTrust:
    """Running typical residual of each camera, in stds of its detections.

    A camera of which nothing is wrong has about 1. The stds of one beyond `_TOLERATED` (a wrong calibration, a moved
    camera, a detector that errs in its view) are raised to what they really are; when it agrees again, it is trusted
    again.
    """

    def __init__(self) -> None:
        self._typical: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def std_scale(self, camera_ids: Sequence[str]) -> np.ndarray:
        """What to multiply the cameras' stds with (V,), at least 1."""
        typical = np.array([self._typical.get(camera_id, 1.0) for camera_id in camera_ids])
        return np.where(typical > _TOLERATED, typical, 1.0)

    def learn(self, camera_ids: Sequence[str], residuals: np.ndarray) -> None:
        """Add residuals (H, 21, V) in unscaled stds, NaN where a camera did not see a joint.

        Says nothing where only two views saw a hand, which disagree equally with each other.
        """
        seen = np.isfinite(residuals).sum(1)
        # NaN sorts last.
        ordered = np.sort(residuals, axis=1)
        for hand in np.flatnonzero((seen > 0).sum(-1) >= 3):
            for view, camera_id in enumerate(camera_ids):
                joints = int(seen[hand, view])
                if joints:
                    count = self._count[camera_id] = min(self._count.get(camera_id, 0) + 1, int(_MEMORY))
                    before = self._typical.get(camera_id, 1.0)
                    middle = float(ordered[hand, (joints - 1) // 2, view] + ordered[hand, joints // 2, view]) / 2
                    # The median of the length of a 2D Gaussian is 1.18 stds.
                    now = min(middle / 1.18, 30.0)
                    self._typical[camera_id] = before + (now - before) / (count + 1)
