"""The wizard's folder: which cameras its session has."""

import numpy as np

from app.wizard.recorder import Recorder, encode_jpeg
from calibration.board.views import BoardView
from calibration.session import check_session
from calibration.wizard.wizard import Capture
from tests.support.board_scene import BOARD, arc_rig

JPEG = encode_jpeg(np.zeros((720, 1280, 3), np.uint8))


def test_a_camera_that_never_saw_the_board_is_not_in_the_session(tmp_path):
    """With one camera there is no session yet, but the capture is kept."""
    recorder = Recorder(tmp_path, arc_rig(3), BOARD)
    for number, camera_ids in enumerate([("cam_2",), ("cam_0", "cam_2")], start=1):
        views = {
            camera_id: BoardView(
                camera_id=camera_id,
                frame=0,
                time_ns=number,
                corner_ids=np.arange(4),
                corners_px=np.eye(4, 2),
                std_px=0.1,
            )
            for camera_id in camera_ids
        }
        recorder.add(Capture(number, number, (views,)), [dict.fromkeys(views, JPEG)], {})
        assert len(Recorder(tmp_path, arc_rig(3), BOARD).captures) == number
    session = check_session(tmp_path, deep=True, calibrated=False)
    assert session.camera_ids == ("cam_0", "cam_2")
    assert [len(session.frame_times_ns(camera_id)) for camera_id in session.camera_ids] == [1, 2]
