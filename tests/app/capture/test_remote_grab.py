"""A camera on another machine: real TCP, CURVE keys, and a host whose monotonic clock is 1000 s ahead."""

import subprocess
import sys
import threading

import pytest
import yaml

from app.capture import remote
from models.simulation.simulated_rig import ring_rig
from tests.support.live_run import ROOT, LiveRun, free_port, last_json, simulated_rig, usthand


@pytest.fixture
def remote_rig(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=3)
    data = yaml.safe_load(rig.read_text())
    data["cameras"][2]["remote"] = True
    rig.write_text(yaml.safe_dump(data))
    assert usthand("keys", tmp_path / "keys").returncode == 0
    return rig


def other_host() -> list[str]:
    """A command prefix that gives a process a monotonic clock of its own."""
    prefix = ["unshare", "--time", "--monotonic", "1000"]
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no time namespace can be made here ({probe.stderr.strip()}): no second clock")
    return prefix


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_remote_camera_joins_with_its_clock_corrected(tmp_path, remote_rig, encoding):
    address = f"tcp://127.0.0.1:{free_port()}"
    arguments = ("--estimator", "simulated", "--no-viewer", "--listen", address, "--keys", tmp_path / "keys")
    grab = ["grab", "cam_2", "--connect", address, "--keys", str(tmp_path / "keys"), "--encoding", encoding, "--json"]
    with LiveRun(tmp_path, "live", remote_rig, *arguments) as run:
        run.sets(5)
        remote = subprocess.Popen(
            [*other_host(), sys.executable, "-m", "app", *grab], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            run.poses(lambda got: any("cam_2" in hand.views for s in got for hand in s.hands))
            sets = run.sets(40)[10:]
            assert sum("cam_2" in s.hands[0].views for s in sets) > len(sets) / 2
            reports = [(s.cameras["cam_2"], s) for s in sets if s.cameras["cam_2"].slot is not None]
            assert all(abs(r.capture_time_ns - s.reference_time_ns) < 30e6 for r, s in reports)
        finally:
            remote.terminate()
            output, _ = remote.communicate(timeout=10)
        told = last_json(output)
        assert told["clock_offset_ms"] == pytest.approx(-1_000_000, abs=max(told["clock_error_ms"], 1.0))
        assert told["clock_error_ms"] < 5
        lost = run.poses(lambda got: any(s.hands and s.cameras["cam_2"].slot is None for s in got))
        assert lost, "the others go on without it"
        code, summary = run.interrupt()
        assert code == 0
        # Simulated detections show the hands at the frame's capture time: a clock wrong by 30 ms costs centimetres.
        assert summary["mpjpe_mm"] < 6
        assert run.left_behind() == []


def test_a_grabber_without_the_right_keys_is_refused(tmp_path, remote_rig):
    address = f"tcp://127.0.0.1:{free_port()}"
    arguments = ("--estimator", "simulated", "--no-viewer", "--listen", address, "--keys", tmp_path / "keys")
    assert usthand("keys", tmp_path / "others").returncode == 0
    (tmp_path / "others" / "worker.key").write_text((tmp_path / "keys" / "worker.key").read_text())
    with LiveRun(tmp_path, "live", remote_rig, *arguments) as run:
        run.sets(5)
        for keys in (["--keys", tmp_path / "others"], []):
            refused = usthand("grab", "cam_2", "--connect", address, *keys)
            assert refused.returncode == 2
            assert "did not answer" in refused.stderr
        unknown = usthand("grab", "cam_9", "--connect", address, "--keys", tmp_path / "keys")
        assert unknown.returncode == 2
        assert "cam_9" in unknown.stderr
        assert "cam_0, cam_1, cam_2" in unknown.stderr


def test_a_grabber_whose_camera_never_came_says_so_and_fails(tmp_path, remote_rig):
    data = yaml.safe_load(remote_rig.read_text())
    data["cameras"][2]["source"] = {"kind": "opencv", "device": "/dev/no-such-camera"}
    remote_rig.write_text(yaml.safe_dump(data))
    address = f"tcp://127.0.0.1:{free_port()}"
    with LiveRun(tmp_path, "live", remote_rig, "--estimator", "simulated", "--no-viewer", "--listen", address) as run:
        run.sets(5)
        done = usthand("grab", "cam_2", "--connect", address, "--seconds", "1", "--json")
    assert done.returncode == 1 and last_json(done.stdout)["frames"] == 0
    assert "there is no /dev/no-such-camera" in done.stderr
    assert "no frame of camera `cam_2` was sent" in done.stderr.splitlines()[-1]


def test_a_grabber_that_is_told_to_end_does_not_wait_for_its_seconds(monkeypatch):
    rig = ring_rig(2)
    monkeypatch.setattr(remote, "_ask_for_camera", lambda *_: (rig.cameras[0], rig))
    monkeypatch.setattr(remote.Grabber, "run", lambda self: None)
    remote.grab_remotely("cam_0", f"tcp://127.0.0.1:{free_port()}", None, "jpeg", 90, 3600.0)
    for each in threading.enumerate():
        if isinstance(each, threading.Timer):
            each.join(30.0)
            assert not each.is_alive()


def test_a_remote_camera_needs_an_address_to_come_to(tmp_path, remote_rig):
    done = usthand("live", remote_rig, "--estimator", "simulated", "--no-viewer")
    assert done.returncode == 2
    assert "--listen" in done.stderr
    done = usthand("live", remote_rig, "--estimator", "simulated", "--no-viewer", "--listen", "tcp://0.0.0.0:5600")
    assert done.returncode == 2
    assert "--keys" in done.stderr
