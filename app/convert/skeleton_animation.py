"""A fitted hand as animation programs take it: a skeleton in a rest pose, and turns of its joints over time."""

from dataclasses import dataclass

import numpy as np

from app.convert.hand_recording import RecordedHand
from calibration.hand import BONES, FINGER_JOINTS, JOINT_NAMES, JOINTS
from models.hand import skeleton
from models.hand.builtin import mirror_of

NODE_NAMES = tuple(name.replace(" ", "_") for name in JOINT_NAMES)
"""Such as "index_MCP"."""
PARENTS = np.full(JOINTS, -1)
PARENTS[BONES[:, 1]] = BONES[:, 0]
TIPS = tuple(joints[-1] for joints in FINGER_JOINTS)
CHILDREN = tuple(tuple(int(child) for child in np.flatnonzero(joint == PARENTS)) for joint in range(JOINTS))
BONE_OF_JOINT = {int(joint): bone for bone, joint in enumerate(skeleton.BONE_JOINTS)}
"""The bone of models.hand.skeleton that turns about a joint, of all joints but fingertips."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SkeletonAnimation:
    """The 21 joints of a hand in F frames. With all turns at identity the hand lies in its rest pose, in `axes`.

    A joint is at its parent's place plus the parent's turn times `offsets_m`. In gaps the last pose is held.
    """

    offsets_m: np.ndarray
    """(21, 3): from the parent joint, in the rest pose; the wrist's is 0."""
    turns: np.ndarray
    """(F, 21, 3, 3): each joint's turn against its parent's; a fingertip's is the identity."""
    root_m: np.ndarray
    """(F, 3): where the wrist is."""

    @property
    def rest_m(self) -> np.ndarray:
        """(21, 3): the joints in the rest pose, the wrist in the origin."""
        rest = self.offsets_m.copy()
        for joint in range(1, JOINTS):
            rest[joint] += rest[PARENTS[joint]]
        return rest


def animate(hand: RecordedHand, axes: np.ndarray) -> SkeletonAnimation:
    """The fitted hand in axes (3, 3) @ world. The rest pose is that of the mesh, fingers along the first axis."""
    fit = hand.fit
    there = np.asarray(np.isfinite(fit.hinges_rad).all(axis=1))
    frames = _held(there)
    to_file = axes @ np.diag(mirror_of(hand.side))
    T = fit.T_world_hand[frames]
    turns = turns_of(fit.hinges_rad[frames], fit.shape, to_file)
    turns[:, 0] = axes @ T[:, :3, :3] @ axes.T
    return SkeletonAnimation(offsets_m=rest_offsets(fit.shape, to_file), turns=turns, root_m=T[:, :3, 3] @ axes.T)


def turns_of(hinges_rad: np.ndarray, shape: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Each joint's turn against its parent's since the rest pose (F, 21, 3, 3), in axes (3, 3) @ a right hand's frame.

    Of hinges (F, 21) and a shape (21,). The wrist's is the identity.
    """
    rest = skeleton.chain(skeleton.REST_ANGLES_RAD, shape[:20])
    posed = skeleton.chain(hinges_rad, shape[:20])
    turned = np.broadcast_to(np.eye(3), (len(hinges_rad), JOINTS, 3, 3)).copy()
    of_bones = posed.rotations @ rest.rotations.swapaxes(-1, -2)
    turned[:, skeleton.BONE_JOINTS[1:]] = of_bones.reshape(len(hinges_rad), 15, 3, 3)
    for tip in TIPS:
        turned[:, tip] = turned[:, tip - 1]
    turned = axes @ turned @ axes.T
    turns = turned.copy()
    turns[:, 1:] = turned[:, PARENTS[1:]].swapaxes(-1, -2) @ turned[:, 1:]
    return turns


def rest_offsets(shape: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Each joint's place against its parent's in the rest pose (21, 3), in axes (3, 3) @ a right hand's frame."""
    rest = skeleton.chain(skeleton.REST_ANGLES_RAD, shape[:20])
    offsets = rest.joints_m.copy()
    offsets[1:] -= rest.joints_m[PARENTS[1:]]
    return offsets @ axes.T


def _held(there: np.ndarray) -> np.ndarray:
    """(F,): the frame whose pose each frame shows: its own, else the last one before, else the first."""
    frames = np.where(there, np.arange(len(there)), -1)
    frames = np.maximum.accumulate(frames)
    return np.where(frames < 0, np.argmax(there), frames)
