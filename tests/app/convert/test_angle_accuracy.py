"""Joint angles of simulated hands, seen by four cameras whose labels have a detector's errors, against the truth.

The figures of docs/angles.md: run with `-s`.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from app.convert.conversion import prepare
from app.convert.hand_recording import HandRecording
from app.convert.reading import read_recording
from app.estimators.detection import Detection, Region
from app.estimators.multiview.estimator import MultiViewEstimator
from calibration.frames import Frame, FrameSet
from models.data.hand_sequence import label_std
from models.hand.joint_angles import JOINT_ANGLES, joint_angles
from models.simulation.detector_noise import GRADES, detect
from models.simulation.renderer import hands_in_image
from models.simulation.simulated_rig import ring_rig
from models.simulation.simulated_scene import PosedJoints, SceneSettings, SimulatedScene, random_scene
from tests.support.pose_files import write_pose_file

FRAMES = 45
STEP_NS = 33_333_333
RIG = ring_rig(4)
RULED = [n for n, angle in enumerate(JOINT_ANGLES) if angle.joint == 3 or (angle.joint > 4 and angle.joint % 4 != 1)]
"""Of a finger's last two joints and the thumb's last: models.hand.angle_prior has the last bend with the one before."""


class LabelledHands:
    """A detector that says of each camera's frame what `detect` makes of the true keypoints, hidden ones with it."""

    name = "labels"

    def __init__(self, scene: SimulatedScene, seed: int) -> None:
        self._said: dict[tuple[str, int], list[Detection]] = {}
        states = [scene.state(frame * STEP_NS / 1e9) for frame in range(FRAMES)]
        for view, camera in enumerate(RIG.cameras):
            seen = [hands_in_image(camera, state) for state in states]
            for number in range(len(seen[0])):
                truth_px = np.array([hands[number].keypoints_px for hands in seen])
                visible = np.array([hands[number].visible for hands in seen])
                right = float(seen[0][number].side == "right")
                said = detect(truth_px, visible, np.arange(FRAMES), [seed, number, view], GRADES["moderate"])
                std_px = label_std(said.keypoints_px, said.confidence)
                for frame in np.flatnonzero(said.found).tolist():
                    found = Detection(said.keypoints_px[frame], std_px[frame], right, 1.0)
                    self._said.setdefault((camera.camera_id, frame), []).append(found)

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        return [self._said.get((frame.camera_id, frame.sequence), []) for frame in frames]

    def close(self) -> None: ...


def tracked(scene: SimulatedScene, seed: int, path) -> HandRecording:
    """The hands that are tracked in such labels, by way of a pose file."""
    estimator = MultiViewEstimator(RIG, LabelledHands(scene, seed))
    blank = {each.camera_id: np.zeros((each.camera.height, each.camera.width, 3), np.uint8) for each in RIG.cameras}
    rows = []
    for index in range(FRAMES):
        times = dict.fromkeys(("capture_time_ns", "grab_time_ns", "publish_time_ns"), index * STEP_NS)
        frames = {name: Frame(camera_id=name, sequence=index, pixels=blank[name], **times) for name in blank}
        hands = estimator.estimate(FrameSet(index, index * STEP_NS, frames, index * STEP_NS)).hands
        rows += [(hand.side, hand.track_id, hand.capture_time_ns, hand) for hand in hands]
    joints = np.array([row[3].joints_world_m for row in rows], np.float32)
    covariance = np.array([row[3].covariance_m2 for row in rows], np.float32)
    confidence = np.array([row[3].confidence for row in rows], np.float32)
    sides, tracks, times_ns = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
    arrays = {"time": times_ns, "hand": sides, "track": tracks, "joints": joints, "covariance": covariance}
    arrays |= {"confidence": confidence, "definition": np.array("anatomical"), "version": np.array(1)}
    return read_recording(write_pose_file(path, arrays, set_time=np.arange(FRAMES) * STEP_NS))


def errors_deg(recording: HandRecording, truth: list[dict[str, PosedJoints]]) -> tuple[np.ndarray, np.ndarray]:
    """Errors (n, 22) and standard deviations (n, 22) in all frames of the hands whose sides are right."""
    errors, std = [], []
    for hand in recording.hands:
        there = np.flatnonzero(hand.valid)
        expected = joint_angles(np.array([truth[frame][hand.side].angles_rad for frame in there]))
        errors.append(hand.fit.angles_rad[there] - expected)
        std.append(hand.fit.angles_std_rad[there])
    return np.rad2deg(np.concatenate(errors)), np.rad2deg(np.concatenate(std))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [SceneSettings(anywhere=False, things=False), SceneSettings()], ids=["bare", "any"]
)
def test_angles_are_near_the_truth_and_their_deviations_say_how_near(settings, tmp_path):
    found: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {False: [], True: []}
    for seed in range(2):
        scene = random_scene(RIG, seed, settings)
        truth = [scene.hands(frame * STEP_NS / 1e9) for frame in range(FRAMES)]
        recording = tracked(scene, seed, tmp_path / "poses.npz")
        for smoothed in found:
            found[smoothed].append(errors_deg(prepare(recording, smoothed=smoothed), truth))
    for smoothed, parts in found.items():
        errors, std = (np.concatenate(each) for each in zip(*parts, strict=True))
        for turn in ("flexion", "abduction"):
            mine = [number for number, angle in enumerate(JOINT_ANGLES) if angle.turn == turn]
            rmse = np.sqrt(np.mean(errors[:, mine] ** 2))
            within = np.mean(np.abs(errors[:, mine]) < std[:, mine])
            median = np.median(np.abs(errors[:, mine]))
            print(f"smooth {smoothed}, {turn}: RMSE {rmse:.1f}, median {median:.1f} degrees, {within:.0%} within")
            over = np.abs(errors / std)
            for name, part in (("all", mine), ("without those of a rule", sorted({*mine} - {*RULED}))):
                rms = np.sqrt(np.mean(over[:, part] ** 2))
                print(f"  {name}: {rms:.2f} of their deviations, {np.mean(over[:, part] < 1):.0%} within")
                assert 0.7 < rms < 1.3
            assert 0.55 < within < 0.8
            assert rmse < (8 if turn == "flexion" else 4)
