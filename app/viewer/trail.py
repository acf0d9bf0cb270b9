"""Where each hand was in the last five sets: its skeleton as thin lines that fade, and the way of its fingertips."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import open3d as o3d

from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.geometry import Lines
from app.viewer.skeleton import FINGER_BONES, joint_colours

SETS = 5
_TIPS = [0, 4, 8, 12, 16, 20]
_BONES = np.array(FINGER_BONES)
_FADED = 0.55


class Trails:
    """The trails of all hands as one set of lines."""

    def __init__(self, window: o3d.visualization.Visualizer) -> None:
        self._lines = Lines(window, np.zeros((0, 3)), np.zeros((0, 2), int), np.zeros((0, 3)))
        self._seen: dict[int, deque[tuple[str, np.ndarray]]] = {}
        self._is_drawn = False

    def add(self, poses: Sequence[HandPose]) -> None:
        """The hands of the next set, to be drawn after `renew`. The trail of one that is followed no more goes."""
        for pose in poses:
            past = self._seen.setdefault(pose.track_id, deque(maxlen=SETS + 1))
            past.append((pose.hand, np.array(pose.joints_world_m)))
        self._seen = {track: self._seen[track] for track in [pose.track_id for pose in poses]}

    def restart(self, past: Sequence[Sequence[HandPose]]) -> None:
        """Begin anew with the hands of the sets before, the newest last."""
        self._seen = {}
        for poses in past:
            self.add(poses)

    def renew(self) -> None:
        """The lines are of another set now; they are made while they are shown."""
        self._is_drawn = False

    def _draw(self) -> None:
        """In the theme's colours."""
        parts = [trail_lines(list(past)) for past in self._seen.values()]
        starts = np.cumsum([0, *(len(points) for points, _, _ in parts)])
        self._lines.set(
            np.concatenate([np.zeros((0, 3)), *(points for points, _, _ in parts)]),
            np.concatenate([np.zeros((0, 2), int), *(p[1] + start for p, start in zip(parts, starts, strict=False))]),
            np.concatenate([np.zeros((0, 3)), *(colours for _, _, colours in parts)]),
        )

    def show(self, visible: bool) -> None:
        if visible and not self._is_drawn:
            self._draw()
            self._is_drawn = True
        self._lines.show(visible and self._lines.count > 0)


def trail_lines(past: Sequence[tuple[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3), pairs (L, 2) and colours (L, 3) of a hand's past, sides and joints (21, 3), the newest last.

    The newest itself has no lines but those of its tips' way. A joint that is not finite has none.
    """
    points = np.array([joints_m for _, joints_m in past]).reshape(-1, 3)
    lines, colours = [], []
    for age, (side, _) in zip(range(len(past) - 1, -1, -1), past, strict=True):
        at = 21 * (len(past) - 1 - age)
        share = _FADED * age / SETS
        rgb = joint_colours(side)
        rgb = rgb + (palette.BACKGROUND - rgb) * min(share + 0.1, 1)
        if age:
            lines += [_BONES + at, np.array([[at + tip, at + 21 + tip] for tip in _TIPS])]
            colours += [rgb[_BONES[:, 1]], rgb[_TIPS]]
    pairs = np.concatenate(lines) if lines else np.zeros((0, 2), int)
    rgb = np.concatenate(colours) if colours else np.zeros((0, 3))
    known = np.all(np.all(np.isfinite(points), axis=1)[pairs], axis=1)
    return np.nan_to_num(points), pairs[known], rgb[known]
