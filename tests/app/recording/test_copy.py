"""`record --copy`: the pictures of network cameras as they were sent, byte for byte."""

from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from app.cli import main
from app.recording.packers import has_key_picture
from calibration.session import check_session
from tests.support.live_run import last_json, simulated_rig, usthand
from tests.support.source_cases import HEIGHT, WIDTH
from tests.support.stream_servers import MjpegServer, numbered_jpeg

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


def test_cameras_without_a_stream_of_their_own_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    assert main(["record", str(rig), str(tmp_path / "session"), "--copy"]) == 2
    assert "`cam_0` has no stream of its own" in capsys.readouterr().err


def test_key_pictures_are_told_by_their_nal_units() -> None:
    parameters = b"\0\0\0\1\x67abc\0\0\0\1\x68de"
    assert has_key_picture(parameters + b"\0\0\1\x65picture")
    assert not has_key_picture(parameters + b"\0\0\1\x41picture")
    assert not has_key_picture(b"")
