"""OpenPose's folders as a detector."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.evaluation.evaluation import Recording
from app.labelling.openpose import OpenPoseFolder, openpose_folders
from calibration.errors import UserError
from calibration.frames import Frame
from models.simulation.hands import hands_at
from tests.support.exact_footage import FRAMES, make_session
from tests.support.openpose_files import write_openpose


@pytest.fixture
def recording(tmp_path: Path, write_video) -> Recording:
    return make_session(tmp_path / "session", write_video)


def frame(camera_id: str, number: int) -> Frame:
    return Frame(camera_id=camera_id, sequence=number, capture_time_ns=0, grab_time_ns=0, publish_time_ns=0,
                 pixels=np.zeros((4, 4, 3), np.uint8))  # fmt: skip


def test_hands_are_read_as_they_were_written(recording, tmp_path):
    session = recording.session
    folder = OpenPoseFolder(write_openpose(tmp_path / "json", session, score=0.64), session)
    ((left, right),) = folder.detect([frame("cam_1", 3)], [[]], [True])
    time_s = float(session.frame_times_ns("cam_1")[3]) * 1e-9
    truth_m = hands_at(time_s)
    for detection, joints_m, is_right in ((left, truth_m["left"], False), (right, truth_m["right"], True)):
        assert detection.keypoints_px == pytest.approx(session.rig["cam_1"].project(joints_m), abs=1e-6)
        assert (detection.right_probability > 0.5) == is_right
        assert detection.presence == 1
    # A joint of confidence 0.64 is expected to err by 1 / 0.8 of what one of confidence 1 does.
    size_px = 2 * np.sqrt(left.keypoints_px.var(0).sum())
    assert left.std_px == pytest.approx(np.full(21, 0.036 * size_px / 0.8))


def test_joints_that_were_not_found_are_amid_their_finger_and_not_believed(recording, tmp_path):
    session = recording.session
    folder = OpenPoseFolder(write_openpose(tmp_path / "json", session, missing=(8, 13, 14, 15, 16)), session)
    ((left, _),) = folder.detect([frame("cam_0", 0)], [[]], [True])
    assert left.keypoints_px[8] == pytest.approx(left.keypoints_px[5:8].mean(0))
    assert np.isfinite(left.keypoints_px).all()
    assert left.std_px[[8, 13, 14, 15, 16]].min() > 100 * left.std_px[7]


def test_folders_are_found_by_camera_and_by_video_and_of_several_sessions_by_name(recording, tmp_path):
    session = recording.session
    folder = write_openpose(tmp_path / "json", session)
    (folder / "cam_0_json").rename(folder / "cam_0")
    assert len(OpenPoseFolder(folder, session).detect([frame("cam_0", 0)], [[]], [True])[0]) == 2
    write_openpose(tmp_path / "all" / "session", session)
    assert set(openpose_folders(tmp_path / "all" / "session", [session])) == {session.path}
    assert set(openpose_folders(tmp_path / "all", [session, session])) == {session.path}


def test_sessions_of_one_name_do_not_take_the_same_files(recording, tmp_path, write_video):
    other = make_session(tmp_path / "tuesday" / "session", write_video).session
    write_openpose(tmp_path / "all" / "session", recording.session)
    with pytest.raises(UserError, match=r"are both called `session`.*all/session\. Label one session at a time"):
        openpose_folders(tmp_path / "all", [recording.session, other])


def test_a_frame_without_a_file_has_no_hand(recording, tmp_path):
    session = recording.session
    folder = write_openpose(tmp_path / "json", session)
    (folder / "cam_0_json" / f"cam_0_{2:012d}_keypoints.json").unlink()
    assert OpenPoseFolder(folder, session).detect([frame("cam_0", 2)], [[]], [True]) == [[]]


def test_what_is_no_openpose_or_of_another_recording_is_refused(recording, tmp_path):
    session = recording.session
    folder = write_openpose(tmp_path / "json", session)
    first = folder / "cam_0_json" / f"cam_0_{0:012d}_keypoints.json"
    whole = json.loads(first.read_text())

    def refused(text: str, message: str) -> None:
        first.write_text(text)
        with pytest.raises(UserError, match=message):
            OpenPoseFolder(folder, session)
        first.write_text(json.dumps(whole))

    refused("{", "is no JSON file of OpenPose")
    refused("[]", "is no JSON file of OpenPose")
    refused('{"people": 3}', "is no JSON file of OpenPose")
    refused('{"people": [{"hand_left_keypoints_2d": [1, 2]}]}', "expected 63 numbers")
    refused('{"people": [{"hand_left_keypoints_2d": [NaN, 2, 3]}]}', "expected 63 numbers")
    refused('{"people": [{"hand_left_keypoints_2d": "no"}]}', "expected 63 numbers")
    refused('{"people": [{"hand_left_keypoints_2d": 5}]}', "has 5; expected 63 numbers")
    refused('{"people": [{"hand_left_keypoints_2d": true}]}', "has True; expected 63 numbers")
    refused(f'{{"people": [{{"hand_left_keypoints_2d": [{"1, " * 62}{"9" * 400}]}}]}}', "has 63 values")
    refused("[" * 100_000, "is no JSON file of OpenPose")
    far = [[float(5000 + n), 3.0, 0.9] for n in range(21)]
    far_person = {"people": [{"hand_left_keypoints_2d": np.ravel(far).tolist()}] * 99}
    refused(json.dumps(far_person), "outside of the image of camera `cam_0` .320x240.")
    more = folder / "cam_0_json" / f"cam_0_{FRAMES:012d}_keypoints.json"
    more.write_text(json.dumps(whole))
    with pytest.raises(UserError, match=f"is of frame {FRAMES}, but the video of camera `cam_0` has {FRAMES} frames"):
        OpenPoseFolder(folder, session)
    more.unlink()
    (folder / "cam_2_json").rename(folder / "camera_2")
    with pytest.raises(UserError, match=r"no folder of camera `cam_2`\. Expected `cam_2`, `cam_2_json`"):
        OpenPoseFolder(folder, session)
    (folder / "cam_2").mkdir()
    with pytest.raises(UserError, match="no files named"):
        OpenPoseFolder(folder, session)
    with pytest.raises(UserError, match="no such folder"):
        OpenPoseFolder(tmp_path / "nowhere", session)
