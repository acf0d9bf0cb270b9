"""What is known of a hand's angles before any is measured: a finger's last joint bends with the one before it.

The tendons that bend the last joint of a finger run over the one before it. Without an object that pushes, the distal
interphalangeal joint bends by two thirds of the proximal one: H. Rijpkema and M. Girard, "Computer animation of
knowledge-based human grasping", SIGGRAPH 1991; how far people keep to it while they handle things: A. Roda-Sales et
al., "Studying kinematic linkage of finger joints", PeerJ 10:e14051, 2022. The thumb's interphalangeal joint is taken
to bend about as far as its metacarpophalangeal one. The last bone is the shortest, so its joint is measured worst; a
fingertip that presses breaks the rule by 20 degrees or so, which good views see all the same.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.hand import skeleton


@dataclass(frozen=True, kw_only=True, eq=False)
class AnglePrior:
    """`matrix` (K, 21) @ hinges (21,), K sums of hinge angles, are 0 with standard deviations of `sd_rad` (K,)."""

    matrix: np.ndarray
    sd_rad: np.ndarray

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(K, 27): derivatives of the sums by a pose's turn, shift and hinges, in standard deviations."""
        return np.pad(self.matrix / self.sd_rad[:, None], ((0, 0), (6, 0)))

    def residuals(self, hinges_rad: np.ndarray) -> np.ndarray:
        """(K,): how many standard deviations the sums of hinges (21,) lie below 0."""
        return -(self.matrix @ hinges_rad) / self.sd_rad


def last_joints_follow(
    finger_share: float = 2 / 3, finger_sd_deg: float = 10.0, thumb_share: float = 1.0, thumb_sd_deg: float = 15.0
) -> AnglePrior:
    """Last joints bend by these shares of the ones before, give or take the standard deviations."""
    matrix = np.zeros((5, skeleton.ANGLES))
    for finger in range(5):
        middle, last = np.flatnonzero(np.isin(skeleton.HINGE_SLOTS, (6 * finger + 2, 6 * finger + 4)))
        matrix[finger, middle], matrix[finger, last] = -(finger_share if finger else thumb_share), 1.0
    return AnglePrior(matrix=matrix, sd_rad=np.deg2rad([thumb_sd_deg, *[finger_sd_deg] * 4]))
