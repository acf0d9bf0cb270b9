"""Labels drawn into the pictures of their session: all cameras side by side, as a video."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from app.viewer import palette
from app.viewer.font import draw_text
from app.viewer.video import Mp4Writer
from calibration.frames import FrameSet
from calibration.hand import BONES
from calibration.session import Session
from models.files.labels import Labels, read_labels

_WIDTH = 1280
_TEXT_PX = 20
_FPS = 30.0


def write_overlay(session: Session, out: Path, progress: Callable[[], object] = lambda: None) -> int:
    """Draw `labels.npz` into the session's frame sets; returns how many pictures the video has.

    A joint's dot is green where the other views agree and red where they contradict; a joint without label is left
    out. Raises UserError as `read_labels`, and where the video cannot be written.
    """
    labels = read_labels(session.path / "labels.npz", len(session.rig.cameras))
    rig = recorded_rig(session)
    order = np.lexsort((labels.camera, labels.time_ns))
    at = {(int(labels.camera[row]), int(labels.time_ns[row])): [] for row in order}
    for row in order:
        at[int(labels.camera[row]), int(labels.time_ns[row])].append(int(row))
    across = 1 if len(rig.cameras) == 1 else 2 if len(rig.cameras) <= 4 else 3
    tile_w = _WIDTH // across
    tile_h = max(round(tile_w * each.camera.height / each.camera.width) for each in rig.cameras)
    down = -(-len(rig.cameras) // across)
    rate_hz = min(rig.sync.fps or _FPS, 240.0)
    with Mp4Writer(out, tile_w * across, tile_h * down, rate_hz) as video:
        for number, frame_set in enumerate(recorded_sets(session, rig, recorded_phases_of(session, rig))):
            picture = np.zeros((tile_h * down, tile_w * across, 3), np.uint8)
            for view, tile in _tiles(frame_set, rig.camera_ids, labels, at, (tile_w, tile_h)):
                row, column = divmod(view, across)
                picture[row * tile_h : row * tile_h + tile.shape[0], column * tile_w : (column + 1) * tile_w] = tile
            video.write(np.ascontiguousarray(picture[..., ::-1]), number)
            progress()
        return video.frames


def _tiles(
    frame_set: FrameSet,
    camera_ids: tuple[str, ...],
    labels: Labels,
    rows_at: dict[tuple[int, int], list[int]],
    size: tuple[int, int],
) -> Iterator[tuple[int, np.ndarray]]:
    for view, name in enumerate(camera_ids):
        frame = frame_set.frames.get(name)
        if frame is None:
            continue
        height, width = frame.pixels.shape[:2]
        scale = min(size[0] / width, size[1] / height)
        tile = np.zeros((size[1], size[0], 3), np.uint8)
        small = cv2.resize(frame.pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        tile[: small.shape[0], : small.shape[1]] = small
        for row in rows_at.get((view, frame.capture_time_ns), ()):
            draw_label(tile, (labels.keypoints_px[row] + 0.5) * scale - 0.5, labels.confidence[row],
                       bool(labels.right[row]))  # fmt: skip
        draw_text(tile, name, 10, 16, _TEXT_PX, palette.TEXT)
        yield view, tile


def draw_label(image: np.ndarray, keypoints_px: np.ndarray, confidence: np.ndarray, right: bool) -> None:
    """Draw one hand's keypoints (21, 2) with their confidence (21,) into an image (H, W, 3) BGR."""
    points = np.round(keypoints_px).astype(int).tolist()
    colours = [palette.HANDS["right" if right else "left"], *np.repeat(palette.FINGERS, 4, axis=0)]
    for parent, child in BONES:
        if confidence[parent] > 0 and confidence[child] > 0:
            cv2.line(image, points[parent], points[child], palette.bgr(colours[child]), 1, cv2.LINE_AA)
    for point, sure in zip(points, confidence, strict=True):
        if sure > 0:
            colour = palette.BAD + (palette.GOOD - palette.BAD) * float(sure)
            cv2.circle(image, point, 3, palette.bgr(colour), cv2.FILLED, cv2.LINE_AA)
