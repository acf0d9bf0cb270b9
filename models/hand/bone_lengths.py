"""How long one hand's bones are, learnt from the joints of its first frames."""

import numpy as np

from calibration.hand import BONES
from models.hand.fit import FIT, are_usable
from models.hand.shape import LARGEST, MEAN_SHAPE, SMALLEST, own_spread
from models.hand.skeleton import REST_ANGLES_RAD, chain

LINKS = np.vstack([BONES, [[5, 9], [9, 13], [13, 17], [5, 17], [1, 5]]])
"""(25, 2): the bones and the distances across the palm, which hardly change either."""
HOLD_AFTER = 90


def link_lengths(joints_m: np.ndarray) -> np.ndarray:
    """Lengths (25,) of LINKS between joints (21, 3)."""
    return np.linalg.norm(joints_m[LINKS[:, 1]] - joints_m[LINKS[:, 0]], axis=1)


_MEAN_M = link_lengths(chain(REST_ANGLES_RAD, MEAN_SHAPE[:20]).joints_m)
_BONE_MEAN_M = MEAN_SHAPE[:20]
# A share of the mean, wide enough for a child's hand: it is the prior of a hand that nothing is known of.
_UNKNOWN_SPREAD = 0.25
_FEWEST_FOR_SPREAD = 5
# Variance of a median over that of a mean, and a normal deviation over the median absolute one.
_MEDIAN_VARIANCE, _MAD_TO_SD = np.pi / 2, 1.4826
# A detector places joints not quite where bones turn: a link stays uncertain by so much, and by a share of its scatter.
_LINK_SD_M, _SHARE_OF_SCATTER = 0.002, 0.35


class BoneLengths:
    """A person's bone lengths from noisy joints: the median over frames, drawn towards a mean hand of the same size.

    The fewer the frames and the larger the scatter between them, the more the mean hand counts. After `hold_after`
    frames the lengths are held.
    """

    def __init__(self, hold_after: int = HOLD_AFTER) -> None:
        self.lengths_m = _BONE_MEAN_M.copy()
        """(20,): the estimate, in the order of calibration.hand.BONES."""
        self.links_m, self.links_sd_m = _MEAN_M, _UNKNOWN_SPREAD * _MEAN_M
        """(25,) each: what LINKS measured, for the fit of the next frame's joints, and how sure that is."""
        self._measured_m = np.empty((hold_after, len(LINKS)))
        self._frames = 0

    @property
    def held(self) -> bool:
        return self._frames == len(self._measured_m)

    @property
    def known(self) -> bool:
        """Whether the links are this person's, no longer the mean hand's."""
        return self._frames >= _FEWEST_FOR_SPREAD

    def add(self, joints_m: np.ndarray) -> None:
        """Takes one frame's joints (21, 3); joints of no hand are passed over."""
        if self.held or not are_usable(joints_m):
            return
        links = link_lengths(joints_m)
        if not SMALLEST <= np.median(links[:20] / _BONE_MEAN_M) <= LARGEST:
            return
        self._measured_m[self._frames] = links
        self._frames += 1
        measured = self._measured_m[: self._frames]
        median = np.median(measured, axis=0)
        variance = np.full(len(LINKS), 2 * FIT.default_sd_m**2)
        if self._frames >= _FEWEST_FOR_SPREAD:
            variance = (_MAD_TO_SD * np.median(np.abs(measured - median), axis=0)) ** 2
            self.links_m = median
            self.links_sd_m = np.sqrt(_LINK_SD_M**2 + (_SHARE_OF_SCATTER**2 + 1 / self._frames) * variance)
        self.lengths_m = self._drawn_to_mean(median[:20], variance[:20])

    def _drawn_to_mean(self, median: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """(20,) from the bones' medians and the variances of one frame."""
        # Noise across a bone makes it look longer: by the variance of both directions over twice the length.
        median = median - np.minimum(variance / np.maximum(median, 1e-3), 0.2 * median)
        variance = variance * _MEDIAN_VARIANCE / self._frames
        alike = np.median(median / _BONE_MEAN_M) * _BONE_MEAN_M
        spread = (own_spread() * alike) ** 2
        lengths = (spread * median + variance * alike) / (spread + variance)
        return np.clip(lengths, SMALLEST * _BONE_MEAN_M, LARGEST * _BONE_MEAN_M)
