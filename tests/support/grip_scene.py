"""A rendered hand that holds a rendered board by its edge: the images, and where everything truly is."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from calibration.board.board import Board
from calibration.board.pattern import board_size_m
from calibration.hand import Side
from calibration.rig import Rig, RigCamera
from calibration.rotations import inverse_transform, make_transform, rotation_from_vector
from calibration.session import Session, write_session
from models.hand.builtin import BuiltinHand
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import LIMITS_RAD
from models.simulation import backdrop
from models.simulation.arm import arm_model
from models.simulation.raycasting import NO_FACE
from models.simulation.renderer import render
from models.simulation.scene import PosedBoard, PosedHand, SceneState, SceneView, Sensor
from models.simulation.shading import ShadedScene
from models.simulation.skin import Skin, hand_surface
from tests.support.board_scene import arc_rig

BOARD = Board(type="charuco", columns=4, rows=5, square_m=0.03, dictionary="DICT_4X4_50", marker_m=0.0225)
FPS = 10
PLATE_M = 0.009
"""How far the plate on which the pattern is glued reaches beyond it: what the renderer draws as the paper's margin."""

TIP_DEPTH_M = 0.01
"""How far from the board's plane a fingertip's joint is, half a finger."""
# Degrees: a hand that holds something flat between the thumb and all fingers, whose pads are 2 cm apart.
_THUMB_DEG = (20.0, 14.0, 12.0, 0.0, 8.0)
_FINGERS_DEG = ((50.0, 4.0, 26.0, 16.0), (54.0, 1.0, 28.0, 18.0), (58.0, -3.0, 30.0, 18.0), (62.0, -6.0, 30.0, 18.0))
_TIPS = [4, 8, 12, 16, 20]


@dataclass(frozen=True)
class GripScene:
    """A hand and the board in it, which move as one: `T_world_board` (S, 4, 4) and `joints_m` (S, 21, 3) at `times_s`
    (S,). `heights_mm` (5,): the fingertips in front of the board's plane."""

    rig: Rig
    side: Side
    times_s: np.ndarray
    T_world_board: np.ndarray
    joints_m: np.ndarray
    heights_mm: np.ndarray
    angles_rad: np.ndarray
    T_board_hand: np.ndarray

    def state(self, number: int) -> SceneState:
        model = arm_model(self.side)
        T_world_hand = self.T_world_board[number] @ self.T_board_hand
        joints_m, vertices_m = model.pose(self.angles_rad, T_world_hand, model.default_shape())
        hand = PosedHand(
            side=self.side,
            vertices_start_m=vertices_m,
            vertices_end_m=vertices_m,
            joints_m=joints_m,
            surface=hand_surface(model.mesh, model.faces, Skin()),
        )
        views = {name: SceneView(None, Sensor(blur_px=0.5, noise=1.0)) for name in self.rig.camera_ids}
        board = PosedBoard(BOARD, self.T_world_board[number])
        return SceneState(hands=(hand,), boards=(board,), views=views, noise_seed=number)

    def image(self, camera: RigCamera, number: int) -> np.ndarray:
        """The image (H, W, 3) in which the board hides what of the hand is behind it, and the hand of the board."""
        state = self.state(number)
        whole = render(camera, state).image
        bare = SceneState(hands=(), boards=state.boards, views=state.views, noise_seed=state.noise_seed)
        return np.where(_board_in_front(camera, state)[..., None], render(camera, bare).image, whole)

    def write(self, folder: Path) -> Session:
        """A session of it."""
        folder.mkdir(parents=True)
        times_ns = {name: np.round(1e9 * self.times_s).astype(np.int64) for name in self.rig.camera_ids}
        for camera in self.rig.cameras:
            size = camera.camera.width, camera.camera.height
            path = str(folder / f"{camera.camera_id}.mkv")
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"FFV1"), FPS, size)
            for number in range(len(self.times_s)):
                writer.write(self.image(camera, number))
            writer.release()
        return write_session(folder, self.rig, {name: f"{name}.mkv" for name in self.rig.camera_ids}, times_ns)


def grip_scene(side: Side = "right", sets: int = 8, thumb_in_front: bool = False) -> GripScene:
    """Four cameras before the printed face. The hand holds the board from the side of its small x (a left hand) or
    large x, with the fingers on the printed face and the thumb behind it, or with `thumb_in_front` the other way."""
    angles, T_board_hand = _grip(side, thumb_in_front)
    hand = BuiltinHand(side)
    tips_m = hand.joints(angles, T_board_hand, hand.default_shape())[_TIPS]
    heights_mm = -1e3 * tips_m[:, 2]
    width_m, height_m = board_size_m(BOARD)

    times_s = np.arange(sets) / FPS
    turns = rotation_from_vector(0.25 * np.stack([np.sin(2 * times_s), np.cos(3 * times_s), np.sin(times_s)], axis=1))
    centre = np.array([0.5 * width_m, 0.5 * height_m, 0.0])
    places = 0.02 * np.stack([np.cos(times_s), np.sin(2 * times_s), np.sin(times_s)], axis=1) - turns @ centre
    T_world_board = make_transform(turns, places)
    joints_m = np.stack([hand.joints(angles, T @ T_board_hand, hand.default_shape()) for T in T_world_board])
    rig = arc_rig(4, distance_m=0.62, focal_px=620.0, size=(640, 480), span_deg=80.0)
    return GripScene(rig, side, times_s, T_world_board, joints_m, heights_mm, angles, T_board_hand)


def _grip(side: Side, thumb_in_front: bool) -> tuple[np.ndarray, np.ndarray]:
    """Angles (21,) and T_board_hand (4, 4) with the fingertips where they hold the board, near the usual angles."""
    usual = np.deg2rad([*_THUMB_DEG, *np.ravel(_FINGERS_DEG)])
    hand, shape = BuiltinHand(side), MEAN_SHAPE
    width_m, height_m = board_size_m(BOARD)
    # The wrist, and the fingertips side by side: the index uppermost where the palm looks at the printed face.
    inside_m, up_m = 1e-3 * np.array([[-100.0, 12, 12, 16, 12, 4], [10.0, 28, 36, 18, 0, -16]])
    front = np.array([0.0, -1, 1, 1, 1, 1]) * (-1 if thumb_in_front else 1)
    wanted_m = np.stack([inside_m, 0.5 * height_m + (-up_m if thumb_in_front else up_m), -TIP_DEPTH_M * front], axis=1)
    if side == "right":
        wanted_m[:, 0] = width_m - wanted_m[:, 0]
    weights = np.array([0.05, 1, 1, 1, 1, 1])

    def placed(unknown: np.ndarray) -> np.ndarray:
        return make_transform(rotation_from_vector(unknown[21:24]), unknown[24:])

    def residuals(unknown: np.ndarray) -> np.ndarray:
        points_m = hand.joints(unknown[:21], placed(unknown), shape)[[0, *_TIPS]]
        return np.concatenate([(1e3 * weights[:, None] * (points_m - wanted_m)).ravel(), 2 * (unknown[:21] - usual)])

    low, high = LIMITS_RAD.T
    free = np.full(6, np.inf)
    points_m = hand.joints(usual, np.eye(4), shape)[[0, *_TIPS]]
    turn = Rotation.align_vectors(wanted_m - wanted_m.mean(0), points_m - points_m.mean(0))[0]
    place_m = wanted_m.mean(0) - turn.apply(points_m.mean(0))
    start = np.concatenate([np.clip(usual, low + 1e-3, high - 1e-3), turn.as_rotvec(), place_m])
    found = least_squares(residuals, start, bounds=(np.append(low, -free), np.append(high, free)))
    return found.x[:21], placed(found.x)


def _board_in_front(camera: RigCamera, state: SceneState) -> np.ndarray:
    """(H, W) bool: the board is nearer than the hand there."""
    lens, R = camera.camera, camera.T_cam_world[:3, :3]
    rays = (backdrop.lens_rays(lens) @ R.astype(np.float32)).reshape(-1, 3)
    centre = np.broadcast_to(camera.centre_world_m, rays.shape)
    share, face, _ = ShadedScene(state).caster.first_hits(np.concatenate([centre, rays], axis=1).astype(np.float32))
    T_board_world = inverse_transform(state.boards[0].T_world_board)
    origin, directions = T_board_world @ np.append(camera.centre_world_m, 1), rays @ T_board_world[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = -origin[2] / directions[:, 2]
    at = origin[:2] + depth[:, None] * directions[:, :2]
    on_board = ((at >= -PLATE_M) & (at <= np.array(board_size_m(BOARD)) + PLATE_M)).all(1) & (depth > 0)
    hidden = on_board & (face != NO_FACE) & (depth < share)
    return hidden.reshape(lens.height, lens.width)
