"""Frames with impossible times: what one camera says costs the others nothing, and is said."""

from tests.support.fake_grabber import FakeGrabber
from tests.support.live_run import LiveRun, free_port, rig_with_a_remote_camera


def test_a_remote_clock_that_jumps_costs_its_own_view_only_and_is_named(tmp_path):
    rig, size = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    address = f"tcp://127.0.0.1:{free_port()}"
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", "--listen", address) as run:
        run.sets(5)
        peer = FakeGrabber(address, "cam_2", size)
        try:
            run.poses(lambda got: any(s.cameras["cam_2"].slot is not None for s in got))
            for ahead_s in (3600.0, -3600.0):
                peer.ahead_s = ahead_s
                wrong = "misdated" if ahead_s > 0 else "stale"
                run.poses(lambda got, of=wrong: any(getattr(s.cameras["cam_2"], of) > 5 for s in got))
                after = run.poses(lambda got: sum(s.set_index >= 0 for s in got) >= 40)
                shown = [s for s in after if s.set_index >= 0]
                assert all(s.cameras["cam_2"].slot is None for s in shown[5:])
                late = shown[-1].cameras["cam_0"].late - shown[0].cameras["cam_0"].late
                assert late <= 2, "of the other cameras no frame is late for it"
                peer.ahead_s = 0.0
                run.poses(lambda got: sum(s.cameras["cam_2"].slot is not None for s in got) >= 5)
            assert "camera cam_2: stamped 3.6e+03 s in the future" in run.log.read_text()
        finally:
            peer.close()
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []
