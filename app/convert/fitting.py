"""The built-in hand fitted to every frame of a recorded hand: bone lengths first, then poses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from app.convert.hand_recording import FittedHand, RecordedArm, RecordedHand
from calibration.hand import Definition
from models.hand import definition as joint_definition
from models.hand.angle_prior import AnglePrior, last_joints_follow, spread_as_before, spread_within_limits
from models.hand.bone_lengths import BoneLengths
from models.hand.fit import PoseFit, fit_pose
from models.hand.joint_angles import JOINT_ANGLES, covariance_of_angles, joint_angles, pose_covariance
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import ANGLES
from models.hand.wrist_angles import wrist_angles, wrist_angles_covariance

_PRIOR = last_joints_follow()
_FIRST_PRIOR = _PRIOR.and_also(spread_within_limits())
_LEARN_FROM = 300
"""Frames, spread over the recording, from which bone lengths are learnt, and how far the fingers are spread."""
_FEWEST_FOR_SPREAD = 30
"""Of fewer frames, less than a second or two, where the fingers are says little of where they will be."""


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
    wrist_std = np.full((len(joints), 2), np.nan)
    prior = _prior_of(hand, joints, shape, chosen)
    last: PoseFit | None = None
    for frame in there.tolist():
        fit = _fit(hand, joints, shape, frame, last, prior)
        each()
        if fit is None:
            continue
        last = fit
        hinges[frame], T[frame], fitted_joints[frame] = fit.angles_rad, fit.T_world_hand, fit.joints_world_m
        pose = pose_covariance(fit, joints[frame], shape[:20], hand.side, hand.covariance_m2[frame], prior)
        if pose is not None:
            std[frame] = np.sqrt(np.diag(covariance_of_angles(fit.angles_rad, pose)))
            wrist_std[frame] = _wrist_std(hand, frame, fit, pose)
    fitted = FittedHand(
        shape=shape,
        hinges_rad=hinges,
        T_world_hand=T,
        joints_world_m=fitted_joints,
        angles_rad=joint_angles(hinges),
        angles_std_rad=std,
    )
    return replace(hand, fitted=fitted, arm=_with_wrist(hand, T, wrist_std))


def _fit(
    hand: RecordedHand, joints: np.ndarray, shape: np.ndarray, frame: int, last: PoseFit | None, prior: AnglePrior
) -> PoseFit | None:
    fit = fit_pose(joints[frame], shape[:20], hand.side, hand.covariance_m2[frame], last, prior=prior)
    # Without a covariance that can be used, each joint counts alike.
    return fit or fit_pose(joints[frame], shape[:20], hand.side, None, last, prior=prior)


def _prior_of(hand: RecordedHand, joints: np.ndarray, shape: np.ndarray, chosen: np.ndarray) -> AnglePrior:
    """What is known of this person's angles once the chosen frames were fitted."""
    last, fitted = None, []
    for frame in chosen.tolist() if len(chosen) >= _FEWEST_FOR_SPREAD else ():
        last = _fit(hand, joints, shape, frame, last, _FIRST_PRIOR) or last
        if last is not None:
            fitted.append(last.angles_rad)
    return _PRIOR.and_also(spread_as_before(np.array(fitted))) if fitted else _FIRST_PRIOR


def _wrist_std(hand: RecordedHand, frame: int, fit: PoseFit, pose: np.ndarray) -> np.ndarray:
    """(2,), NaN where the elbow is not known."""
    if hand.arm is None or not np.isfinite(hand.arm.points_world_m[frame, 0]).all():
        return np.full(2, np.nan)
    elbow_m, covariance_m2 = hand.arm.points_world_m[frame, 0], hand.arm.covariance_m2[frame, 0]
    return np.sqrt(np.diag(wrist_angles_covariance(fit.T_world_hand, elbow_m, hand.side, pose, covariance_m2)))


def _with_wrist(hand: RecordedHand, T_world_hand: np.ndarray, wrist_std_rad: np.ndarray) -> RecordedArm | None:
    if hand.arm is None:
        return None
    angles = wrist_angles(T_world_hand, hand.arm.points_world_m[:, 0], hand.side)
    return replace(hand.arm, wrist_rad=angles, wrist_std_rad=wrist_std_rad)


def anatomical(hand: RecordedHand, definition: Definition) -> np.ndarray:
    """The hand's joints (F, 21, 3) where the bones' ends are."""
    return joint_definition.convert(hand.joints_world_m, definition, "anatomical", hand.side == "right")
