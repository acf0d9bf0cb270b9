"""Other machines' cameras: their clocks judged against known ones, and a real grabber listened to."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.doctor.limits import DoctorLimits
from app.doctor.remote_trial import ClockReading, RemoteTrial, judge_clock, try_remote_cameras
from app.transport.messages import CameraStatus
from calibration.errors import UserError
from calibration.rig import read_rig
from tests.conftest import ROOT
from tests.support.live_run import free_port, rig_with_a_remote_camera

LIMITS = DoctorLimits()


def readings(drift: float = 0.0, error_ms: float = 0.1, ahead_ms: float | None = 0.0) -> list[ClockReading]:
    """Ten seconds of a clock that drifts by so many millionths; dates come up to 9 ms late."""
    return [
        ClockReading(
            time_ns=second * 10**9,
            offset_ns=-(7 * 10**15) + round(second * drift * 1e3),
            error_ns=round(error_ms * 1e6),
            date_ahead_ns=None if ahead_ms is None else round((ahead_ms - second % 4 * 3) * 1e6),
        )
        for second in range(11)
    ]


@pytest.mark.parametrize(("clock", "level", "said"), [
    (readings(drift=3.0), "ok", "known to 0.10 ms, drifts by 3 millionths (to 20); its date is 0 ms behind"),
    (readings(drift=-90.0), "warning", "drifts by -90 millionths"),
    (readings(drift=90.0, error_ms=1.0), "ok", "(to 200)"),
    (readings(error_ms=8.0), "warning", "known to 8.00 ms"),
    (readings(ahead_ms=700.0), "warning", "its date is 700 ms before this machine's"),
    (readings(ahead_ms=-80.0), "warning", "its date is 80 ms behind this machine's"),
    (readings(ahead_ms=None)[:1], "ok", "known to 0.10 ms"),
    ([], "problem", "was not measured"),
])  # fmt: skip
def test_another_machines_clock_is_judged_by_what_its_round_trips_bound(
    clock: list[ClockReading], level: str, said: str
) -> None:
    finding = judge_clock("camera cam_2", clock, LIMITS)
    assert finding.level == level and said in finding.text and bool(finding.remedy) == (level != "ok")


def test_a_camera_of_which_nothing_comes_is_named(tmp_path: Path) -> None:
    path, _ = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    listen = f"tcp://127.0.0.1:{free_port()}"
    (finding,) = try_remote_cameras(read_rig(path), listen, None, 1.0, LIMITS, arrive_s=0.1)
    assert finding.level == "problem" and "usthand grab cam_2 --connect" in finding.remedy
    with pytest.raises(UserError, match="no such folder of keys"):
        list(try_remote_cameras(read_rig(path), listen, tmp_path / "keys", 1.0, LIMITS))


def test_a_camera_that_its_grabber_cannot_open_is_named_with_why(tmp_path: Path) -> None:
    path, _ = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    data = yaml.safe_load(path.read_text())
    data["cameras"][2]["source"] = {"kind": "opencv", "device": str(tmp_path / "no camera")}
    path.write_text(yaml.safe_dump(data))
    listen = f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "app", "grab", "cam_2", "--connect", listen]
    grabber = subprocess.Popen(command, cwd=ROOT)
    try:
        failed, *_ = try_remote_cameras(read_rig(path), listen, None, 1.0, LIMITS, arrive_s=120.0)
    finally:
        grabber.terminate()
        grabber.wait(60)
    assert failed.level == "problem" and "no camera" in failed.text


def test_a_camera_that_could_be_opened_in_the_end_has_not_failed() -> None:
    trial = RemoteTrial()
    trial.take(CameraStatus(camera_id="cam_2", state="failed", detail="another program has it"))
    assert trial.refused == "another program has it"
    trial.take(CameraStatus(camera_id="cam_2", state="streaming"))
    assert not trial.refused and not trial.camera.failure


@pytest.mark.slow
def test_a_real_grabber_is_listened_to(tmp_path: Path) -> None:
    path, _ = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    listen = f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "app", "grab", "cam_2", "--connect", listen]
    grabber = subprocess.Popen(command, cwd=ROOT)
    try:
        rate, times, clock = try_remote_cameras(read_rig(path), listen, None, 2.0, LIMITS, arrive_s=120.0)
    finally:
        grabber.terminate()
        grabber.wait(60)
    assert "frames/s" in rate.text and "over the network" in rate.text and times.text.startswith("time stamps: ")
    assert "its machine's clock is known to" in clock.text and "its date is" in clock.text
