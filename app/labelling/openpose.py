"""OpenPose's JSON folders as a detector: what it said of each frame, read from its files.

One folder a camera, named as the camera or as its video, also with `_json` behind (`cam_0`, `cam_0_json`); in it one
file a frame, `ANYTHING_000000000012_keypoints.json`, frames counted from 0. Of each of `people` the entries
`hand_left_keypoints_2d` and `hand_right_keypoints_2d` are read: 21 times x, y, confidence, 0 for a joint not found.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.estimators.detection import Detection, Region
from calibration.errors import UserError
from calibration.found_files import open_found
from calibration.frames import Frame
from calibration.hand import FINGER_JOINTS, JOINTS, hand_size_px
from calibration.plain_json import parse_json
from calibration.rig import RigCamera
from calibration.session import Session

_FRAME = re.compile(r"(\d+)_keypoints\.json$")
_SIDES = (("hand_left_keypoints_2d", 0.02), ("hand_right_keypoints_2d", 0.98))


@dataclass(frozen=True, kw_only=True)
class OpenPoseSettings:
    """`least_joints` of a hand with a confidence of `least_score` are a hand. `sure_score`: the mean confidence from
    which on there surely is one; OpenPose's are between 0.3 and 0.8 for joints that are well seen. `std_of_size`: the
    error of a joint of confidence 1 as a share of the hand's size in the image; it grows as 1 / sqrt(confidence).
    `most_bytes` of a file, `most_outside`: the share of joints outside of the image from which on the files are of
    another video."""

    least_joints: int = 11
    least_score: float = 0.05
    sure_score: float = 0.4
    std_of_size: float = 0.036
    most_bytes: int = 16_000_000
    most_outside: float = 0.5


class OpenPoseFolder:
    """The hands of a session's frames as OpenPose's files in `folder` say.

    Raises UserError where a camera has no folder, a folder has no files, files are of frames that the video does not
    have, or joints are outside of the image: the files are of another recording then.
    """

    name = "OpenPose"

    def __init__(self, folder: Path, session: Session, settings: OpenPoseSettings | None = None) -> None:
        self._settings = settings or OpenPoseSettings()
        if not folder.is_dir():
            raise UserError(f"`--from openpose {folder}`: no such folder. Give the one with a folder for each camera.")
        self._files = {camera.camera_id: self._files_of(folder, session, camera) for camera in session.rig.cameras}

    def made_of(self) -> str:
        """Tells these files from others, by name, size and time."""
        files = sorted(path for of_camera in self._files.values() for path in of_camera.values())
        told = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """See Detector: all hands of a frame, wherever one is looked for."""
        return [self._hands(self._files[frame.camera_id].get(frame.sequence)) for frame in frames]

    def close(self) -> None: ...

    def _files_of(self, folder: Path, session: Session, camera: RigCamera) -> dict[int, Path]:
        name = camera.camera_id
        stem = session.video_path(name).stem
        names = list(dict.fromkeys(each + end for each in (name, stem) for end in ("", "_json")))
        found = next((folder / each for each in names if (folder / each).is_dir()), None)
        if found is None:
            raise UserError(
                f"{folder}: no folder of camera `{name}`. Expected {', '.join(f'`{each}`' for each in names)}, each "
                "with the JSON files of its video. Are they of this rig?"
            )
        files: dict[int, Path] = {}
        for path in found.iterdir():
            match = _FRAME.search(path.name)
            if match:
                files[int(match[1])] = path
        if not files:
            raise UserError(f"{found}: no files named ..._000000000000_keypoints.json. Run OpenPose with --write_json.")
        frames = len(session.frame_times_ns(name))
        if max(files) >= frames:
            raise UserError(
                f"{files[max(files)]}: is of frame {max(files)}, but the video of camera `{name}` has {frames} frames, "
                "counted from 0. Give the files of this recording."
            )
        self._check_size(camera, found, files)
        return files

    def _check_size(self, camera: RigCamera, folder: Path, files: dict[int, Path]) -> None:
        """Of some of the files: joints lie in the image."""
        some = sorted(files.items())[:: max(1, len(files) // 30)]
        hands = [each.keypoints_px for _, path in some for each in self._hands(path)]
        if not hands:
            return
        points_px = np.concatenate(hands)
        lens = camera.camera
        outside = (~((points_px >= -1) & (points_px <= [lens.width, lens.height])).all(1)).mean()
        if outside > self._settings.most_outside:
            raise UserError(
                f"{folder}: {outside:.0%} of the joints are outside of the image of camera `{camera.camera_id}` "
                f"({lens.width}x{lens.height}). Give the files of this recording, in pixels of its video."
            )

    def _hands(self, path: Path | None) -> list[Detection]:
        if path is None:
            return []
        hands = []
        for person in self._people(path):
            for key, right in _SIDES:
                values = person.get(key) or []
                try:
                    points = np.array(values, dtype=np.float64).reshape(-1, 3)
                except (TypeError, ValueError, OverflowError):
                    points = np.zeros((1, 3))
                if not len(points):
                    continue
                if len(points) != JOINTS or not np.isfinite(points).all():
                    got = f"{len(values)} values" if isinstance(values, list) else repr(values)[:100]
                    raise UserError(f"{path}: `{key}` has {got}; expected 63 numbers, 21 times x, y, confidence.")
                hand = self._detection(points, right)
                hands += [] if hand is None else [hand]
        return hands

    def _people(self, path: Path) -> list[dict]:
        try:
            with open_found(path) as file:
                text = file.read(self._settings.most_bytes + 1)
            if len(text) > self._settings.most_bytes:
                raise UserError(f"{path}: is larger than {self._settings.most_bytes >> 20} MiB; OpenPose's are not.")
            people = parse_json(text)["people"]
            if isinstance(people, list) and all(isinstance(each, dict) for each in people):
                return people
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise UserError(f"{path}: is no JSON file of OpenPose with `people`. Write it again with --write_json.")

    def _detection(self, points: np.ndarray, right: float) -> Detection | None:
        settings = self._settings
        keypoints_px, score = points[:, :2].copy(), np.clip(points[:, 2], 0.0, 1.0)
        found = score >= settings.least_score
        if found.sum() < settings.least_joints:
            return None
        _fill(keypoints_px, found)
        std_px = settings.std_of_size * max(hand_size_px(keypoints_px[found]), 1.0)
        # Of a joint that was not found nothing is known, so its error is many times the hand's size.
        trust = np.where(found, score, 1e-6)
        presence = min(1.0, float(score.mean()) / settings.sure_score)
        return Detection(keypoints_px, std_px / np.sqrt(trust), right_probability=right, presence=presence)


def _fill(keypoints_px: np.ndarray, found: np.ndarray) -> None:
    """Put joints (21, 2) that were not found amid those of their finger, or of the hand, that were."""
    for joints in ((0,), *FINGER_JOINTS):
        missing = [joint for joint in joints if not found[joint]]
        there = [joint for joint in joints if found[joint]]
        if missing:
            keypoints_px[missing] = keypoints_px[there].mean(0) if there else keypoints_px[found].mean(0)


def openpose_folders(folder: Path, sessions: Sequence[Session]) -> dict[Path, OpenPoseFolder]:
    """By session, the files in `folder`; of several sessions, in the folder of the session's name there.

    Raises UserError also where two sessions have one name.
    """
    if len(sessions) == 1:
        return {sessions[0].path: OpenPoseFolder(folder, sessions[0])}
    named: dict[str, Path] = {}
    for each in sessions:
        name = each.path.resolve().name
        if (other := named.setdefault(name, each.path)) != each.path:
            raise UserError(
                f"`--from openpose {folder}`: {other} and {each.path} are both called `{name}`, and would both take "
                f"the files of {folder / name}. Label one session at a time."
            )
    return {each.path: OpenPoseFolder(folder / each.path.resolve().name, each) for each in sessions}
