"""The simulated hands, rig and detector: what others take for truth must be what it says."""

from dataclasses import replace

import numpy as np
import pytest

from app.estimators.simulated import MISS_RATE, OUTLIER_RATE, WRONG_SIDE_RATE, SimulatedDetector
from calibration.frames import Frame
from calibration.rig import Rig
from models.simulation.hands import BONES_M, CENTRE_WORLD_M, FIRST_JOINTS_M, abduction_rad, flexion_rad, hands_at
from models.simulation.rig import ring_rig

TIMES_S = np.arange(0, 120, 0.1)
PARENTS = np.array([0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])


@pytest.fixture(scope="module")
def motion() -> dict[str, np.ndarray]:
    """Joints (times, 21, 3) per hand."""
    hands = [hands_at(time_s) for time_s in TIMES_S]
    return {side: np.array([hand[side] for hand in hands]) for side in ("left", "right")}


def test_bones_keep_their_lengths(motion: dict[str, np.ndarray]) -> None:
    expected = np.hstack([np.linalg.norm(FIRST_JOINTS_M, axis=1)[:, None], BONES_M]).ravel()
    for joints in motion.values():
        lengths = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS], axis=-1)
        np.testing.assert_allclose(lengths, np.broadcast_to(expected, lengths.shape), atol=1e-12)


def test_left_is_a_left_hand_and_right_a_right_one(motion: dict[str, np.ndarray]) -> None:
    """From index over little finger, seen from the wrist, the turn shows which way the palm lies and fingers bend."""
    for side, sign in (("right", 1), ("left", -1)):
        wrist, middle, index, little = (motion[side][:, joint] for joint in (0, 9, 5, 17))
        palm = np.cross(index - wrist, little - wrist)
        curl = motion[side][:, 12] - middle  # fingers only bend towards the palm
        assert (sign * np.einsum("ij,ij->i", palm, curl) > 0).all()


def test_angles_stay_within_what_a_hand_can_do() -> None:
    flexion_deg = np.rad2deg([flexion_rad(time_s) for time_s in TIMES_S])
    assert flexion_deg.min() >= 0
    assert (flexion_deg[:, 1:].max(axis=(0, 1)) <= [90, 110, 90]).all()
    assert (flexion_deg[:, 0].max(axis=0) <= [60, 60, 80]).all()
    spread_deg = np.rad2deg([abduction_rad(time_s) for time_s in TIMES_S])
    assert np.abs(spread_deg).max() <= 15
    assert (np.diff(spread_deg, axis=1) <= 1e-9).all()  # fingers never cross


def test_the_motion_is_smooth_and_really_moves(motion: dict[str, np.ndarray]) -> None:
    for joints in motion.values():
        speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) / 0.1
        assert speed.max() < 0.5  # metres per second: brisk, and no jump between two times
        assert speed[:, 8].mean() > 0.02
        pinch = np.linalg.norm(joints[:, 4] - joints[:, 8], axis=-1)
        assert pinch.min() < 0.008
        assert pinch.max() > 0.06
        reach = np.linalg.norm(joints[:, 12] - joints[:, 0], axis=-1)
        assert reach.min() < 0.1
        assert reach.max() > 0.16


def test_hands_stay_near_the_centre_and_apart(motion: dict[str, np.ndarray]) -> None:
    for joints in motion.values():
        assert np.linalg.norm(joints - CENTRE_WORLD_M, axis=-1).max() < 0.25
    between = np.linalg.norm(motion["left"][:, :, None] - motion["right"][:, None], axis=-1)
    assert between.min() > 0.02


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
@pytest.mark.parametrize("cameras", [2, 4, 8])
def test_both_hands_are_in_every_image_all_the_time(
    cameras: int, size: tuple[int, int], motion: dict[str, np.ndarray]
) -> None:
    rig = ring_rig(cameras, *size)
    assert rig.camera_ids == tuple(f"cam_{index}" for index in range(cameras))
    for camera in rig.cameras:
        distance = np.linalg.norm(camera.centre_world_m - CENTRE_WORLD_M)
        assert distance == pytest.approx(0.7)
        elevation_deg = np.rad2deg(np.arcsin((camera.centre_world_m[2] - CENTRE_WORLD_M[2]) / distance))
        assert 30 - 1e-6 <= elevation_deg <= 50 + 1e-6
        centre_px = camera.project(CENTRE_WORLD_M)
        np.testing.assert_allclose(centre_px, (np.array(size) - 1) / 2, atol=1e-9)
        above_px = camera.project(CENTRE_WORLD_M + [0, 0, 0.01])
        assert above_px[1] < centre_px[1]  # the image is upright
        for joints in motion.values():
            pixels = camera.project(joints)
            assert (pixels > 0).all()
            assert (pixels < np.array(size) - 1).all()


def detect(rig: Rig, camera_id: str, sequence: int, seed: int = 0, intact: bool = True):
    frame = Frame(camera_id, sequence, sequence * 33_333_333, 0, 0, np.empty((1, 1, 3), np.uint8), lambda: intact)
    return frame, SimulatedDetector(rig, seed).detect(frame, [], search=True)


def test_detections_have_the_errors_that_they_claim() -> None:
    rig = ring_rig(2, 1280, 960)
    detector = SimulatedDetector(rig)
    errors, found, right_sides, frames = [], 0, 0, 1500
    for sequence in range(frames):
        frame, detections = detect(rig, "cam_1", sequence)
        truth = {
            side: rig["cam_1"].project(joints) for side, joints in detector.truth_at(frame.capture_time_ns).items()
        }
        for detection in detections:
            distances = {side: np.median(np.abs(detection.keypoints_px - px)) for side, px in truth.items()}
            side = min(distances, key=lambda side: distances[side])
            errors.append((detection.keypoints_px - truth[side]) / detection.std_px[:, None])
            found += 1
            right_sides += (detection.right > 0.5) == (side == "right")
            assert 2 < detection.std_px.mean() < 6  # twice that of an image 640 wide
    assert found / (2 * frames) == pytest.approx(1 - MISS_RATE, abs=0.01)
    assert right_sides / found == pytest.approx(1 - WRONG_SIDE_RATE, abs=0.01)
    normalised = np.array(errors)
    outliers = np.linalg.norm(normalised, axis=-1) > 6
    assert outliers.mean() == pytest.approx(OUTLIER_RATE, abs=0.005)
    assert normalised[~outliers].std() == pytest.approx(1, abs=0.02)
    assert np.abs(normalised[~outliers].mean()) < 0.02


def test_detections_depend_on_seed_camera_and_sequence_alone() -> None:
    rig = ring_rig(2)
    first = detect(rig, "cam_0", 5)[1]
    again = detect(rig, "cam_0", 5)[1]
    np.testing.assert_array_equal(first[0].keypoints_px, again[0].keypoints_px)
    for other in (detect(rig, "cam_1", 5)[1], detect(rig, "cam_0", 6)[1], detect(rig, "cam_0", 5, seed=1)[1]):
        assert not np.allclose(first[0].std_px, other[0].std_px)


def test_an_overwritten_frame_gives_nothing() -> None:
    assert detect(ring_rig(2), "cam_0", 5)[1]
    assert detect(ring_rig(2), "cam_0", 5, intact=False)[1] == []


def test_hands_out_of_the_image_are_not_found() -> None:
    rig = ring_rig(2)
    turned = rig.cameras[0].T_cam_world.copy()
    turned[:3] = np.diag([-1, 1, -1]) @ turned[:3]  # the camera looks the other way
    behind = replace(rig, cameras=(replace(rig.cameras[0], T_cam_world=turned), rig.cameras[1]))
    assert all(not detect(behind, "cam_0", sequence)[1] for sequence in range(20))
