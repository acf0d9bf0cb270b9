"""The recording `real_rig` of the shared data: its calibration and its frame sets, as it grouped them."""

import csv
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from calibration.camera import Camera
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig, RigCamera


def read_rig(folder: Path) -> Rig:
    """caliscope's calibration of the recording."""
    cameras = []
    for number, entry in sorted(tomllib.loads((folder / "camera_array.toml").read_text())["cameras"].items()):
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = entry["rotation"], entry["translation"]
        lens = Camera(
            width=entry["size"][0],
            height=entry["size"][1],
            lens="pinhole5",
            matrix=np.array(entry["matrix"]),
            distortion=np.array(entry["distortions"]),
        )
        cameras.append(RigCamera(camera_id=f"cam_{number}", camera=lens, T_cam_world=T))
    return Rig(tuple(cameras))


def read_sets(folder: Path, count: int) -> Iterator[FrameSet]:
    """The first frame sets of the recording, as it grouped them."""
    videos = {f"cam_{n}": cv2.VideoCapture(str(folder / f"calibration/extrinsic/cam_{n}.mp4")) for n in range(4)}
    rows: dict[int, dict[str, int]] = {}
    with (folder / "calibration/extrinsic/timestamps.csv").open() as file:
        for row in csv.DictReader(file):
            stamp_ns = round(float(row["frame_time"]) * 1e9)
            rows.setdefault(int(row["sync_index"]), {})[f"cam_{row['cam_id']}"] = stamp_ns
    for index, stamps in enumerate([rows[key] for key in sorted(rows)][:count]):
        frames = {}
        for camera_id, stamp_ns in sorted(stamps.items()):
            ok, pixels = videos[camera_id].read()
            assert ok
            frames[camera_id] = Frame(
                camera_id=camera_id,
                sequence=index,
                capture_time_ns=stamp_ns,
                grab_time_ns=stamp_ns,
                publish_time_ns=stamp_ns,
                pixels=pixels,
            )
        yield FrameSet(index, int(np.median(list(stamps.values()))), frames, 0)
