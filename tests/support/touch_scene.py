"""A rendered hand whose fingertips touch named corners of a rendered board, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import least_squares

from calibration.hand import FINGERS, Side
from calibration.rotations import make_transform, rotation_from_vector
from calibration.session import Session, write_session
from models.hand.builtin import BuiltinHand
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import LIMITS_RAD
from tests.support.grip_scene import BOARD, FPS, GripScene, grip_scene

PAD_MM = 7.0
"""How far from the board a touching fingertip's joint is."""
_TIPS = (4, 8, 12, 16, 20)


@dataclass(frozen=True)
class TouchScene:
    """Touches of `sets_each` sets: `truth` says which corner (an index) each finger is at. `joints_m` (S, 21, 3)."""

    grips: list[GripScene]
    truth: list[tuple[int, int]]
    sets_each: int

    @property
    def joints_m(self) -> np.ndarray:
        return np.concatenate([grip.joints_m for grip in self.grips])

    @property
    def T_world_board(self) -> np.ndarray:
        return np.concatenate([grip.T_world_board for grip in self.grips])

    @property
    def times_ns(self) -> np.ndarray:
        return np.round(1e9 * np.concatenate([grip.times_s for grip in self.grips])).astype(np.int64)

    def write(self, folder: Path) -> Session:
        """A session of it. Of a scene that rests one picture is drawn for each touch."""
        folder.mkdir(parents=True)
        rig = self.grips[0].rig
        for camera in rig.cameras:
            size = camera.camera.width, camera.camera.height
            path = str(folder / f"{camera.camera_id}.mkv")
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"FFV1"), FPS, size)
            for grip in self.grips:
                rests = (grip.T_world_board == grip.T_world_board[0]).all()
                image = grip.image(camera, 0)
                for number in range(self.sets_each):
                    writer.write(image if rests or number == 0 else grip.image(camera, number))
            writer.release()
        times_ns = dict.fromkeys(rig.camera_ids, self.times_ns)
        return write_session(folder, rig, {name: f"{name}.mkv" for name in rig.camera_ids}, times_ns)


@cache
def touch_pose(side: Side, finger: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles and T_board_hand (4, 4) of a hand before the printed face that touches its origin with one finger, the
    others bent away from the board."""
    hand, shape = BuiltinHand(side), MEAN_SHAPE
    low, high = LIMITS_RAD.T
    sign = 1.0 if side == "right" else -1.0
    usual = np.deg2rad([10.0, 5, 5, 0, 5] + [15.0, 0, 10, 5] * 4)
    for other in range(1, 5):
        if other != finger:
            usual[5 + 4 * (other - 1) : 9 + 4 * (other - 1)] = np.deg2rad([50, 0, 80, 50])
    usual = np.clip(usual, low + 1e-3, high - 1e-3)
    wanted_m = np.array([0.0, 0.0, -1e-3 * PAD_MM])
    wrist_m = wanted_m + np.array([0.04 * sign, 0.11, -0.1])

    def placed(unknown: np.ndarray) -> np.ndarray:
        return make_transform(rotation_from_vector(unknown[21:24]), unknown[24:])

    def residuals(unknown: np.ndarray) -> np.ndarray:
        joints_m = hand.joints(unknown[:21], placed(unknown), shape)
        others_m = joints_m[[tip for index, tip in enumerate(_TIPS) if index != finger]]
        near_mm = np.minimum(0.0, -1e3 * others_m[:, 2] - 25.0)
        tip, wrist = 1e5 * (joints_m[_TIPS[finger]] - wanted_m), 1e2 * (joints_m[0] - wrist_m)
        return np.concatenate([tip, wrist, near_mm, 4 * (unknown[:21] - usual)])

    free = np.full(6, np.inf)
    start = np.concatenate([usual, np.zeros(3), wrist_m])
    found = least_squares(residuals, start, bounds=(np.append(low, -free), np.append(high, free)))
    return found.x[:21], placed(found.x)


def touch_scene(side: Side, touches: Sequence[tuple[str, int]], sets_each: int = 12, moving: bool = True) -> TouchScene:
    """`touches`: by finger's name and corner's index, in order. The board moves slowly, as if it was held."""
    base = grip_scene(side, sets=sets_each * len(touches))
    hand, grips = BuiltinHand(side), []
    for number, (name, corner) in enumerate(touches):
        angles, T_board_hand = touch_pose(side, FINGERS.index(name))
        T_board_hand = make_transform(np.eye(3), BOARD.corners_board_m[corner]) @ T_board_hand
        part = slice(number * sets_each, (number + 1) * sets_each)
        T = base.T_world_board[part] if moving else np.repeat(base.T_world_board[:1], sets_each, axis=0)
        joints_m = np.stack([hand.joints(angles, each @ T_board_hand, hand.default_shape()) for each in T])
        grips.append(
            replace(
                base, times_s=np.arange(part.start, part.stop) / FPS, T_world_board=T, joints_m=joints_m,
                heights_mm=np.zeros(5), angles_rad=angles, T_board_hand=T_board_hand,
            )
        )  # fmt: skip
    return TouchScene(grips, [(FINGERS.index(name), corner) for name, corner in touches], sets_each)
