"""Follows one tracked hand live: a person's bone lengths, learnt over the first frames, and the pose in each."""

import numpy as np

from calibration.hand import Side, bone_lengths
from models.hand.fit import DEFAULT_SD_M, PoseFit, are_usable, fit_pose
from models.hand.shape import LARGEST, MEAN_SHAPE, SMALLEST, own_spread

HOLD_AFTER = 90

_MEAN_M = MEAN_SHAPE[:20]
_FEWEST_FOR_SPREAD = 5
# Variance of a median over that of a mean, and a normal deviation over the median absolute one.
_MEDIAN_VARIANCE, _MAD_TO_SD = np.pi / 2, 1.4826


class BoneLengths:
    """A person's bone lengths from noisy joints: the median over frames, drawn towards a mean hand of the same size.

    The fewer the frames and the larger the scatter between them, the more the mean hand counts. After `hold_after`
    frames the lengths are held.
    """

    def __init__(self, hold_after: int = HOLD_AFTER) -> None:
        self.lengths_m = _MEAN_M.copy()
        """(20,): the estimate, in the order of calibration.hand.BONES."""
        self._measured_m = np.empty((hold_after, 20))
        self._frames = 0

    @property
    def held(self) -> bool:
        return self._frames == len(self._measured_m)

    def add(self, joints_m: np.ndarray) -> None:
        """Takes one frame's joints (21, 3); joints of no hand are passed over."""
        if self.held or not are_usable(joints_m):
            return
        lengths = bone_lengths(joints_m)
        if not SMALLEST <= np.median(lengths / _MEAN_M) <= LARGEST:
            return
        self._measured_m[self._frames] = lengths
        self._frames += 1
        measured = self._measured_m[: self._frames]
        median = np.median(measured, axis=0)
        variance = np.full(20, 2 * DEFAULT_SD_M**2)
        if self._frames >= _FEWEST_FOR_SPREAD:
            variance = (_MAD_TO_SD * np.median(np.abs(measured - median), axis=0)) ** 2
        # Noise across a bone makes it look longer: by the variance of both directions over twice the length.
        median = median - np.minimum(variance / np.maximum(median, 1e-3), 0.2 * median)
        variance = variance * _MEDIAN_VARIANCE / self._frames
        alike = np.median(median / _MEAN_M) * _MEAN_M
        spread = (own_spread() * alike) ** 2
        lengths = (spread * median + variance * alike) / (spread + variance)
        self.lengths_m = np.clip(lengths, SMALLEST * _MEAN_M, LARGEST * _MEAN_M)


class HandFitter:
    """Fits one tracked hand, frame after frame; make a new one for a new track.

    >>> fitter = HandFitter("left")
    >>> fit = fitter.fit(joints_world_m)
    >>> joints_m, vertices_m = BuiltinHand("left").pose(fit.angles_rad, fit.T_world_hand, fitter.shape)
    """

    def __init__(self, side: Side, hold_after: int = HOLD_AFTER) -> None:
        self.side: Side = side
        self.bones = BoneLengths(hold_after)
        self._last: PoseFit | None = None

    @property
    def shape(self) -> np.ndarray:
        """(21,): the person's bone lengths so far, and a thickness that goes with their size."""
        return np.append(self.bones.lengths_m, np.median(self.bones.lengths_m / _MEAN_M))

    def fit(self, joints_world_m: np.ndarray, covariance_m2: np.ndarray | None = None) -> PoseFit | None:
        """The pose for joints (21, 3) and their covariance (21, 3, 3); None where they fix none."""
        joints = np.asarray(joints_world_m, np.float64)
        if not are_usable(joints):
            return None
        self.bones.add(joints)
        self._last = fit_pose(joints, self.bones.lengths_m, self.side, covariance_m2, self._last)
        return self._last
