"""`python -m tests.tools.record_mediapipe REAL_RIG` records what MediaPipe's wheel answers on a recording.

Writes tests/data/mediapipe/real_rig.npz, numbers alone. Runs in an environment of its own, since the wheel holds back
numpy and others: `pip install mediapipe==0.10.21 msgspec PyYAML`. Arrays: `palm_of` and `hand_of` (n, 2), the set and
camera of each palm and hand; `palm_score` (n,), `palm_box` (n, 4) left, top, width, height, `palm_points` (n, 7, 2),
pixels, of searches of the whole image; `crop` (n, 4) centre, side and angle of crops, `landmarks` (n, 21, 2) in pixels
of the crop, `presence`, `handedness` (n,); `solution_of` (n, 2) and `solution` (n, 21, 2), the hands that MediaPipe's
own pipeline finds in some images.
"""

import importlib
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.bench.mediapipe_wheel import WheelHands
from app.estimators.detectors.hand_crop import HandCrop, crop_of_keypoints
from app.estimators.detectors.mediapipe_hands import CROP_PX
from app.estimators.detectors.palms import crops_of_palms
from calibration.written_files import write_atomic
from tests.conftest import ROOT
from tests.support.real_rig import read_sets

FILE = ROOT / "tests/data/mediapipe/real_rig.npz"
_SETS = range(5, 111, 15)
_OF_SOLUTION = (30, "cam_2")


def record(folder: Path) -> dict[str, np.ndarray]:
    wheel = WheelHands()
    found: dict[str, list] = {name: [] for name in _ARRAYS}
    for frame_set in read_sets(folder, _SETS.stop):
        for camera, (camera_id, frame) in enumerate(sorted(frame_set.frames.items())):
            if (frame_set.index, camera_id) == _OF_SOLUTION:
                found["solution"] = _solution(frame.pixels)
                found["solution_of"] = [(frame_set.index, camera)] * len(found["solution"])
            if frame_set.index not in _SETS:
                continue
            palms = wheel.palms(frame.pixels)
            found["palm_of"] += [(frame_set.index, camera)] * len(palms)
            found["palm_score"] += [palm.score for palm in palms]
            found["palm_box"] += [palm.box for palm in palms]
            found["palm_points"] += [palm.points for palm in palms]
            for crop in crops_of_palms(palms):
                for each in (crop, _around(wheel, frame.pixels, crop)):
                    landmarks, presence, handedness = wheel.landmarks(each.cut(frame.pixels, CROP_PX))
                    found["hand_of"].append((frame_set.index, camera))
                    found["crop"].append([*each.centre_px, each.side_px, each.angle])
                    found["landmarks"].append(landmarks)
                    found["presence"].append(presence)
                    found["handedness"].append(handedness)
    wheel.close()
    return {name: np.array(rows, np.int32 if name.endswith("_of") else np.float32) for name, rows in found.items()}


_ARRAYS = (
    *("palm_of", "palm_score", "palm_box", "palm_points", "solution_of", "solution"),
    *("hand_of", "crop", "landmarks", "presence", "handedness"),
)


def _around(wheel: WheelHands, image_bgr: np.ndarray, crop: HandCrop) -> HandCrop:
    """The crop that a tracker takes next, around the landmarks of this one."""
    affine = crop.image_from_crop(CROP_PX)
    landmarks, _, _ = wheel.landmarks(crop.cut(image_bgr, CROP_PX))
    return crop_of_keypoints(landmarks @ affine[:, :2].T + affine[:, 2])


def _solution(image_bgr: np.ndarray) -> list[np.ndarray]:
    """The hands' keypoints (21, 2) in pixels, by MediaPipe's own pipeline for single images."""
    solution: Any = importlib.import_module("mediapipe.python.solutions.hands")
    with solution.Hands(static_image_mode=True, max_num_hands=2) as hands:
        result = hands.process(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
    size = np.array([image_bgr.shape[1], image_bgr.shape[0]])
    return [np.array([[p.x, p.y] for p in hand.landmark]) * size for hand in result.multi_hand_landmarks]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.tools.record_mediapipe REAL_RIG")
    file = BytesIO()
    np.savez_compressed(file, allow_pickle=False, **record(Path(sys.argv[1])))
    write_atomic(FILE, file.getvalue())
