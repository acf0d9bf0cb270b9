"""The wizard's folder: which cameras its session has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.wizard.recorder import JOURNAL, Recorder, encode_jpeg
from calibration.board.views import BoardView
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.session import check_session
from calibration.wizard.journal import read_journal
from calibration.wizard.wizard import Capture
from tests.support.board_scene import BOARD, arc_rig

JPEG = encode_jpeg(np.zeros((720, 1280, 3), np.uint8))


def add(recorder: Recorder, number: int, *camera_ids: str) -> None:
    views = {
        camera_id: BoardView(
            camera_id=camera_id, frame=0, time_ns=number, corner_ids=np.arange(4), corners_px=np.eye(4, 2), std_px=0.1
        )
        for camera_id in camera_ids
    }
    facts = {"legacy": None, "inverted": ["cam_0"], "mirrored": list(camera_ids)}
    recorder.add(Capture(number, number, (views,)), [dict.fromkeys(views, JPEG)], facts)


def test_a_camera_that_never_saw_the_board_is_not_in_the_session(tmp_path):
    """With one camera there is no session yet, but the capture is kept."""
    recorder = Recorder(tmp_path, arc_rig(3), BOARD)
    for number, camera_ids in enumerate([("cam_2",), ("cam_0", "cam_2")], start=1):
        add(recorder, number, *camera_ids)
        assert len(Recorder(tmp_path, arc_rig(3), BOARD).captures) == number
    session = check_session(tmp_path, deep=True, calibrated=False)
    assert session.camera_ids == ("cam_0", "cam_2")
    assert [len(session.frame_times_ns(camera_id)) for camera_id in session.camera_ids] == [1, 2]


def seen(folder: Path, rig: Rig) -> list[tuple[str, ...]]:
    return [tuple(capture.views) for capture in Recorder(folder, rig, BOARD).captures]


def test_captures_go_on_without_a_camera_that_broke_and_with_it_again(tmp_path):
    """The last capture is one in which it alone saw the board: the undo takes that one back, no other."""
    whole = arc_rig(4)
    rest = replace(whole, cameras=tuple(camera for camera in whole.cameras if camera.camera_id != "cam_1"))
    recorder = Recorder(tmp_path, whole, BOARD)
    assert recorder.left_out == []
    add(recorder, 1, "cam_0", "cam_1")
    add(recorder, 2, "cam_0", "cam_1", "cam_2")
    add(recorder, 3, "cam_1")
    resumed = Recorder(tmp_path, rest, BOARD)
    assert resumed.left_out == ["cam_1"]
    assert [tuple(capture.views) for capture in resumed.captures] == [("cam_0",), ("cam_0", "cam_2"), ()]
    assert resumed.facts == {"legacy": None, "inverted": ["cam_0"], "mirrored": []}
    assert check_session(tmp_path, deep=True, calibrated=False).camera_ids == ("cam_0", "cam_2")
    resumed.undo(resumed.captures[-1])
    add(resumed, 3, "cam_2", "cam_3")
    content = read_journal(tmp_path / JOURNAL).of_cameras(rest.camera_ids)
    assert list(content.image_size) == ["cam_0", "cam_2", "cam_3"]
    assert seen(tmp_path, rest) == [("cam_0",), ("cam_0", "cam_2"), ("cam_2", "cam_3")]
    assert seen(tmp_path, whole) == [("cam_0", "cam_1"), ("cam_0", "cam_1", "cam_2"), ("cam_2", "cam_3")]
    session = check_session(tmp_path, deep=True, calibrated=False)
    assert [len(session.frame_times_ns(name)) for name in whole.camera_ids] == [2, 2, 2, 1]
    with pytest.raises(UserError, match=r"cam_4 1280x720\. Resume with the same"):
        Recorder(tmp_path, arc_rig(5), BOARD)
