"""`usthand cameras`, with emulated cameras and with a stand-in for the kernel's V4L2 answers."""

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.sources import v4l2
from calibration.camera_source import OpenCvSource
from calibration.yamlfile import from_data
from tests.conftest import ROOT


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


MODES = {
    "MJPG": {(1920, 1080): (30.0,), (1280, 720): (60.0, 30.0)},
    "YUYV": {(1280, 720): (10.0,), (640, 480): (30.0,)},
}


class Kernel:
    """Answers the ioctls of a camera with MODES, and of a metadata node that captures nothing."""

    def __init__(self, nodes: dict[int, bool]) -> None:
        self._captures = nodes

    def ioctl(self, file: int, request: int, memory: bytearray) -> int:
        captures = self._captures[os.fstat(file).st_ino]
        if request == v4l2.QUERYCAP:
            caps = (0x84A00001, 0x04200001 if captures else 0x04A00000)
            struct.pack_into("=16s32s32sI2I", memory, 0, b"uvcvideo", b"HD Webcam", b"usb-0000:00:14.0-3", 0, *caps)
            return 0
        index, *key = struct.unpack_from("=4I", memory)
        formats = list(MODES)
        if request == v4l2.ENUM_FMT and index < len(formats):
            struct.pack_into("=I", memory, 44, int.from_bytes(formats[index].encode(), "little"))
            return 0
        if request in (v4l2.ENUM_FRAMESIZES, v4l2.ENUM_FRAMEINTERVALS):
            sizes = MODES[key[0].to_bytes(4, "little").decode()]
            if request == v4l2.ENUM_FRAMESIZES and index < len(sizes):
                struct.pack_into("=III", memory, 8, 1, *list(sizes)[index])
                return 0
            if request == v4l2.ENUM_FRAMEINTERVALS and index < len(sizes[key[1], key[2]]):
                struct.pack_into("=III", memory, 16, 1, 1, int(sizes[key[1], key[2]][index]))
                return 0
        raise OSError(errno.EINVAL, "Invalid argument")


def test_v4l2_devices_have_stable_paths_and_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_id = tmp_path / "v4l" / "by-id"
    by_id.mkdir(parents=True)
    for node in ("video0", "video1"):
        (tmp_path / node).touch()
    link = by_id / "usb-Maker_HD_Webcam_1234-video-index0"
    link.symlink_to(tmp_path / "video0")
    captures = {(tmp_path / "video0").stat().st_ino: True, (tmp_path / "video1").stat().st_ino: False}
    monkeypatch.setattr("app.sources.v4l2.fcntl.ioctl", Kernel(captures).ioctl)
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
    names = ("QUERYCAP", "ENUM_FMT", "ENUM_FRAMESIZES", "ENUM_FRAMEINTERVALS")
    if shutil.which("gcc") is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("no C compiler with the kernel's headers")
    program = tmp_path / "requests.c"
    prints = "".join(f'printf("%lu\\n", (unsigned long)VIDIOC_{name});' for name in names)
    program.write_text(f"#include <stdio.h>\n#include <linux/videodev2.h>\nint main(void) {{ {prints} return 0; }}\n")
    subprocess.run(["gcc", str(program), "-o", str(tmp_path / "requests")], check=True)
    done = subprocess.run([str(tmp_path / "requests")], capture_output=True, text=True, check=True)
    assert [int(line) for line in done.stdout.split()] == [getattr(v4l2, name) for name in names]
