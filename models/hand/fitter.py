"""Follows one tracked hand live: a person's bone lengths, learnt over the first frames, and the pose in each."""

import numpy as np

from calibration.hand import Definition, Side
from models.hand.bone_lengths import BoneLengths
from models.hand.definition import convert
from models.hand.fit import PoseFit, are_usable, fit_pose
from models.hand.shape import MEAN_SHAPE


class HandFitter:
    """Fits one tracked hand, frame after frame; make a new one for a new track.

    The joints that it is given are those of a `definition`, and are moved to where the bones turn. Its bone lengths are
    `bones`, which whoever tracks the hand learns between its joints, or its own where these are not the bones' ends.

    >>> fitter = HandFitter("left")
    >>> fit = fitter.fit(joints_world_m)
    >>> joints_m, vertices_m = BuiltinHand("left").pose(fit.angles_rad, fit.T_world_hand, fitter.shape)
    """

    def __init__(self, side: Side, bones: BoneLengths | None = None, definition: Definition = "anatomical") -> None:
        self.side: Side = side
        self._definition: Definition = definition
        bones = bones if definition == "anatomical" else None
        self.bones = bones or BoneLengths()
        self._learns = bones is None
        self._last: PoseFit | None = None

    @property
    def shape(self) -> np.ndarray:
        """(21,): the person's bone lengths so far, and a thickness that goes with their size."""
        return np.append(self.bones.lengths_m, np.median(self.bones.lengths_m / MEAN_SHAPE[:20]))

    def anatomical(self, joints_world_m: np.ndarray) -> np.ndarray:
        """Joints (21, 3) of its definition, where the bones turn."""
        return convert(np.asarray(joints_world_m, np.float64), self._definition, "anatomical", self.side == "right")

    def fit(self, joints_world_m: np.ndarray, covariance_m2: np.ndarray | None = None) -> PoseFit | None:
        """The pose for joints (21, 3) and their covariance (21, 3, 3); None where they fix none."""
        joints = self.anatomical(joints_world_m)
        if not are_usable(joints):
            return None
        if self._learns:
            self.bones.add(joints)
        self._last = fit_pose(joints, self.bones.lengths_m, self.side, covariance_m2, self._last)
        return self._last
