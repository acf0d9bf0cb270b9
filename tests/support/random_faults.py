"""Recordings with one fault each, of a kind and size drawn at random, in front of rigs of all kinds; and how far points
that are measured with the rig which comes out are from the truth."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView, Detections
from calibration.rig import Rig
from calibration.rotations import make_transform, rotation_from_vector
from tests.support.board_scene import BOARD, observe, tour
from tests.support.random_rigs import random_rig

# Cameras' frames per second where the board is filmed in motion.
FILM_FPS = 6.0
LEAST_VOLUME_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class FaultyRecording:
    """`rig` as it is at the end of the recording, `fault` in words, `reach_m` the half side of the volume measured."""

    kind: str
    fault: str
    camera: str | None
    rig: Rig
    detections: Detections
    noise_px: float
    reach_m: float
    late_ms: float = 0.0


@dataclass(frozen=True)
class PrintedBoard:
    """A board as it really is: corners (N, 3) that the file does not tell."""

    corners_board_m: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A rig, the way the board goes, and how it is filmed."""

    rig: Rig
    rng: np.random.Generator
    noise_px: float
    reach_m: float
    to_all: bool
    film: bool

    def record(
        self, rig: Rig | None = None, printed: PrintedBoard | Board = BOARD, late_s: dict[str, float] | None = None
    ) -> Detections:
        """What the cameras see. The way is the same in every call."""
        near, shared, pace_s, fps = (
            (1, 14, 2.0, FILM_FPS) if self.film else (5, 24 + 2 * len(self.rig.cameras), 1.0, 1.0)
        )
        path, seconds = tour(
            self.rig, BOARD, np.random.default_rng(3), near_poses=near, shared_poses=shared, pace_s=pace_s,
            reach_m=self.reach_m, to_all=self.to_all,
        )  # fmt: skip
        frames = int(seconds * fps) + 1
        board: Board = printed  # pyright: ignore[reportAssignmentType]
        return observe(rig or self.rig, board, path, frames, self.rng, noise_px=self.noise_px, fps=fps, late_s=late_s)

    def some_camera(self) -> int:
        return int(self.rng.integers(len(self.rig.cameras)))

    def moment_ns(self, detections: Detections) -> int:
        """A moment amid the part that several cameras see."""
        times = np.sort([view.time_ns for views in detections.views.values() for view in views])
        first = 5 * len(self.rig.cameras) / (24 + 7 * len(self.rig.cameras))
        share = first + (1 - first) * self.rng.uniform(0.3, 0.7)
        return int(times[0] + share * (times[-1] - times[0]))


def random_fault(seed: int, kind: str | None = None) -> FaultyRecording:
    """One of the kinds in turn, or the one asked for."""
    names = list(FAULTS)
    kind = kind or names[seed % len(names)]
    rng = np.random.default_rng([13, seed])
    rig, reach_m, to_all = random_rig(rng)
    noise_px = 0.05 * 10 ** rng.uniform(0, 1)
    scene = Scene(rig=rig, rng=rng, noise_px=noise_px, reach_m=reach_m, to_all=to_all, film=kind in FILMED)
    fault, camera, true_rig, detections = FAULTS[kind](scene)
    late_ms = float(fault.split(" by ")[1].split()[0]) if kind == "offset" else 0.0
    return FaultyRecording(
        kind=kind, fault=fault, camera=camera, rig=true_rig, detections=detections, noise_px=noise_px, reach_m=reach_m,
        late_ms=late_ms,
    )  # fmt: skip


Made = tuple[str, str | None, Rig, Detections]


def _sound(scene: Scene) -> Made:
    return "nothing", None, scene.rig, scene.record()


def _print(scene: Scene) -> Made:
    stretch = np.ones(3)
    percent = float(scene.rng.choice([-1, 1]) * scene.rng.uniform(0.7, 4))
    axis = int(scene.rng.integers(2))
    stretch[axis] += percent / 100
    printed = PrintedBoard(BOARD.corners_board_m * stretch)
    return f"print {percent:+.2f} % along {'xy'[axis]}", None, scene.rig, scene.record(printed=printed)


def _bend(scene: Scene) -> Made:
    """An arc of a circle about an axis in any direction, whose middle is so high over its ends."""
    height_m, around = scene.rng.uniform(0.003, 0.010), scene.rng.uniform(0, np.pi)
    corners = BOARD.corners_board_m
    centre = corners.mean(0)
    along = np.array([np.cos(around), np.sin(around), 0.0])
    place = (corners - centre) @ along
    radius = (np.ptp(place) / 2) ** 2 / (2 * height_m)
    bent = corners + np.outer(radius * np.sin(place / radius) - place, along)
    bent[:, 2] += scene.rng.choice([-1, 1]) * radius * (1 - np.cos(place / radius))
    fault = f"bent by {1000 * height_m:.1f} mm along {np.degrees(around):.0f} degrees"
    return fault, None, scene.rig, scene.record(printed=PrintedBoard(bent))


def _focus(scene: Scene) -> Made:
    camera = scene.some_camera()
    share = float(scene.rng.choice([-1, 1]) * scene.rng.uniform(0.005, 0.04))
    old = scene.rig.cameras[camera]
    matrix = old.camera.matrix * np.array([[1 + share, 1, 1], [1, 1 + share, 1], [1, 1, 1]])
    new = replace(old, camera=replace(old.camera, matrix=matrix))
    return _from_then_on(scene, camera, new, f"focus {100 * share:+.1f} %")


def _bump(scene: Scene) -> Made:
    camera = scene.some_camera()
    shift, turn = scene.rng.normal(size=3), scene.rng.normal(size=3)
    shift *= scene.rng.uniform(0.002, 0.02) / np.linalg.norm(shift)
    turn *= np.radians(scene.rng.uniform(0.2, 2)) / np.linalg.norm(turn)
    old = scene.rig.cameras[camera]
    T = make_transform(rotation_from_vector(turn), shift) @ old.T_cam_world
    fault = f"bumped by {1000 * np.linalg.norm(shift):.1f} mm and {np.degrees(np.linalg.norm(turn)):.2f} degrees"
    return _from_then_on(scene, camera, replace(old, T_cam_world=T), fault)


def _from_then_on(scene: Scene, camera: int, new, fault: str) -> Made:
    cameras = list(scene.rig.cameras)
    cameras[camera] = new
    rig = Rig(tuple(cameras))
    before, after = scene.record(), scene.record(rig)
    moment_ns = scene.moment_ns(before)
    views = {
        camera_id: [v for v in before.views[camera_id] if v.time_ns < moment_ns]
        + [v for v in after.views[camera_id] if v.time_ns >= moment_ns]
        for camera_id in before.views
    }
    return f"{cameras[camera].camera_id} {fault}", cameras[camera].camera_id, rig, replace(before, views=views)


def _offset(scene: Scene) -> Made:
    camera_id = scene.rig.cameras[scene.some_camera()].camera_id
    late_s = float(scene.rng.choice([-1, 1]) * 10 ** scene.rng.uniform(-2, -0.6))
    detections = scene.record(late_s={camera_id: late_s})
    return f"{camera_id} late by {1000 * late_s:.0f} ms", camera_id, scene.rig, detections


def _rate(scene: Scene) -> Made:
    """A clock that is fast or slow."""
    camera_id = scene.rig.cameras[scene.some_camera()].camera_id
    fast = float(scene.rng.choice([-1, 1]) * 10 ** scene.rng.uniform(-3, -1.7))
    detections = scene.record()
    start_ns = min(view.time_ns for views in detections.views.values() for view in views)
    own = [
        replace(view, time_ns=start_ns + round((view.time_ns - start_ns) * (1 + fast)))
        for view in detections.views[camera_id]
    ]
    views = detections.views | {camera_id: own}
    return f"{camera_id} clock {100 * fast:+.2f} %", camera_id, scene.rig, replace(detections, views=views)


def _exchanged(scene: Scene) -> Made:
    """From a moment on, two cameras' images come under each other's names."""
    detections = scene.record()
    a, b = (scene.rig.cameras[i].camera_id for i in scene.rng.permutation(len(scene.rig.cameras))[:2])
    moment_ns = scene.moment_ns(detections)

    def mixed(own: str, other: str) -> list[BoardView]:
        before = [v for v in detections.views[own] if v.time_ns < moment_ns]
        return before + [replace(v, camera_id=own) for v in detections.views[other] if v.time_ns >= moment_ns]

    views = detections.views | {a: mixed(a, b), b: mixed(b, a)}
    return f"{a} and {b} exchanged", a, scene.rig, replace(detections, views=views)


def _mirrored(scene: Scene) -> Made:
    camera = scene.rig.cameras[scene.some_camera()]
    detections = scene.record()
    own = [
        replace(v, corners_px=np.stack([camera.camera.width - 1 - v.corners_px[:, 0], v.corners_px[:, 1]], axis=1))
        for v in detections.views[camera.camera_id]
    ]
    views = detections.views | {camera.camera_id: own}
    return f"{camera.camera_id} mirrored", camera.camera_id, scene.rig, replace(detections, views=views)


def _wrong_board(scene: Scene) -> Made:
    """The print has seven columns and nine rows, the file nine and seven."""
    other = Board(type="charuco", columns=7, rows=9, square_m=0.03, dictionary="DICT_4X4_100", marker_m=0.022)
    return "board 7 x 9 for 9 x 7", None, scene.rig, scene.record(printed=other)


FAULTS: dict[str, Callable[[Scene], Made]] = {
    "print": _print,
    "bend": _bend,
    "focus": _focus,
    "bump": _bump,
    "offset": _offset,
    "rate": _rate,
    "exchanged": _exchanged,
    "mirrored": _mirrored,
    "wrong board": _wrong_board,
    "sound": _sound,
}
FILMED = ("offset", "rate")


def measured_errors(found: Rig, true: Rig, reach_m: float) -> tuple[float, float]:
    """What the rig measures with: RMS in mm of points' places after a rigid alignment, and the error of lengths in
    percent. Points lie in the true rig's volume and are seen without noise by two cameras or more."""
    rng = np.random.default_rng(5)
    points = rng.uniform(-reach_m, reach_m, (600, 3)) * [1, 0.7, 1]
    rows: list[list[np.ndarray]] = [[] for _ in points]
    for one, other in zip(true.cameras, found.cameras, strict=True):
        pixels = one.project(points)
        inside = (pixels > 0).all(1) & (pixels < np.array([one.camera.width, one.camera.height])).all(1)
        flat = other.camera.undistort(np.where(np.asarray(inside)[:, None], pixels, 0.0))
        for index in np.flatnonzero(inside):
            rows[index] += [flat[index, k] * other.T_cam_world[2] - other.T_cam_world[k] for k in range(2)]
    seen = [index for index, own in enumerate(rows) if len(own) >= 4]
    if len(seen) < LEAST_VOLUME_POINTS:
        return np.nan, np.nan
    least = [np.linalg.eigh(A.T @ A)[1][:, 0] for A in (np.array(rows[index]) for index in seen)]
    got = np.array([point[:3] / point[3] for point in least])
    a, b = got - got.mean(0), points[seen] - points[seen].mean(0)
    U, S, Vt = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.sign(np.linalg.det(U @ Vt))])
    away = np.linalg.norm(a @ (U * sign) @ Vt - b, axis=1)
    scale = float((a**2).sum() / (S * sign).sum())
    return 1000 * float(np.sqrt((away**2).mean())), 100 * (scale - 1)
