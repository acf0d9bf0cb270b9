"""Who sends a camera's frames: one grabber, from where rig.yaml says; others are named and cost nothing."""

import pytest

from app.sources.same_camera import check_cameras_differ
from app.transport.sockets import CommandClient, next_port
from calibration.camera_source import OpenCvSource
from calibration.errors import UserError
from calibration.rig import Rig
from tests.support.fake_grabber import FakeGrabber
from tests.support.live_run import LiveRun, free_port, rig_with_a_remote_camera
from tests.support.source_cases import rig_camera


def test_two_grabbers_of_one_camera_and_one_that_claims_a_local_camera_are_named(tmp_path):
    rig, size = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    address = f"tcp://127.0.0.1:{free_port()}"
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", "--listen", address) as run:
        run.sets(5)
        peers = [FakeGrabber(address, "cam_2", size, sender=1)]
        try:
            run.poses(lambda got: any(s.cameras["cam_2"].slot is not None for s in got))
            asker = CommandClient(next_port(address))
            for camera_id, says in (("cam_2", "grabbed already"), ("cam_0", "not `remote`")):
                answer = asker.ask({"do": "camera", "camera_id": camera_id}, 20)
                assert answer is not None and says in answer["error"]
            asker.close()
            before = run.poses(lambda got: bool(got))[-1].cameras
            peers += [FakeGrabber(address, "cam_2", size, sender=2), FakeGrabber(address, "cam_0", size, sender=3)]
            sets = run.poses(lambda got: sum(s.set_index >= 0 for s in got) >= 60)
            after = sets[-1].cameras
            assert "camera cam_2: two grabbers send frames of it" in run.log.read_text()
            assert "camera cam_0: a peer on the network sends frames of it" in run.log.read_text()
            assert after["cam_2"].frames > before["cam_2"].frames
            # Two streams of frames would contradict each other's counters: thousands dropped, as it was.
            assert after["cam_2"].dropped - before["cam_2"].dropped < 1000
            assert all(sum(s.set_index >= 0 and camera in s.views for s in sets) > 40 for camera in ("cam_0", "cam_1"))
            peers[0].close()
            run.poses(lambda got: sum("cam_2" in s.views for s in got) >= 5)
        finally:
            for peer in peers:
                peer.close()
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []


SAME_STREAMS = [
    ("http://10.0.0.1:80/a/", "HTTP://10.0.0.1/a"),
    ("rtsp://Camera.local/1", "rtsp://user:a@b@camera.local:554/1"),
    ("http://[FE80::1]/a", "http://[fe80::1]:80/a"),
]


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, "/dev/video0"), ("http://10.0.0.1/a", "http://user:secret@10.0.0.1/a"), ("/dev/video3", 3), *SAME_STREAMS],
)
def test_one_camera_under_two_names_is_refused(first, second):
    cameras = [rig_camera(OpenCvSource(device=device)) for device in (first, second)]
    object.__setattr__(cameras[1], "camera_id", "cam_1")
    with pytest.raises(UserError, match="`cam_0` and `cam_1` are both"):
        check_cameras_differ(Rig(tuple(cameras)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("http://10.0.0.1/x?user=a@b", "http://10.0.0.2/x?user=a@b"),
        ("http://10.0.0.1/x?camera=1", "http://10.0.0.1/x?camera=2"),
        ("http://10.0.0.1:81/", "http://10.0.0.1/"),
        ("http://10.0.0.1:port/", "http://10.0.0.2:port/"),
    ],
)
def test_two_streams_are_two_cameras(first: str, second: str):
    cameras = [rig_camera(OpenCvSource(device=device)) for device in (first, second)]
    object.__setattr__(cameras[1], "camera_id", "cam_1")
    check_cameras_differ(Rig(tuple(cameras)))


def test_a_file_may_be_played_twice():
    cameras = [rig_camera(OpenCvSource(device="videos/a.mp4")) for _ in range(2)]
    object.__setattr__(cameras[1], "camera_id", "cam_1")
    check_cameras_differ(Rig(tuple(cameras)))
