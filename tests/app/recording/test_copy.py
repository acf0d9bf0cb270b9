"""`record --copy`: the pictures of network cameras as they were sent, byte for byte."""

import os
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

from app.cli import main
from app.recording.packers import has_key_picture
from app.sources.camera_jpeg import playable
from calibration.session import check_session
from tests.conftest import ROOT
from tests.support.live_run import last_json, simulated_rig, usthand
from tests.support.source_cases import HEIGHT, WIDTH
from tests.support.stream_servers import MjpegServer, numbered_jpeg
from tests.support.v4l2_camera import without_tables

SIZE: dict[str, Any] = {"width": WIDTH, "height": HEIGHT}


def test_pictures_are_copied_as_they_were_sent(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    data = yaml.safe_load(rig.read_text())
    with MjpegServer() as first, MjpegServer() as second:
        for entry, server in zip(data["cameras"], (first, second), strict=True):
            entry["source"] = {"kind": "opencv", "device": server.url}
        rig.write_text(yaml.safe_dump(data))
        done = usthand("record", rig, tmp_path / "session", "--copy", "--seconds", "2", "--json")
    assert done.returncode == 0, done.stderr
    session = check_session(tmp_path / "session", deep=True)
    assert set(last_json(done.stdout)["codecs"].values()) == {"mjpeg"}
    sent = {numbered_jpeg(number) for number in range(50)}
    for camera_id in session.camera_ids:
        with av.open(str(session.video_path(camera_id))) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        assert len(packets) == len(session.frame_times_ns(camera_id)) > 10
        assert set(packets) <= sent


@pytest.mark.slow
def test_usb_cameras_are_copied_and_one_that_changes_its_mode_goes_on_in_a_session_of_its_own(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    data = yaml.safe_load(rig.read_text())
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for entry, name in zip(data["cameras"], ("video0", "video1-changes"), strict=True):
            node = Path(folder) / name
            node.touch()
            entry["source"] = {"kind": "opencv", "device": str(node)}
        rig.write_text(yaml.safe_dump(data))
        python_path = f"{ROOT / 'tests' / 'support' / 'v4l2_site'}{os.pathsep}{ROOT}"
        environment = {"USB_CAMERAS": folder, "PYTHONPATH": python_path}
        environment["USB_CHANGES_AFTER"] = str(tmp_path / "session" / "frames.csv")
        done = usthand("record", rig, tmp_path / "session", "--copy", "--seconds", "4", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    told = last_json(done.stdout)
    assert set(told["codecs"].values()) == {"mjpeg"} and len(told["takes"]) == 2
    numbers = {"cam_0": [], "cam_1": []}
    for take, width in zip(told["takes"], (WIDTH, 2 * WIDTH), strict=True):
        session = check_session(Path(take["session"]), calibrated=width == WIDTH, deep=True)
        for camera_id in session.camera_ids:
            sent = {
                playable(without_tables(numbered_jpeg(n, width if camera_id == "cam_1" else WIDTH)))[0]: n  # pyright: ignore[reportOptionalSubscript]
                for n in range(50)
            }
            with av.open(str(session.video_path(camera_id))) as container:
                packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
            times_ns = session.frame_times_ns(camera_id)
            assert len(packets) == len(times_ns)
            numbers[camera_id] += [sent[packet] for packet in packets]
            steps = np.diff(times_ns) * 30 / 1e9
            assert np.abs(steps - steps.round()).max() < 1e-3, "the times are the driver's"
    for camera_id, all_numbers in numbers.items():
        dropped = sum(take["cameras"][camera_id]["dropped"] for take in told["takes"])
        gaps = sum(int(step) % 50 - 1 for step in np.diff(all_numbers))
        assert gaps <= dropped and len(all_numbers) > 5, "what is missing was counted"


def test_cameras_without_a_stream_of_their_own_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    assert main(["record", str(rig), str(tmp_path / "session"), "--copy"]) == 2
    assert "`cam_0` has no stream of its own" in capsys.readouterr().err


def test_key_pictures_are_told_by_their_nal_units() -> None:
    parameters = b"\0\0\0\1\x67abc\0\0\0\1\x68de"
    assert has_key_picture(parameters + b"\0\0\1\x65picture")
    assert not has_key_picture(parameters + b"\0\0\1\x41picture")
    assert not has_key_picture(b"")
