"""`usthand record` with real processes: what is in the files, against what the simulated cameras showed."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.cli import main
from app.sources.hand_drawing import HandDrawing
from calibration.rig import Rig, RigCamera, read_rig
from calibration.session import Session, check_session
from models.simulation.hands import hands_at
from tests.support.fake_grabber import FakeGrabber
from tests.support.live_run import LiveRun, free_port, last_json, rig_with_a_remote_camera, simulated_rig, usthand

SIZE: dict[str, Any] = {"width": 160, "height": 120}


def shown(camera: RigCamera, time_ns: int) -> np.ndarray:
    """What a simulated camera shows at a time."""
    image = np.zeros((camera.camera.height, camera.camera.width, 3), np.uint8)
    HandDrawing(camera).draw([joints_m for _, joints_m in hands_at(time_ns / 1e9).items()], image)
    return image


def differences(session: Session, rig: Rig) -> list[float]:
    """Mean difference in grey levels of each recorded image from what its camera showed at its time."""
    found = []
    for camera_id in session.camera_ids:
        capture = cv2.VideoCapture(str(session.video_path(camera_id)), cv2.CAP_FFMPEG)
        for time_ns in session.frame_times_ns(camera_id):
            read, image = capture.read()
            assert read
            found.append(float(np.abs(image.astype(int) - shown(rig[camera_id], int(time_ns))).mean()))
        assert not capture.read()[0]
    return found


@pytest.mark.parametrize(("flags", "most"), [(["--lossless"], 0.0), pytest.param([], 3.0, marks=pytest.mark.slow)])
def test_each_frame_is_in_the_file_with_its_own_time(tmp_path: Path, flags: list[str], most: float) -> None:
    drops = {"cam_1": {"drop_rate": 0.2, "fps": 15.0}}
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=3, faults=drops, **SIZE)
    done = usthand("record", rig, tmp_path / "session", "--seconds", "1.5", *flags, "--json")
    assert done.returncode == 0, done.stderr
    session = check_session(tmp_path / "session", deep=True)
    assert max(differences(session, read_rig(rig))) <= most
    assert session.rig.rig_id == read_rig(rig).rig_id
    (take,) = last_json(done.stdout)["takes"]
    for camera_id, counts in take["cameras"].items():
        times = session.frame_times_ns(camera_id)
        assert len(times) == counts["frames"] > 10
        # Frames lie on a grid of whole periods: what is not in the file was counted.
        period_ns = 1e9 / (15 if camera_id == "cam_1" else 30)
        assert round((times[-1] - times[0]) / period_ns) + 1 - len(times) == pytest.approx(counts["dropped"], abs=1)
    assert take["cameras"]["cam_1"]["dropped"] > 0 or take["cameras"]["cam_1"]["frames"] < 20


def test_of_cameras_that_are_missing_nothing_is_left_that_looks_like_a_session(tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"
    cameras = "".join(
        f"- {{id: cam_{n}, image_size: [160, 120], source: {{kind: opencv, device: /dev/video9{n}}}}}\n"
        for n in range(2)
    )
    rig.write_text(f"version: 1\ncameras:\n{cameras}")
    done = usthand("record", rig, tmp_path / "session", "--seconds", "0.5")
    assert done.returncode == 1
    assert "no camera delivered a frame" in done.stderr.splitlines()[-1] and f"--rig {rig}" in done.stderr
    assert not (tmp_path / "session").exists()


@pytest.mark.slow
def test_an_uncalibrated_rig_is_recorded_to_be_calibrated(tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"
    cameras = "".join(
        f"- {{id: cam_{n}, image_size: [160, 120], source: {{kind: simulated, fps: 30}}}}\n" for n in range(2)
    )
    rig.write_text(f"cameras:\n{cameras}")
    done = usthand("record", rig, tmp_path / "session", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    session = check_session(tmp_path / "session", calibrated=False)
    assert session.camera_ids == ("cam_0", "cam_1")
    refused = usthand("replay", tmp_path / "session", "--no-viewer")
    assert refused.returncode == 2
    assert "usthand calibrate" in refused.stderr


def test_a_live_run_is_recorded_with_its_poses(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=3, **SIZE)
    arguments = ["--estimator", "simulated", "--no-viewer", "--seconds", "2", "--json"]
    done = usthand("live", rig, "--record", tmp_path / "session", *arguments)
    assert done.returncode == 0, done.stderr
    session = check_session(tmp_path / "session", deep=True)
    summary = last_json(done.stdout)
    assert [take["session"] for take in summary["recording"]["takes"]] == [str(tmp_path / "session")]
    recorded = {camera_id: set(session.frame_times_ns(camera_id).tolist()) for camera_id in session.camera_ids}
    with (tmp_path / "session" / "sets.csv").open() as file:
        sets = list(csv.DictReader(file))
    assert len({row["set"] for row in sets}) == summary["frame_sets"]
    # Of every set that was estimated, the frames are there.
    assert all(int(row["time_ns"]) in recorded[row["camera"]] for row in sets)
    with np.load(tmp_path / "session" / "poses.npz") as poses:
        assert len(set(poses["time"])) == summary["sets_with_hand"] > 0
        truth = [hands_at(time / 1e9)[side] for time, side in zip(poses["time"], poses["hand"], strict=True)]
        assert np.linalg.norm(poses["joints"] - truth, axis=-1).mean() < 0.01
    assert not list((tmp_path / "session").glob(".*.part"))


def test_a_camera_of_another_machine_is_recorded_too(tmp_path: Path) -> None:
    rig, size = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    address = f"tcp://127.0.0.1:{free_port()}"
    arguments = ["--estimator", "simulated", "--no-viewer", "--listen", address, "--record", tmp_path / "session"]
    with LiveRun(tmp_path, "live", rig, *arguments) as run:
        run.sets(2)
        peer = FakeGrabber(address, "cam_2", size)
        try:
            run.poses(lambda got: sum("cam_2" in each.views for each in got) >= 10)
        finally:
            peer.close()
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []
    session = check_session(tmp_path / "session", deep=True)
    assert session.camera_ids == ("cam_0", "cam_1", "cam_2")
    assert len(session.frame_times_ns("cam_2")) >= 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["record", "RIG", "taken"], "there already"),
        (["record", "RIG", "file"], "is a file"),
        (["record", "RIG", "file/below"], "cannot be written"),
        (["record", "RIG", "/proc/session"], "cannot be written"),
        (["record", "RIG", "s", "--reserve-mb", "1000000000"], "--reserve-mb"),
        (["record", "RIG", "s", "--pre-roll", "2"], "--takes"),
        (["record", "RIG", "s", "--crf", "52"], "--crf 52"),
        (["record", "RIG", "s", "--control", "tcp://0.0.0.0:5557"], "this host only"),
        (["record", "RIG", "s", "--lossless", "--copy"], "not allowed with"),
        (["record", "none.yaml", "s"], "no such file"),
        (["live", "RIG", "--lossless"], "--record DIR"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "file").touch()
    try:
        code = main([str(rig) if word == "RIG" else word for word in arguments])
    except SystemExit as ended:  # of argparse
        code = ended.code
    assert code == 2
    assert says in capsys.readouterr().err
    assert (tmp_path / "taken" / "notes.txt").read_text() == "mine"
