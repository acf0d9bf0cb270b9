"""The simulated hands, rig and detector: what others take for truth must be what it says."""

from dataclasses import replace

import numpy as np
import pytest

from app.estimators.multiview.simulated import MISS_RATE, OUTLIER_RATE, WRONG_SIDE_RATE, SimulatedDetector
from calibration.camera_source import SimulatedSource
from calibration.errors import UserError
from calibration.frames import Frame
from calibration.hand import Side, bone_lengths
from calibration.rig import Rig
from models.hand.builtin import BuiltinHand
from models.hand.skeleton import MEAN_BONE_LENGTHS_M
from models.simulation.hands import CENTRE_WORLD_M, LOOP_S, REACH_M, demo_motions, hands_at
from models.simulation.simulated_rig import LAYOUTS, Layout, random_rig, ring_rig

TIMES_S = np.arange(0, LOOP_S, 1 / 30)


@pytest.fixture(scope="module")
def motion() -> dict[Side, np.ndarray]:
    """Joints (times, 21, 3) per hand."""
    hands = [hands_at(time_s) for time_s in TIMES_S]
    return {side: np.array([hand[side] for hand in hands]) for side in ("left", "right")}


def test_bones_keep_their_lengths(motion: dict[Side, np.ndarray]) -> None:
    for joints in motion.values():
        lengths = bone_lengths(joints)
        np.testing.assert_allclose(lengths, np.broadcast_to(MEAN_BONE_LENGTHS_M, lengths.shape), atol=1e-12)


def test_the_hands_are_those_of_the_hand_model(motion: dict[Side, np.ndarray]) -> None:
    for side, of_side in demo_motions().items():
        model = BuiltinHand(side)
        for index in range(0, len(TIMES_S), 40):
            angles, T = of_side.angles_rad(TIMES_S[index]), of_side.T_world_hand(TIMES_S[index])
            np.testing.assert_allclose(model.joints(angles, T, model.default_shape()), motion[side][index], atol=1e-12)


def test_left_is_a_left_hand_and_right_a_right_one(motion: dict[Side, np.ndarray]) -> None:
    """From index over little finger, seen from the wrist, the turn shows which way the palm lies and fingers bend."""
    sides: tuple[tuple[Side, int], ...] = (("right", 1), ("left", -1))
    for side, sign in sides:
        wrist, middle, index, little = (motion[side][:, joint] for joint in (0, 9, 5, 17))
        palm = np.cross(index - wrist, little - wrist)
        bent = np.linalg.norm(motion[side][:, 12] - middle, axis=1) < 0.06
        curl = (motion[side][:, 12] - middle)[bent]  # fingers only bend towards the palm
        assert bent.any()
        assert (sign * np.einsum("ij,ij->i", palm[bent], curl) > 0).all()


def test_the_loop_really_moves_and_has_no_seam(motion: dict[Side, np.ndarray]) -> None:
    for side, joints in motion.items():
        speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * 30
        assert speed.max() < 2
        assert speed[:, 8].mean() > 0.02
        np.testing.assert_allclose(hands_at(LOOP_S * 7 + TIMES_S[13])[side], joints[13], atol=1e-9)
        pinch = np.linalg.norm(joints[:, 4] - joints[:, 8], axis=-1)
        assert pinch.min() < 0.0095
        assert pinch.max() > 0.06
        reach = np.linalg.norm(joints[:, 12] - joints[:, 0], axis=-1)
        assert reach.min() < 0.1
        assert reach.max() > 0.16


def test_hands_stay_near_the_centre_and_apart(motion: dict[Side, np.ndarray]) -> None:
    for joints in motion.values():
        assert np.linalg.norm(joints - CENTRE_WORLD_M, axis=-1).max() < REACH_M
    between = np.linalg.norm(motion["left"][:, :, None] - motion["right"][:, None], axis=-1)
    assert between.min() > 0.03


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
@pytest.mark.parametrize("cameras", [2, 4, 8])
def test_both_hands_are_in_every_image_all_the_time(
    cameras: int, size: tuple[int, int], motion: dict[Side, np.ndarray]
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_random_rig_looks_at_the_hands_from_all_around(layout: Layout) -> None:
    """The whole working volume is in front of every camera, its middle near the image's; the lens folds nothing."""
    random = np.random.default_rng(0)
    sphere = random.normal(size=(400, 3))
    sphere = CENTRE_WORLD_M + 0.15 * sphere / np.linalg.norm(sphere, axis=1)[:, None]
    for seed in range(12):
        rig = random_rig(seed, layout, 2 + seed % 7)
        assert len(rig.cameras) == 2 + seed % 7
        sight = np.array([camera.centre_world_m - CENTRE_WORLD_M for camera in rig.cameras])
        distance = np.linalg.norm(sight, axis=1)
        assert (distance > 0.4).all()
        assert (sight[:, 2] > 0.02).all()  # above the table
        cosines = (sight @ sight.T) / np.outer(distance, distance)
        assert cosines[~np.eye(len(sight), dtype=bool)].max() < np.cos(np.deg2rad(4))
        for camera in rig.cameras:
            pixels = camera.project(sphere)
            assert ((pixels > 0) & (pixels < [639, 479])).all()
            assert np.abs(camera.project(CENTRE_WORLD_M) - [319.5, 239.5]).max() < 80
            normalised = sphere @ camera.T_cam_world[:3, :3].T + camera.T_cam_world[:3, 3]
            np.testing.assert_allclose(
                camera.camera.undistort(pixels), normalised[:, :2] / normalised[:, 2:], atol=1e-6
            )
        again = random_rig(seed, layout, 2 + seed % 7)
        assert again.rig_id == rig.rig_id
        assert random_rig(seed + 100, layout, 2 + seed % 7).rig_id != rig.rig_id


def test_clock_offsets_and_faults_only_on_request() -> None:
    plain = random_rig(3, "desk", 5)
    assert all(camera.time_offset_ns == 0 for camera in plain.cameras)
    faulty = random_rig(3, "desk", 5, offset_ms=20, jitter_ms=2, drop_rate=0.1)
    assert len({camera.time_offset_ns for camera in faulty.cameras}) == 5
    for camera in faulty.cameras:
        assert isinstance(camera.source, SimulatedSource)
        assert (camera.source.jitter_ms, camera.source.drop_rate) == (2, 0.1)
    for one, other in zip(plain.cameras, faulty.cameras, strict=True):
        np.testing.assert_array_equal(one.T_cam_world, other.T_cam_world)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dom", 4), "unknown layout `dom`"),
        (("ring", 0), "0 cameras"),
        (("ring", 1), "1 cameras"),
        (("ring", 17), "17 cameras"),
        (("ring", 4, 0, 480), "0x480"),
        (("ring", 4, 640, 9000), "640x9000"),
    ],
)
def test_a_rig_that_cannot_be_is_refused(arguments: tuple, told: str) -> None:
    with pytest.raises(UserError, match=told):
        random_rig(0, *arguments)


def detect(rig: Rig, camera_id: str, sequence: int, seed: int = 0, intact: bool = True):
    frame = Frame(
        camera_id=camera_id,
        sequence=sequence,
        capture_time_ns=sequence * 33_333_333,
        grab_time_ns=0,
        publish_time_ns=0,
        pixels=np.empty((1, 1, 3), np.uint8),
        intact=lambda: intact,
    )
    return frame, SimulatedDetector(rig, seed).detect([frame], [[]], [True])[0]


def test_detections_have_the_errors_that_they_claim() -> None:
    rig = ring_rig(2, 1280, 960)
    errors, found, right_sides, frames = [], 0, 0, 1500
    for sequence in range(frames):
        frame, detections = detect(rig, "cam_1", sequence)
        truth = {side: rig["cam_1"].project(joints) for side, joints in hands_at(frame.capture_time_ns / 1e9).items()}
        for detection in detections:
            distances = {side: np.median(np.abs(detection.keypoints_px - px)) for side, px in truth.items()}
            side = min(distances, key=lambda side: distances[side])
            errors.append((detection.keypoints_px - truth[side]) / detection.std_px[:, None])
            found += 1
            right_sides += (detection.right_probability > 0.5) == (side == "right")
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
