"""The arms of hands as thin lines: wrist to elbow, elbow to shoulder."""

from collections.abc import Sequence

import numpy as np
import open3d as o3d

from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.geometry import Lines


class ArmLines:
    """The arms of all hands as one set of lines."""

    def __init__(self, window: o3d.visualization.Visualizer) -> None:
        self._lines = Lines(window, np.zeros((0, 3)), np.zeros((0, 2), int), np.zeros((0, 3)))

    def set(self, hands: Sequence[HandPose]) -> None:
        """The hands of the set that is shown."""
        if self._lines.count or any(hand.arm is not None for hand in hands):
            self._lines.set(*arm_lines(hands))

    def show(self, visible: bool) -> None:
        self._lines.show(visible and self._lines.count > 0)


def arm_lines(hands: Sequence[HandPose]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3), pairs (L, 2) and colours (L, 3) of the arms that are known, each in its hand's colour."""
    points, pairs, colours = [], [], []
    for hand in hands:
        if hand.arm is None:
            continue
        along = [hand.joints_world_m[0], hand.arm.elbow_world_m]
        if hand.arm.shoulder_world_m is not None:
            along.append(hand.arm.shoulder_world_m)
        if not np.isfinite(along).all():
            continue
        first = len(points)
        points += along
        pairs += [(first + step, first + step + 1) for step in range(len(along) - 1)]
        colours += [palette.HANDS[hand.hand]] * (len(along) - 1)
    return (
        np.array(points, float).reshape(-1, 3),
        np.array(pairs, int).reshape(-1, 2),
        np.array(colours, float).reshape(-1, 3),
    )
