"""A recording as cameras: every one of them shows the same moment, whatever frames it lost."""

from pathlib import Path

import av
import numpy as np

from app.bench.live_videos import FPS, write_videos
from calibration.camera_source import OpenCvSource
from calibration.frames import Frame, FrameSet
from models.simulation.simulated_rig import ring_rig

SETS, STEP = 20, 10


def frame(camera_id: str, number: int) -> Frame:
    """As grey as its set's number says."""
    time_ns = round(number * 1e9 / FPS)
    times = dict.fromkeys(("capture_time_ns", "grab_time_ns", "publish_time_ns"), time_ns)
    return Frame(camera_id=camera_id, sequence=number, pixels=np.full((48, 64, 3), STEP * number, np.uint8), **times)


def shown(device: str) -> list[int]:
    """The numbers of the sets in a video, frame by frame."""
    with av.open(device) as video:
        return [round(float(each.to_ndarray(format="gray").mean()) / STEP) for each in video.decode(video=0)]


def test_a_camera_that_lost_frames_goes_on_with_the_others_and_one_that_was_gone_is_left_out(tmp_path: Path) -> None:
    rig = ring_rig(4, 64, 48, FPS)
    has = {"cam_0": range(SETS), "cam_1": {*range(SETS)} - {7, 8}, "cam_2": range(1, SETS), "cam_3": ()}
    sets = [
        FrameSet(number, 0, {name: frame(name, number) for name, numbers in has.items() if number in numbers}, 0)
        for number in range(SETS)
    ]
    written = write_videos(rig, sets, tmp_path, 4.0)
    assert list(written.camera_ids) == ["cam_0", "cam_1", "cam_2"]
    forth_and_back = [*range(SETS), *range(SETS - 2, 0, -1)]
    expected = (4 * forth_and_back)[: round(4.0 * FPS)]
    for camera in written.cameras:
        assert isinstance(camera.source, OpenCvSource)
        numbers = shown(str(camera.source.device))
        assert len(numbers) == len(expected)
        kept = [n in has[camera.camera_id] for n in expected]
        assert [n for n, known in zip(numbers, kept, strict=True) if known] == [
            n for n, known in zip(expected, kept, strict=True) if known
        ]
