"""What is known of a hand's angles before any is measured: a finger's last joint bends with the one before it.

The tendons that bend the last joint of a finger run over the one before it. Without an object that pushes, the distal
interphalangeal joint bends by two thirds of the proximal one: H. Rijpkema and M. Girard, "Computer animation of
knowledge-based human grasping", SIGGRAPH 1991; how far people keep to it while they handle things: A. Roda-Sales et
al., "Studying kinematic linkage of finger joints", PeerJ 10:e14051, 2022. The thumb's interphalangeal joint is taken
to bend about as far as its metacarpophalangeal one. The last bone is the shortest, so its joint is measured worst; a
fingertip that presses breaks the rule by 20 degrees or so, which good views see all the same.

How far a finger is spread is measured badly, too: 4 mm at a knuckle's next joint are 5 degrees. Before a recording is
seen it is anywhere within its limits; once all of it was fitted so, it is where this person's fingers were.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.hand import skeleton

_MAD_TO_SD = 1.4826
_SPREADING_NAMES = (
    "thumb_proximal_abduction",
    *(f"{finger}_base_abduction" for finger in ("index", "middle", "ring", "little")),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class AnglePrior:
    """`matrix` (K, 21) @ hinges (21,), K sums of hinge angles, are `mean_rad` (K,) with standard deviations of `sd_rad`
    (K,)."""

    matrix: np.ndarray
    mean_rad: np.ndarray
    sd_rad: np.ndarray

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(K, 27): derivatives of the sums by a pose's turn, shift and hinges, in standard deviations."""
        return np.pad(self.matrix / self.sd_rad[:, None], ((0, 0), (6, 0)))

    def residuals(self, hinges_rad: np.ndarray) -> np.ndarray:
        """(K,): how many standard deviations the sums of hinges (21,) lie below their means."""
        return (self.mean_rad - self.matrix @ hinges_rad) / self.sd_rad

    def and_also(self, other: "AnglePrior") -> "AnglePrior":
        """What both know."""
        return AnglePrior(
            matrix=np.concatenate([self.matrix, other.matrix]),
            mean_rad=np.concatenate([self.mean_rad, other.mean_rad]),
            sd_rad=np.concatenate([self.sd_rad, other.sd_rad]),
        )


def last_joints_follow(
    finger_share: float = 2 / 3, finger_sd_deg: float = 10.0, thumb_share: float = 1.0, thumb_sd_deg: float = 15.0
) -> AnglePrior:
    """Last joints bend by these shares of the ones before, give or take the standard deviations."""
    matrix = np.zeros((5, skeleton.ANGLES))
    for finger in range(5):
        middle, last = np.flatnonzero(np.isin(skeleton.HINGE_SLOTS, (6 * finger + 2, 6 * finger + 4)))
        matrix[finger, middle], matrix[finger, last] = -(finger_share if finger else thumb_share), 1.0
    sd_rad = np.deg2rad([thumb_sd_deg, *[finger_sd_deg] * 4])
    return AnglePrior(matrix=matrix, mean_rad=np.zeros(5), sd_rad=sd_rad)


SPREADING = np.array([number for number, name in enumerate(skeleton.ANGLE_NAMES) if name in _SPREADING_NAMES])
"""The hinges that spread the fingers, and the thumb's second joint."""


def spread_within_limits() -> AnglePrior:
    """The spreading hinges are anywhere within their limits: as a normal distribution of the same deviation."""
    low, high = skeleton.LIMITS_RAD[SPREADING].T
    return AnglePrior(
        matrix=np.eye(skeleton.ANGLES)[SPREADING], mean_rad=(low + high) / 2, sd_rad=(high - low) / np.sqrt(12)
    )


def spread_as_before(hinges_rad: np.ndarray, least_sd_deg: float = 3.0) -> AnglePrior:
    """The spreading hinges are where they were in hinges (F, 21) of one person, by median and median deviation.

    Never surer than `least_sd_deg`, since what is measured wrong in all frames alike does not show.
    """
    seen = hinges_rad[:, SPREADING]
    mean = np.median(seen, axis=0)
    sd = _MAD_TO_SD * np.median(np.abs(seen - mean), axis=0)
    return AnglePrior(
        matrix=np.eye(skeleton.ANGLES)[SPREADING], mean_rad=mean, sd_rad=np.hypot(sd, np.deg2rad(least_sd_deg))
    )
