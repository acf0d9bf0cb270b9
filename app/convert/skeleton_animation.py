"""A fitted hand as animation programs take it: a skeleton in a rest pose, and turns of its joints over time."""

from dataclasses import dataclass

import numpy as np

from app.convert.arm_animation import ArmAnimation, animate_arm
from app.convert.hand_recording import RecordedHand, held
from calibration.hand import BONES, FINGER_JOINTS, JOINT_NAMES, JOINTS
from models.hand import skeleton
from models.hand.arm_turns import arm_direction
from models.hand.builtin import mirror_of

NODE_NAMES = tuple(name.replace(" ", "_") for name in JOINT_NAMES)
"""Such as "index_MCP"."""
PARENTS = np.full(JOINTS, -1)
PARENTS[BONES[:, 1]] = BONES[:, 0]
TIPS = tuple(joints[-1] for joints in FINGER_JOINTS)
BONE_OF_JOINT = {int(joint): bone for bone, joint in enumerate(skeleton.BONE_JOINTS)}
"""The bone of models.hand.skeleton that turns about a joint, of all joints but fingertips."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SkeletonAnimation:
    """The 21 joints of a hand in F frames, after the K of its arm: N. With all turns at identity the hand lies in its
    rest pose, in `axes`, and the arm behind it, straight.

    A joint is at its parent's place plus the parent's turn times `offsets_m`. In gaps the last pose is held.
    """

    arm: ArmAnimation
    names: tuple[str, ...]
    """(N,), each joint after its parent; the root first."""
    parents: np.ndarray
    """(N,), -1 of the root."""
    offsets_m: np.ndarray
    """(N, 3): from the parent joint, in the rest pose; the root's from where the wrist rests."""
    turns: np.ndarray
    """(F, N, 3, 3): each joint's turn against its parent's; a fingertip's is the identity."""
    root_m: np.ndarray
    """(F, 3): where the root is."""

    @property
    def wrist(self) -> int:
        """Which joint it is; those of calibration.hand follow in their order."""
        return len(self.arm.names)

    @property
    def tips(self) -> tuple[int, ...]:
        return tuple(self.wrist + tip for tip in TIPS)

    def children(self, joint: int) -> list[int]:
        return np.flatnonzero(self.parents == joint).tolist()

    @property
    def rest_m(self) -> np.ndarray:
        """(N, 3): the joints in the rest pose, the wrist in the origin."""
        rest = self.offsets_m.copy()
        for joint in range(1, len(rest)):
            rest[joint] += rest[self.parents[joint]]
        return rest


def animate(hand: RecordedHand, axes: np.ndarray) -> SkeletonAnimation:
    """The fitted hand in axes (3, 3) @ world. The rest pose is that of the mesh, fingers along the first axis."""
    fit = hand.fit
    frames = held(np.asarray(np.isfinite(fit.hinges_rad).all(axis=1)))
    to_file = axes @ np.diag(mirror_of(hand.side))
    T = fit.T_world_hand[frames]
    arm = animate_arm(hand, frames)
    count = len(arm.names)
    chain = np.concatenate([arm.turns, T[:, None, :3, :3]], axis=1)
    chain[:, 1:] = chain[:, :-1].swapaxes(-1, -2) @ chain[:, 1:]
    turns = turns_of(fit.hinges_rad[frames], fit.shape, to_file)
    bones = arm.lengths_m[:, None] * arm_direction(hand.side)
    offsets = np.concatenate([[0 - bones.sum(axis=0)], bones]) @ axes.T
    return SkeletonAnimation(
        arm=arm,
        names=(*arm.names, *NODE_NAMES),
        parents=np.concatenate([np.arange(count) - 1, [count - 1], PARENTS[1:] + count]),
        offsets_m=np.concatenate([offsets, rest_offsets(fit.shape, to_file)[1:]]),
        turns=np.concatenate([axes @ chain @ axes.T, turns[:, 1:]], axis=1),
        root_m=(T[:, :3, 3] - np.einsum("fkij,kj->fi", arm.turns, bones)) @ axes.T,
    )


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
