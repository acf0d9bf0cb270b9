"""The built-in hand fitted to every frame of a recorded hand: bone lengths first, then poses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from app.convert.hand_recording import FittedHand, RecordedHand
from calibration.hand import Definition
from models.hand import definition as joint_definition
from models.hand.angle_prior import last_joints_follow
from models.hand.bone_lengths import BoneLengths
from models.hand.fit import PoseFit, fit_pose
from models.hand.joint_angles import JOINT_ANGLES, joint_angles, joint_angles_covariance
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import ANGLES

_PRIOR = last_joints_follow()
_LEARN_FROM = 300
"""Frames, spread over the recording, from which bone lengths are learnt."""


def with_fit(hand: RecordedHand, definition: Definition, each: Callable[[], object] = lambda: None) -> RecordedHand:
    """The hand with its `fitted`; joints of the definition `detector` are moved to where bones turn, before.

    `each` is called after each frame.
    """
    joints = anatomical(hand, definition)
    there = np.flatnonzero(hand.valid)
    chosen = there[np.unique(np.linspace(0, len(there) - 1, min(_LEARN_FROM, len(there))).astype(int))]
    bones = BoneLengths(hold_after=len(chosen))
    for frame in chosen:
        bones.add(joints[frame])
    shape = np.append(bones.lengths_m, np.median(bones.lengths_m / MEAN_SHAPE[:20]))

    hinges = np.full((len(joints), ANGLES), np.nan)
    T = np.full((len(joints), 4, 4), np.nan)
    fitted_joints = np.full(joints.shape, np.nan)
    std = np.full((len(joints), len(JOINT_ANGLES)), np.nan)
    last: PoseFit | None = None
    for frame in there:
        fit = fit_pose(joints[frame], shape[:20], hand.side, hand.covariance_m2[frame], last, prior=_PRIOR)
        # Without a covariance that can be used, each joint counts alike.
        fit = fit or fit_pose(joints[frame], shape[:20], hand.side, None, last, prior=_PRIOR)
        each()
        if fit is None:
            continue
        last = fit
        hinges[frame], T[frame], fitted_joints[frame] = fit.angles_rad, fit.T_world_hand, fit.joints_world_m
        covariance = joint_angles_covariance(
            fit, joints[frame], shape[:20], hand.side, hand.covariance_m2[frame], _PRIOR
        )
        if covariance is not None:
            std[frame] = np.sqrt(np.diag(covariance))
    fitted = FittedHand(
        shape=shape,
        hinges_rad=hinges,
        T_world_hand=T,
        joints_world_m=fitted_joints,
        angles_rad=joint_angles(hinges),
        angles_std_rad=std,
    )
    return replace(hand, fitted=fitted)


def anatomical(hand: RecordedHand, definition: Definition) -> np.ndarray:
    """The hand's joints (F, 21, 3) where the bones' ends are."""
    return joint_definition.convert(hand.joints_world_m, definition, "anatomical", hand.side == "right")
