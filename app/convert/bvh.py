"""BVH of animation programs: a skeleton's rest pose, and the turns of its joints in every frame.

M. Meredith and S. Maddock, "Motion capture file formats explained", University of Sheffield, 2001.
"""

from pathlib import Path

import numpy as np

from app.convert.hand_recording import Y_UP, HandRecording, RecordedHand
from app.convert.skeleton_animation import SkeletonAnimation, animate

_POSITION = "Xposition Yposition Zposition"
_ROTATION = "Zrotation Xrotation Yrotation"
_CM = 100.0


def write_bvh(path: Path, recording: HandRecording) -> None:
    """Centimetres and degrees, y up. One hand is the root; several hang on a root `hands` that stays in the origin.

    The format cannot say that a hand is missing: it holds its last pose, as `app.convert.validity` says beside it.
    A hand hangs on its arm where that is known, which is held in the same way.
    """
    animations = [animate(hand, Y_UP) for hand in recording.hands]
    several = len(animations) > 1
    lines = ["HIERARCHY"]
    if several:
        lines += ["ROOT hands", "{", "  OFFSET 0 0 0", f"  CHANNELS 6 {_POSITION} {_ROTATION}"]
    for hand, animation in zip(recording.hands, animations, strict=True):
        lines += _joint(hand, animation, 0, 1 if several else 0)
    if several:
        lines.append("}")
    lines += ["MOTION", f"Frames: {recording.frames}", f"Frame Time: {1 / recording.rate_hz:.9f}"]
    still = [np.zeros((recording.frames, 6))] if several else []
    channels = np.concatenate([*still, *map(_channels, animations)], axis=1)
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
        for frame in channels.tolist():
            file.write(" ".join(f"{value:.6f}" for value in frame) + "\n")


def _joint(hand: RecordedHand, animation: SkeletonAnimation, joint: int, depth: int) -> list[str]:
    """Lines of a joint and all that hangs on it."""
    indent, inside = "  " * depth, "  " * (depth + 1)
    # The root has its place in every frame.
    offset_cm = _CM * animation.offsets_m[joint] if joint else np.zeros(3)
    offset = f"{inside}OFFSET " + " ".join(f"{value:.6f}" for value in offset_cm)
    if joint in animation.tips:
        return [f"{indent}End Site", f"{indent}{{", offset, f"{indent}}}"]
    kind, channels = ("JOINT", f"3 {_ROTATION}") if joint else ("ROOT" if depth == 0 else "JOINT", "")
    channels = channels or f"6 {_POSITION} {_ROTATION}"
    name = f"{hand.name}_{animation.names[joint]}"
    lines = [f"{indent}{kind} {name}", f"{indent}{{", offset, f"{inside}CHANNELS {channels}"]
    for child in animation.children(joint):
        lines += _joint(hand, animation, child, depth + 1)
    return [*lines, f"{indent}}}"]


def _channels(animation: SkeletonAnimation) -> np.ndarray:
    """(F, 51), 3 more for each joint of an arm: the root's place, then every joint's turns about Z, X and Y, in the
    order of the hierarchy."""
    turning = [joint for joint in range(len(animation.names)) if joint not in animation.tips]
    turns_deg = np.rad2deg(_zxy(animation.turns[:, turning]))
    return np.concatenate([_CM * animation.root_m, turns_deg.reshape(len(turns_deg), -1)], axis=1)


def _zxy(R: np.ndarray) -> np.ndarray:
    """Angles (..., 3) about Z, X and Y of rotations (..., 3, 3) = R_z R_x R_y, continuous over the first axis."""
    x = np.arcsin(np.clip(R[..., 2, 1], -1, 1))
    z = np.arctan2(-R[..., 0, 1], R[..., 1, 1])
    y = np.arctan2(-R[..., 2, 0], R[..., 2, 2])
    return np.stack([np.unwrap(z, axis=0), x, np.unwrap(y, axis=0)], axis=-1)
