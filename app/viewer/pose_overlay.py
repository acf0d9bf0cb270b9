"""Every camera's images at full size, tiled, with the hands of a replay projected into them: as a video."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from app.viewer import palette
from app.viewer.font import draw_text
from app.viewer.video import Mp4Writer
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.hand import BONES
from calibration.rig import Rig, RigCamera

_MOST_FPS = 240.0
_USUAL_FPS = 30.0
# Of the images' height: what can be seen when all tiles are looked at on one screen.
_LINE, _TEXT = 1 / 360, 1 / 28


def write_pose_overlay(
    rig: Rig,
    sets: Iterable[FrameSet],
    poses: Path,
    out: Path,
    every: int = 1,
    progress: Callable[[int], object] = lambda pictures: None,
) -> int:
    """Draw the sets that `poses`, a file of `replay --poses`, has; returns how many pictures the video has.

    A camera that has no frame in a set has a black tile. Raises UserError where the video cannot be written.
    """
    with np.load(poses) as file:
        times_ns, joints_m, hands = file["time"], file["joints"], file["hand"]
        wanted = set(file["set_time"].tolist())
    rows: dict[int, list[int]] = defaultdict(list)
    for row, time_ns in enumerate(times_ns.tolist()):
        rows[time_ns].append(row)
    width, height = (max(getattr(each.camera, name) for each in rig.cameras) for name in ("width", "height"))
    across = int(np.ceil(np.sqrt(len(rig.cameras))))
    down = -(-len(rig.cameras) // across)
    rate_hz = min((rig.sync.fps or _USUAL_FPS) / every, _MOST_FPS)
    with Mp4Writer(out, width * across, height * down, rate_hz) as video:
        for frame_set in sets:
            if frame_set.reference_time_ns not in wanted:
                continue
            picture = np.zeros((height * down, width * across, 3), np.uint8)
            for number, camera in enumerate(rig.cameras):
                row, column = divmod(number, across)
                tile = picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
                frame = frame_set.frames.get(camera.camera_id)
                if frame is not None:
                    tile[: frame.pixels.shape[0], : frame.pixels.shape[1]] = frame.pixels
                    for at in rows[frame_set.reference_time_ns]:
                        draw_pose(tile, camera, joints_m[at], str(hands[at]))
                size = max(12, round(height * _TEXT))
                draw_text(tile, camera.camera_id, size // 2, size, size, palette.TEXT)
            video.write(np.ascontiguousarray(picture[..., ::-1]), video.frames)
            progress(video.frames)
        if not video.frames:
            raise UserError(f"{out}: no set was played, so there is nothing to draw.")
        return video.frames


def draw_pose(image: np.ndarray, camera: RigCamera, joints_world_m: np.ndarray, side: str) -> None:
    """Draw a hand's joints (21, 3) as the camera sees them into its image (H, W, 3) BGR."""
    points_px = camera.project(joints_world_m)
    colours = [palette.HANDS[side], *np.repeat(palette.FINGERS, 4, axis=0)]
    thick = max(1, round(camera.camera.height * _LINE))
    # What is behind the camera has no place, and OpenCV's coordinates are 32 bits.
    seen = np.asarray((np.abs(np.nan_to_num(points_px, nan=np.inf)) < 2**15).all(1))
    points = np.round(np.where(seen[:, None], points_px, 0)).astype(int).tolist()
    for parent, child in BONES:
        if seen[parent] and seen[child]:
            cv2.line(image, points[parent], points[child], palette.bgr(colours[child]), thick, cv2.LINE_AA)
    for joint in np.flatnonzero(seen):
        cv2.circle(image, points[joint], thick + 1, palette.bgr(colours[joint]), cv2.FILLED, cv2.LINE_AA)
