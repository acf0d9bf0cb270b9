"""The file of poses: what it holds, and what is left of it when things go wrong."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.convert.reading import read_recording
from app.estimators.estimator import Estimate, Hand, UnseenHand
from app.run.pose_rows import finish_poses, part_of
from app.transport.messages import AheadPose, ArmPose
from app.worker.pose_file import PoseFile
from calibration.errors import UserError
from calibration.frames import Frame, FrameSet

CAMERAS = ("cam_0", "cam_1", "cam_2")


def frame_set(index: int, cameras: tuple[str, ...]) -> FrameSet:
    frames = {
        camera: Frame(
            camera_id=camera,
            sequence=index,
            capture_time_ns=index,
            grab_time_ns=0,
            publish_time_ns=0,
            pixels=np.zeros((1, 1, 3), np.uint8),
        )
        for camera in cameras
    }
    return FrameSet(index, index, frames, 0)


def hand(index: int) -> Hand:
    return Hand(
        side="left",
        track_id=3,
        capture_time_ns=index,
        joints_world_m=np.full((21, 3), float(index)),
        covariance_m2=np.tile(np.eye(3), (21, 1, 1)),
        confidence=np.ones(21),
        detections_px={"cam_0": np.zeros((21, 2)), "cam_2": np.zeros((21, 2))},
        inliers={},
    )


def unseen(state) -> UnseenHand:
    return UnseenHand(
        side="left",
        track_id=3,
        state=state,
        seen_time_ns=0,
        joints_world_m=np.zeros((21, 3)),
        covariance_m2=np.zeros((21, 3, 3)),
    )


def written(path: Path) -> PoseFile:
    poses = PoseFile(path, CAMERAS)
    poses.begin("anatomical")
    poses.add(frame_set(0, CAMERAS), Estimate(hands=[hand(0)]))
    poses.add(frame_set(1, CAMERAS), Estimate(hands=[], unseen=[unseen("held")]))
    poses.add(frame_set(2, CAMERAS[:1]), Estimate(hands=[], looked=False, unseen=[unseen("predicted")]))
    poses.add(frame_set(3, CAMERAS), Estimate(hands=[]))
    return poses


def test_no_hand_and_nobody_looked_are_told_apart(tmp_path):
    written(tmp_path / "poses.npz").close()
    with np.load(tmp_path / "poses.npz") as file:
        assert list(file["time"]) == [0]
        assert list(file["cameras"]) == list(CAMERAS)
        assert file["views"].tolist() == [[True, False, True]]
        assert file["set_time"].tolist() == [0, 1, 2, 3]
        assert file["set_views"].sum(1).tolist() == [3, 3, 1, 3]
        assert file["set_held"].tolist() == [0, 1, 0, 0]
        assert file["set_predicted"].tolist() == [0, 0, 1, 0]
        assert file["definition"] == "anatomical"
    assert list(tmp_path.iterdir()) == [tmp_path / "poses.npz"]


def test_what_a_killed_worker_had_written_becomes_the_file(tmp_path):
    poses = written(tmp_path / "poses.npz")
    poses._make_room()
    with (part_of(tmp_path / "poses.npz") / "hands").open("ab") as rows:
        rows.write(b"part of a row")
    assert finish_poses(tmp_path / "poses.npz") == 1
    with np.load(tmp_path / "poses.npz") as file:
        assert file["joints"].shape == (1, 21, 3)
        assert len(file["set_time"]) == 4
    assert list(tmp_path.iterdir()) == [tmp_path / "poses.npz"]


def test_a_worker_that_is_started_again_goes_on_with_the_rows(tmp_path):
    written(tmp_path / "poses.npz")._make_room()
    for name in ("hands", "sets"):
        with (part_of(tmp_path / "poses.npz") / name).open("ab") as rows:
            rows.write(b"part of a row")
    poses = PoseFile(tmp_path / "poses.npz", CAMERAS, goes_on=True)
    poses.begin("anatomical")
    poses.add(frame_set(9, CAMERAS), Estimate(hands=[hand(9)]))
    poses.close()
    with np.load(tmp_path / "poses.npz") as file:
        assert file["time"].tolist() == [0, 9]
        assert len(set(file["track"].tolist())) == 2, "it may be another hand"
        assert file["set_time"].tolist() == [0, 1, 2, 3, 9]
    assert list(tmp_path.iterdir()) == [tmp_path / "poses.npz"]


def test_a_full_disk_is_said_while_there_is_room_for_what_was_written(tmp_path, monkeypatch):
    poses = written(tmp_path / "poses.npz")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    poses._make_room()
    monkeypatch.setattr("app.worker.pose_file.os.posix_fallocate", full)
    with pytest.raises(UserError, match=r"poses.npz: the poses could not be written \(No space left on device\)"):
        poses._make_room()
    assert finish_poses(tmp_path / "poses.npz") == 1


def test_forecasts_are_rows_of_their_own(tmp_path):
    joints = np.arange(63.0).reshape(21, 3)
    about = {"hand": "left", "track_id": 3, "seen_time_ns": 0, "covariance_m2": np.zeros((21, 3, 3)).tolist()}
    ahead = msgspec.convert({**about, "time_ns": 50, "joints_world_m": joints.tolist()}, AheadPose)
    with_ahead, without = tmp_path / "with.npz", tmp_path / "without.npz"
    for path, forecasts in ((with_ahead, [ahead]), (without, [])):
        poses = PoseFile(path, CAMERAS)
        poses.begin("anatomical")
        poses.add(frame_set(0, CAMERAS), Estimate(hands=[hand(0)]), forecasts)
        poses.close()
    with np.load(with_ahead) as file:
        assert (file["ahead_time"].tolist(), file["ahead_seen_time"].tolist()) == ([50], [0])
        assert (file["ahead_hand"].tolist(), file["ahead_track"].tolist()) == (["left"], [3])
        assert np.array_equal(file["ahead_joints"][0], joints)
        assert file["time"].tolist() == [0]
    with np.load(without) as file:
        assert not [name for name in file.files if name.startswith("ahead")]
    assert len(read_recording(with_ahead).hands) == 1


def arm(**more: object) -> ArmPose:
    return ArmPose(
        side="left",
        right_probability=0.1,
        seen_time_ns=0,
        views=["cam_0", "cam_2"],
        elbow_world_m=[0.1, 0.2, 0.3],
        elbow_covariance_m2=(1e-4 * np.eye(3)).tolist(),
        **more,  # pyright: ignore[reportArgumentType]
    )


def test_arms_are_rows_of_their_own_and_a_shoulder_that_is_not_known_is_not_a_number(tmp_path):
    poses = PoseFile(tmp_path / "poses.npz", CAMERAS)
    poses.begin("anatomical")
    poses.add(frame_set(0, CAMERAS), Estimate(hands=[hand(0)]))
    poses.add(frame_set(1, CAMERAS), Estimate(hands=[hand(1)]), arms={3: arm()})
    shoulder = {"shoulder_world_m": [1.0, 2.0, 3.0], "shoulder_covariance_m2": np.eye(3).tolist()}
    poses.add(frame_set(2, CAMERAS), Estimate(hands=[hand(2)]), arms={3: arm(**shoulder), 4: arm()})
    poses.close()
    with np.load(tmp_path / "poses.npz") as file:
        assert file["time"].tolist() == [0, 1, 2] and file["arm_time"].tolist() == [1, 2]
        assert (file["arm_hand"].tolist(), file["arm_track"].tolist()) == (["left"] * 2, [3] * 2)
        assert file["arm_side"].tolist() == ["left"] * 2
        np.testing.assert_allclose(file["arm_elbow"], [[0.1, 0.2, 0.3]] * 2, rtol=1e-6)
        np.testing.assert_allclose(file["arm_elbow_covariance"], [1e-4 * np.eye(3)] * 2, rtol=1e-6)
        assert np.isnan(file["arm_shoulder"][0]).all() and file["arm_shoulder"][1].tolist() == [1, 2, 3]


def test_a_worker_that_died_leaves_its_arms_too(tmp_path):
    poses = PoseFile(tmp_path / "poses.npz", CAMERAS)
    poses.begin("anatomical")
    poses.add(frame_set(0, CAMERAS), Estimate(hands=[hand(0)]), arms={3: arm()})
    with (part_of(tmp_path / "poses.npz") / "arms").open("ab") as rows:
        rows.write(b"part of a row")
    poses._hands.close()
    again = PoseFile(tmp_path / "poses.npz", CAMERAS, goes_on=True)
    again.begin("anatomical")
    again.add(frame_set(9, CAMERAS), Estimate(hands=[hand(9)]), arms={3: arm()})
    again.close()
    with np.load(tmp_path / "poses.npz") as file:
        assert file["arm_time"].tolist() == [0, 9]
        assert file["arm_track"].tolist() == file["track"].tolist()


def test_rows_that_another_run_writes_are_left_alone(tmp_path):
    poses = written(tmp_path / "poses.npz")
    for goes_on in (False, True):
        with pytest.raises(UserError, match=r"poses.npz: another run writes its poses there"):
            PoseFile(tmp_path / "poses.npz", CAMERAS, goes_on=goes_on)
    poses.close()
    with np.load(tmp_path / "poses.npz") as file:
        assert file["time"].tolist() == [0]


def test_what_a_run_that_was_killed_left_is_kept_beside(tmp_path, caplog):
    for _ in range(2):
        written(tmp_path / "poses.npz")._hands.close()
    written(tmp_path / "poses.npz").close()
    names = ["poses-interrupted-1.npz", "poses-interrupted-2.npz", "poses.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        with np.load(tmp_path / name) as file:
            assert file["time"].tolist() == [0] and len(file["set_time"]) == 4
    assert "poses-interrupted-2.npz: 1 hands" in caplog.text
