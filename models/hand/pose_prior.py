"""A network's joints as those of one person's hand: its bones' lengths, and poses that a hand can take.

First the bones get their lengths (models/hand/bone_fit.py). Of few views the joints are then drawn towards the built-in
hand fitted to them, the more the less sure they are: the least of

    (x - m)' C^-1 (x - m) + |x - q|^2 / s^2

for each joint x, of which m is the estimate with covariance C, and q where the fitted hand has it, give or take s.
Where two views disagree about a finger, or see it along nearly one line, C is long and the hand decides.
"""

from dataclasses import dataclass

import numpy as np

from calibration.hand import Side
from models.hand.angle_prior import last_joints_follow
from models.hand.bone_fit import fit_bones
from models.hand.bone_lengths import BoneLengths
from models.hand.fit import PoseFit, fit_pose


@dataclass(frozen=True, kw_only=True)
class PosePriorSettings:
    """How joints are drawn to the poses that hands can take."""

    most_views: int = 3
    """Up to so many views: of more, joints gain 3 % and less, which is not worth the millisecond that a fit takes."""
    sd_m: float = 0.005
    """Of a joint from where the built-in hand has it, whose hinges are not quite a person's; 3 to 8 mm are alike."""
    least_sd_m: float = 0.001
    """No joint is surer along any axis."""


_LAST_JOINTS_FOLLOW = last_joints_follow()


def as_a_hand(
    joints_m: np.ndarray,
    covariance_m2: np.ndarray,
    views: int,
    bones: BoneLengths,
    side: Side = "right",
    last: PoseFit | None = None,
    settings: PosePriorSettings = PosePriorSettings(),
) -> tuple[np.ndarray, PoseFit | None]:
    """The joints (21, 3) of a hand with those `bones` for estimates (21, 3) with covariances (21, 3, 3) of `views`
    views, and the pose that they were drawn to: the start (`last`) of the next frame's. None where there is none."""
    fitted_m = fit_bones(joints_m, covariance_m2, bones.links_m, bones.links_sd_m)
    if views > settings.most_views:
        return fitted_m, None
    pose = fit_pose(joints_m, bones.lengths_m, side, covariance_m2, last, prior=_LAST_JOINTS_FOLLOW)
    if pose is None:
        return fitted_m, None
    return draw_to_pose(fitted_m, covariance_m2, pose.joints_world_m, settings), pose


def draw_to_pose(
    joints_m: np.ndarray, covariance_m2: np.ndarray, pose_m: np.ndarray, settings: PosePriorSettings
) -> np.ndarray:
    """Joints (21, 3) for estimates (21, 3) with covariances (21, 3, 3) and the joints (21, 3) of a fitted hand."""
    covariance_m2 = covariance_m2 + settings.least_sd_m**2 * np.eye(3)
    share = np.linalg.solve(covariance_m2 + settings.sd_m**2 * np.eye(3), covariance_m2)  # of the way, symmetric
    return joints_m + (share @ (pose_m - joints_m)[..., None])[..., 0]
