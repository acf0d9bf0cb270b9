"""The arm of a fitted hand as a skeleton has it: bones of one length each, from shoulder or elbow to the wrist."""

from dataclasses import dataclass

import numpy as np

from app.convert.hand_recording import ARM_POINTS, FittedHand, RecordedArm, RecordedHand, held
from calibration.hand import Side
from models.hand.arm_turns import forearm_turn, upper_arm_turn


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmAnimation:
    """The K joints of an arm in F frames, none of a hand whose arm is not known: the one nearest to the body first."""

    names: tuple[str, ...]
    """"shoulder", "elbow"; "elbow" alone where the shoulder is known in no frame."""
    lengths_m: np.ndarray
    """(K,): of the bone from each joint to the next; the last ends in the wrist. The median over the recording."""
    turns: np.ndarray
    """(F, K, 3, 3): of these bones in the world, as of models.hand.arm_turns."""
    known: np.ndarray
    """(F, K): whether the joint is known in this frame. Else the arm is bent there as in the last frame that knew."""


def animate_arm(hand: RecordedHand, frames: np.ndarray) -> ArmAnimation:
    """The arm of a fitted hand, which in frame f has the pose of frame `frames[f]` (F,).

    Bones point where they are measured to, so that wrist and elbow have their angles. Their lengths are learnt; that a
    joint is nearer or farther in a frame is left out.
    """
    of_arm = _bones(hand.fit, hand.arm, hand.side) if hand.arm is not None else []
    R_world_next = hand.fit.T_world_hand[:, :3, :3]
    R_world_moving = R_world_next[frames]
    names, lengths, turns, known = [], [], [], []
    for name, line_m, R_world_bone in of_arm:
        there = np.asarray(np.isfinite(R_world_bone).all(axis=(1, 2)))
        if not there.any():
            break
        local = R_world_bone.swapaxes(1, 2) @ R_world_next
        R_world_moving = R_world_moving @ local[held(there)].swapaxes(1, 2)
        R_world_next = R_world_bone
        names.insert(0, name)
        lengths.insert(0, float(np.median(np.linalg.norm(line_m[there], axis=1))))
        turns.insert(0, R_world_moving)
        known.insert(0, there)
    count = len(names)
    return ArmAnimation(
        names=tuple(names),
        lengths_m=np.array(lengths),
        turns=np.array(turns).reshape(count, len(frames), 3, 3).swapaxes(0, 1),
        known=np.array(known, bool).reshape(count, len(frames)).T,
    )


def _bones(fit: FittedHand, arm: RecordedArm, side: Side) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """From the wrist on, the joint in which each bone begins, its line (F, 3) and turn (F, 3, 3), NaN if unknown."""
    elbow_m, shoulder_m = (arm.points_world_m[:, ARM_POINTS.index(name)] for name in ("elbow", "shoulder"))
    forearm_m, upper_m = fit.T_world_hand[:, :3, 3] - elbow_m, elbow_m - shoulder_m
    forearm = forearm_turn(fit.T_world_hand[:, :3, :3], arm.wrist_rad, side)
    return [("elbow", forearm_m, forearm), ("shoulder", upper_m, upper_arm_turn(forearm, upper_m, side))]
