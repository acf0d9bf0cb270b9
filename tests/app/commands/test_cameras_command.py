"""`usthand cameras`, with emulated cameras and with a stand-in for the kernel's V4L2 answers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.devices import v4l2
from calibration.camera_source import OpenCvSource
from calibration.yamlfile import from_data
from tests.conftest import ROOT
from tests.support.v4l2_kernel import MODES, Kernel


def run_cameras(*flags: str, emulated: int = 0) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYLON_CAMEMU": str(emulated)}
    command = [sys.executable, "-m", "app", "cameras", *flags]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def test_emulated_cameras_are_listed_probed_and_given_as_an_entry() -> None:
    pytest.importorskip("pypylon")
    done = run_cameras("--probe", "--json", emulated=2)
    lines = done.stdout.splitlines()
    cameras = [camera for camera in json.loads(lines[-1])["cameras"] if camera["kind"] == "pylon"]
    assert [camera["source"]["serial"] for camera in cameras] == ["0815-0000", "0815-0001"]
    for camera in cameras:
        assert camera["probe"]["works"]
        assert camera["probe"]["frames"] == 10
        assert "BGR8Packed" in camera["details"]["pixel_formats"]
    entries = [line for line in lines if line.startswith("  source: ") and "0815" in line]
    assert yaml.safe_load(entries[1])["source"] == {"kind": "pylon", "serial": "0815-0001", "fps": 100.0}


def test_a_machine_without_cameras_says_so() -> None:
    if list(Path("/dev").glob("video*")):
        pytest.skip("this machine has a camera")
    done = run_cameras("--json")
    assert "no camera is attached" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["cameras"] == []


def test_v4l2_devices_have_stable_paths_and_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_id = tmp_path / "v4l" / "by-id"
    by_id.mkdir(parents=True)
    for node in ("video0", "video1"):
        (tmp_path / node).touch()
    link = by_id / "usb-Maker_HD_Webcam_1234-video-index0"
    link.symlink_to(tmp_path / "video0")
    captures = {(tmp_path / "video0").stat().st_ino: True, (tmp_path / "video1").stat().st_ino: False}
    monkeypatch.setattr("app.devices.v4l2.fcntl.ioctl", Kernel(captures).ioctl)
    devices = v4l2.list_video_devices(tmp_path)
    assert [(device.path, device.name, device.problem) for device in devices] == [(str(link), "HD Webcam", "")]
    found = {(mode.fourcc, mode.width, mode.height): mode.fps for mode in devices[0].modes}
    assert found == {(fourcc, *size): rates for fourcc, sizes in MODES.items() for size, rates in sizes.items()}

    from app.commands.cameras import _describe_video

    described = _describe_video(devices[0])
    assert from_data(described["source"], OpenCvSource, "entry") == OpenCvSource(
        device=str(link), fourcc="MJPG", fps=60.0
    )
    assert described["image_size"] == (1280, 720)


def test_a_device_that_cannot_be_asked_says_why(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    (device,) = v4l2.list_video_devices(tmp_path)
    assert "ioctl" in device.problem


def test_requests_are_the_kernels(tmp_path: Path) -> None:
    """A request number holds its structure's size, so the compiler's agreement checks the layouts as well."""
    names = ("QUERYCAP", "ENUM_FMT", "ENUM_FRAMESIZES", "ENUM_FRAMEINTERVALS", "REQBUFS", "G_CTRL")
    if shutil.which("gcc") is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("no C compiler with the kernel's headers")
    program = tmp_path / "requests.c"
    prints = "".join(f'printf("%lu\\n", (unsigned long)VIDIOC_{name});' for name in names)
    controls = ("EXPOSURE_AUTO", "EXPOSURE_AUTO_PRIORITY", "FOCUS_AUTO", "AUTO_WHITE_BALANCE")
    prints += "".join(f'printf("%lu\\n", (unsigned long)V4L2_CID_{name});' for name in controls)
    program.write_text(f"#include <stdio.h>\n#include <linux/videodev2.h>\nint main(void) {{ {prints} return 0; }}\n")
    subprocess.run(["gcc", str(program), "-o", str(tmp_path / "requests")], check=True)
    done = subprocess.run([str(tmp_path / "requests")], capture_output=True, text=True, check=True)
    assert [int(line) for line in done.stdout.split()] == [
        *(getattr(v4l2, name) for name in names),
        *v4l2.CONTROLS.values(),
    ]
