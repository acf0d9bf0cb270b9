"""Worse footage: the rig that goes with it sees points where they are in its images."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.evaluation.worse_footage import KINDS, make_worse
from calibration.camera import Camera
from calibration.errors import UserError
from calibration.session import Session, write_session
from models.simulation.simulated_rig import ring_rig

FRAMES = 4
POINT_M = np.array([0.07, 0.03, 0.24])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Two cameras of bent lenses, and a disc where each sees the point."""
    path = tmp_path_factory.mktemp("session")
    distortion = np.array([-0.3, 0.1, 0.02, -0.015, 0.0])
    cameras = []
    for camera in ring_rig(2).cameras:
        lens = Camera(width=640, height=480, lens="pinhole5", matrix=camera.camera.matrix, distortion=distortion)
        cameras.append(replace(camera, camera=lens, source=None))
    rig = replace(ring_rig(2), cameras=tuple(cameras))
    for camera in rig.cameras:
        image = np.full((480, 640, 3), 40, np.uint8)
        middle = np.round(16 * camera.project(POINT_M)).astype(int)
        cv2.circle(image, middle.tolist(), 16 * 14, (240, 240, 240), -1, cv2.LINE_AA, 4)
        writer = cv2.VideoWriter(str(path / f"{camera.camera_id}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
        for _ in range(FRAMES):
            writer.write(image)
        writer.release()
    videos = {camera_id: f"{camera_id}.avi" for camera_id in rig.camera_ids}
    return write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, np.arange(FRAMES) * 33_000_000))


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_where_the_worse_rig_sees_them(session: Session, tmp_path: Path, kind: str) -> None:
    worse = make_worse(session, tmp_path / kind, kind)
    for camera in worse.rig.cameras:
        video = worse.open_video(camera.camera_id)
        assert video.grab()
        image = video.retrieve()
        assert image is not None and image.shape[:2] == (camera.camera.height, camera.camera.width)
        bright = image.min(axis=2).astype(float)
        bright[bright < (bright.max() + bright.min()) / 2] = 0
        v, u = np.indices(bright.shape)
        seen = np.array([(bright * u).sum(), (bright * v).sum()]) / bright.sum()
        assert np.linalg.norm(seen - camera.project(POINT_M)) < 0.35
        assert len(worse.frame_times_ns(camera.camera_id)) == -(-FRAMES // KINDS[kind].every)
        video.close()


def test_a_session_that_is_there_is_not_replaced(session: Session) -> None:
    with pytest.raises(UserError, match="is there already"):
        make_worse(session, session.path, "grey")
