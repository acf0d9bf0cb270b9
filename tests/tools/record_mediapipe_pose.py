"""`python -m tests.tools.record_mediapipe_pose REAL_RIG` records what MediaPipe's wheel says of bodies in a recording.

Writes tests/data/mediapipe/real_rig_pose.npz, numbers alone. Runs in an environment of its own, since the wheel holds
back numpy and others: `pip install mediapipe==0.10.21 msgspec PyYAML`. Arrays: `of` (n, 2), the set and camera of each
image; `points` (n, 33, 2) pixels and `visibility` (n, 33), by MediaPipe's own pipeline for single images (detection,
crop, landmarks and their refinement by heatmaps).
"""

import importlib
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.written_files import write_atomic
from tests.conftest import ROOT
from tests.support.real_rig import read_sets

FILE = ROOT / "tests/data/mediapipe/real_rig_pose.npz"
SETS = range(5, 36, 15)


def record(folder: Path) -> dict[str, np.ndarray]:
    solution: Any = importlib.import_module("mediapipe.python.solutions.pose")
    found: dict[str, list] = {"of": [], "points": [], "visibility": []}
    with solution.Pose(static_image_mode=True, model_complexity=1) as pose:
        for frame_set in read_sets(folder, SETS.stop):
            if frame_set.index not in SETS:
                continue
            for camera, (_, frame) in enumerate(sorted(frame_set.frames.items())):
                body = pose.process(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2RGB)).pose_landmarks
                if body is None:
                    continue
                size = np.array([frame.pixels.shape[1], frame.pixels.shape[0]])
                found["of"].append((frame_set.index, camera))
                found["points"].append(np.array([[each.x, each.y] for each in body.landmark]) * size)
                found["visibility"].append([each.visibility for each in body.landmark])
    numbers = {name: np.array(found[name], np.float32) for name in ("points", "visibility")}
    return numbers | {"of": np.array(found["of"], np.int32)}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.tools.record_mediapipe_pose REAL_RIG")
    file = BytesIO()
    np.savez_compressed(file, allow_pickle=False, **record(Path(sys.argv[1])))
    write_atomic(FILE, file.getvalue())
