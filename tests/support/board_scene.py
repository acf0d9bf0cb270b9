"""A simulated board in front of a simulated rig: exact truth for calibration tests."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from calibration.board.board import Board
from calibration.board.views import BoardView, Detections
from calibration.camera import Camera
from calibration.rig import Rig, RigCamera
from calibration.rotations import make_transform, rotation_from_vector

BOARD = Board(type="charuco", columns=9, rows=7, square_m=0.03, dictionary="DICT_4X4_100", marker_m=0.022)
DISTORTION = {
    "pinhole5": [-0.12, 0.05, 0.0006, -0.0004, 0.01],
    "pinhole8": [0.3, -0.1, 0.0004, -0.0003, 0.02, 0.35, -0.05, 0.03],
    "fisheye4": [-0.02, 0.004, -0.002, 0.0003],
}


def arc_rig(
    cameras: int = 4, distance_m: float = 1.0, focal_px: float = 900.0, lens: str = "pinhole5",
    size: tuple[int, int] = (1280, 720), span_deg: float = 120.0,
) -> Rig:  # fmt: skip
    """Cameras on an arc, at two heights, looking at the origin; every lens a little different."""
    made = []
    for number in range(cameras):
        around = np.radians(span_deg) * (number / max(cameras - 1, 1) - 0.5)
        up = 0.25 * (-1) ** number
        centre = distance_m * np.array([np.sin(around) * np.cos(up), np.sin(up), -np.cos(around) * np.cos(up)])
        z = -centre / np.linalg.norm(centre)
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        R = rotation_from_vector(np.array([0, 0, 0.1 * number])) @ np.stack([x, np.cross(z, x), z])
        focal = focal_px * (1 + 0.02 * number)
        matrix = np.array(
            [[focal, 0, size[0] / 2 + 6 - 3 * number], [0, focal * 1.001, size[1] / 2 - 5 + 2 * number], [0, 0, 1]]
        )
        camera = Camera(
            width=size[0],
            height=size[1],
            lens=lens,  # type: ignore[arg-type]
            matrix=matrix,
            distortion=np.array(DISTORTION[lens]),
        )
        made.append(RigCamera(camera_id=f"cam_{number}", camera=camera, T_cam_world=make_transform(R, -R @ centre)))
    return Rig(tuple(made))


@dataclass(frozen=True)
class BoardPath:
    """A smooth path: `T_world_board(times)` of a board that tumbles about the rig's middle."""

    place: CubicSpline
    turn: CubicSpline
    centre_m: np.ndarray

    def __call__(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        R = rotation_from_vector(self.turn(times_s))
        return R, self.place(times_s) - R @ self.centre_m


def board_path(
    board: Board, seconds: float, rng: np.random.Generator, reach_m: float = 0.18, tilt_rad: float = 0.55,
    pace_s: float = 1.0,
) -> BoardPath:  # fmt: skip
    """A new place and tilt about every `pace_s` seconds. Depth varies along with the place."""
    knots = np.arange(-2 * pace_s, seconds + 3 * pace_s, pace_s)
    place = rng.uniform(-reach_m, reach_m, (len(knots), 3)) * [1, 0.7, 1]
    turn = rng.uniform(-tilt_rad, tilt_rad, (len(knots), 3)) * [1, 1, 1.5]
    return BoardPath(CubicSpline(knots, place), CubicSpline(knots, turn), board.corners_board_m.mean(0))


def observe(
    rig: Rig,
    board: Board,
    path: BoardPath,
    frames: int,
    rng: np.random.Generator,
    *,
    noise_px: float = 0.5,
    fps: float | dict[str, float] = 5.0,
    late_s: dict[str, float] | None = None,
    jitter_s: float = 0.0,
    row_time_s: float = 0.0,
    sees: dict[str, range] | None = None,
    two_sided: bool = False,
) -> Detections:
    """What each camera sees. `late_s`: how late its stamps are. `sees`: the frames in which it looks. A `two_sided`
    board shows its corners from the back, too.

    `frames` are those of the fastest camera, where `fps` tells of each.
    """
    views: dict[str, list[BoardView]] = {}
    fastest = max(fps.values()) if isinstance(fps, dict) else fps
    for camera in rig.cameras:
        camera_id = camera.camera_id
        rate = fps[camera_id] if isinstance(fps, dict) else fps
        count = int(frames * rate / fastest)
        own = []
        for frame in sees.get(camera_id, range(count)) if sees else range(count):
            true_s = frame / rate + rng.uniform(-jitter_s, jitter_s)
            pixels = _project(camera, board, path, np.full(len(board.corners_board_m), true_s), two_sided)
            if row_time_s:
                row = pixels[:, 1] - (camera.camera.height - 1) / 2
                pixels = _project(camera, board, path, true_s + row_time_s * np.nan_to_num(row), two_sided)
            inside = (pixels > 2).all(1) & (pixels < np.array([camera.camera.width, camera.camera.height]) - 3).all(1)
            pixels = pixels + rng.normal(0, noise_px, pixels.shape)
            ids = np.flatnonzero(inside)
            if len(ids) >= 6:
                stamp = true_s + (late_s or {}).get(camera_id, 0.0)
                own.append(
                    BoardView(
                        camera_id=camera_id,
                        frame=frame,
                        time_ns=round((stamp + 100) * 1e9),
                        corner_ids=ids,
                        corners_px=pixels[ids],
                        std_px=noise_px or 0.3,
                    )
                )
        views[camera_id] = own
    sizes = {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in rig.cameras}
    return Detections(views=views, image_size=sizes)


def _project(
    camera: RigCamera, board: Board, path: BoardPath, times_s: np.ndarray, two_sided: bool = False
) -> np.ndarray:
    R, t = path(times_s)
    points = (R @ board.corners_board_m[..., None])[..., 0] + t
    normal = camera.T_cam_world[:3, :3] @ R[:, :, 2].T
    pixels = camera.project(points)
    # Only the printed face can be seen.
    depth = points @ camera.T_cam_world[:3, :3].T + camera.T_cam_world[:3, 3]
    away = (normal.T * depth).sum(1) / np.linalg.norm(depth, axis=1)
    pixels[(np.abs(away) if two_sided else away) < 0.25] = np.nan
    return pixels


def pose_errors(found: Rig, true: Rig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per camera, relative to the first: rotation in degrees, centre in mm; and the focal length's error in percent."""
    rotation, centre, focal = [], [], []
    for a, b in zip(found.cameras, true.cameras, strict=True):
        T_a = a.T_cam_world @ np.linalg.inv(found.cameras[0].T_cam_world)
        T_b = b.T_cam_world @ np.linalg.inv(true.cameras[0].T_cam_world)
        turn = T_a[:3, :3] @ T_b[:3, :3].T
        axis = [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
        rotation.append(np.degrees(np.linalg.norm(axis) / 2))
        centres = [-T[:3, :3].T @ T[:3, 3] for T in (T_a, T_b)]
        centre.append(1000 * np.linalg.norm(centres[0] - centres[1]))
        focal.append(100 * (a.camera.focal_px / b.camera.focal_px - 1))
    return np.array(rotation), np.array(centre), np.array(focal)


def tour(
    rig: Rig, board: Board, rng: np.random.Generator, *, near_poses: int = 8, shared_poses: int = 30,
    pace_s: float = 1.0, reach_m: float = 0.15, to_all: bool = False,
) -> tuple[BoardPath, float]:  # fmt: skip
    """A good recording: the board fills each camera's image in turn, tilted to all sides, then moves where all see it,
    facing forward or, in a ring, `to_all` of them in turn.

    Gives the path and its length in seconds.
    """
    size = float(np.ptp(board.corners_board_m[:, :2], axis=0).mean())
    place, turn = [], []
    for camera in rig.cameras:
        lens, T_world_cam = camera.camera, np.linalg.inv(camera.T_cam_world)
        fill = lens.focal_px * size / (0.75 * lens.height)
        for number in range(near_poses):
            depth = fill * (1.0 + 0.5 * (number % 3) / 2)
            room = 0.35 * depth * (number % 3 + 1) / 3
            at = np.array([*(rng.uniform(-room, room, 2) * [lens.width / lens.height, 1] / 2), depth])
            tilt = 0.7 * np.array([np.cos(2.4 * number), np.sin(2.4 * number), rng.uniform(-1, 1)])
            place.append(T_world_cam[:3, :3] @ at + T_world_cam[:3, 3])
            turn.append(_vector(T_world_cam[:3, :3] @ rotation_from_vector(tilt)))
    for number in range(shared_poses):
        place.append(rng.uniform(-reach_m, reach_m, 3) * [1, 0.7, 1])
        tilt = rng.uniform(-0.5, 0.5, 3) * [1, 1, 1.5]
        facing = rig.cameras[number % len(rig.cameras)].T_cam_world[:3, :3].T
        turn.append(_vector(facing @ rotation_from_vector(tilt)) if to_all else tilt)
    knots = np.arange(len(place)) * pace_s
    path = BoardPath(CubicSpline(knots, place), CubicSpline(knots, turn), board.corners_board_m.mean(0))
    return path, float(knots[-1])


def _vector(R: np.ndarray) -> np.ndarray:
    return Rotation.from_matrix(R).as_rotvec()
