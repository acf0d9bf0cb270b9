"""Broken set-ups: each gets the line that names it, and the command that mends it. As real as it can be here."""

import importlib.metadata
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.doctor import disk, packages
from app.doctor.cameras import check_cameras, check_usb
from app.doctor.disk import check_disk
from app.doctor.finding import Finding, Machine
from app.doctor.graphics import check_gpu
from app.doctor.limits import DoctorLimits
from app.doctor.needs import USUAL_RIG, CameraNeeds, RigNeeds
from app.doctor.system import check_cache, check_governor, check_ports
from tests.support.broken_machine import examined, fake_package, needs_mounts, usb_cameras, write
from tests.support.v4l2_kernel import Kernel, Ranges

LIMITS = DoctorLimits()


def only(findings, level: str) -> Finding:
    (found,) = [each for each in findings if each.level == level]
    return found


def cameras_of(*devices: str, fourcc: str = "MJPG", locked: bool = False) -> RigNeeds:
    cameras = [
        CameraNeeds(camera_id=f"cam_{number}", device=device, width=1280, height=720, fourcc=fourcc, locked=locked)
        for number, device in enumerate(devices)
    ]
    return RigNeeds(tuple(cameras), False, "a rig")


def kernel(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    busy: tuple[str, ...] = (),
    ranges: Ranges | None = None,
    **controls: int,
) -> None:
    nodes = {path.name: path.stat().st_ino for path in (root / "dev").glob("video*")}
    stand_in = Kernel(dict.fromkeys(nodes.values(), True), [nodes[name] for name in busy], controls, ranges)
    monkeypatch.setattr("app.devices.v4l2.fcntl.ioctl", stand_in.ioctl)


def test_no_display() -> None:
    found = only(examined("graphics.check_display()", env={"DISPLAY": "", "WAYLAND_DISPLAY": ""}), "warning")
    assert "DISPLAY is not set" in found.text and "--headless" in found.remedy


def test_a_display_that_does_not_answer() -> None:
    found = only(examined("graphics.check_display()", env={"DISPLAY": ":9871"}), "problem")
    assert ":9871 does not answer" in found.text and "DISPLAY" in found.remedy


def test_shared_memory_of_64_mb() -> None:
    needs_mounts()
    check = "system.check_shared_memory(Machine(), DoctorLimits())"
    small = examined(check, mount="mount -t tmpfs -o size=64m none /dev/shm")
    assert only(small, "warning").text.startswith("67 MB;")
    assert "remount,size=2g /dev/shm" in small[0].remedy
    large = examined(check, mount="mount -t tmpfs -o size=2g none /dev/shm")
    assert [each.level for each in large] == ["ok"]


def test_a_camera_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usb_cameras(tmp_path, 2)
    (tmp_path / "proc").symlink_to("/proc")
    kernel(monkeypatch, tmp_path, busy=("video1",), auto_exposure=1)
    program = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path / "dev/video1")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        found = list(check_cameras(Machine(tmp_path), cameras_of("0", "1")))
        other.communicate()
    assert [each.level for each in found if each.text.startswith("cam_0")] == ["ok", "ok"]
    busy = only(found, "problem")
    assert busy.text.startswith("cam_1, ") and f"(process {other.pid})" in busy.text
    assert busy.remedy.startswith(f"sudo fuser -v {tmp_path / 'dev/video1'}")


def test_no_permission_on_a_camera() -> None:
    # Root may do everything, so nobody makes the check, and may not enter tmp_path; what it needs was loaded before.
    before = "import os\nif os.geteuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        write(Path(folder), {"dev/video0": "", "dev/v4l/by-path/pci-0": ""})
        for name in ("dev/video0", "dev/v4l"):
            (Path(folder) / name).chmod(0o000)
        found = examined(f"cameras.check_cameras(Machine(Path({folder!r})), None)", before)
    denied = only(found, "problem")
    assert "video0: you may not open it (Permission denied)" in denied.text
    assert denied.remedy.startswith("sudo usermod -aG video $USER")


def test_two_cv2_packages(tmp_path: Path) -> None:
    fake_package(tmp_path, "opencv-python", "4.11.0.86", {"cv2/__init__.py": ""})
    found = examined("packages.check_packages()", env={"PYTHONPATH": str(tmp_path)})
    both = only(found, "problem")
    assert "opencv-python and opencv-contrib-python are both installed" in both.text
    assert "pip uninstall -y opencv-python opencv-contrib-python && " in both.remedy
    assert both.remedy.endswith("pip install 'opencv-contrib-python==4.11.0.86'")


def test_a_wrong_version_and_a_missing_package(tmp_path: Path) -> None:
    fake_package(tmp_path, "PyYAML", "5.4")
    before = "real = packages.installed\npackages.installed = lambda: {k: v for k, v in real().items() if k != 'av'}"
    found = examined("packages.check_packages()", before, env={"PYTHONPATH": str(tmp_path)})
    problems = {each.text: each.remedy for each in found if each.level == "problem"}
    assert set(problems) == {"pyyaml is 5.4; tested with 6.0.3", "not installed: av"}
    assert problems["pyyaml is 5.4; tested with 6.0.3"].endswith("pip install 'pyyaml==6.0.3'")


def test_a_package_that_stands_for_another_is_no_missing_one(tmp_path: Path) -> None:
    version = importlib.metadata.version("open3d")
    fake_package(tmp_path, "open3d-cpu", version)
    before = (
        "all = list(packages.importlib.metadata.distributions())\n"
        "packages.importlib.metadata.distributions = lambda: [d for d in all if d.metadata['Name'] != 'open3d']"
    )
    with_it = examined("packages.check_packages()", before, env={"PYTHONPATH": str(tmp_path)})
    assert [each.text for each in with_it if each.level == "problem"] == []
    without = examined("packages.check_packages()", before)
    assert only(without, "problem").text == "not installed: open3d"


def test_a_broken_package_and_one_that_ends_the_process(tmp_path: Path) -> None:
    gl = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    write(tmp_path, {"cv2/__init__.py": gl, "av.py": "1 / 0"})
    limited = (
        "packages.pins = lambda: {k: ('1', None) for k in ('opencv-contrib-python', 'av', 'tqdm')}\n"
        "packages.installed = packages.pins"
    )
    found = examined("packages.check_imports()", limited, env={"PYTHONPATH": str(tmp_path)})
    broken = {each.text.split()[0]: each for each in found if each.level == "problem"}
    assert set(broken) == {"opencv-contrib-python", "av"}
    assert broken["opencv-contrib-python"].remedy == "sudo apt-get install libgl1"
    assert "ZeroDivisionError" in broken["av"].text and "--force-reinstall" in broken["av"].remedy
    write(tmp_path, {"av.py": "import os; os._exit(11)"})
    crashed = examined("packages.check_imports()", limited, env={"PYTHONPATH": str(tmp_path)})
    assert [each.text for each in crashed if each.text.startswith("av")] == [
        "av cannot be imported: it ends the process that imports it (a crash)"
    ]


def test_an_old_driver(tmp_path: Path) -> None:
    said = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 12"
    write(tmp_path, {"proc/driver/nvidia/version": said, "dev/nvidia0": ""})
    found = only(check_gpu(Machine(tmp_path), LIMITS), "warning")
    assert "NVIDIA driver 535.183.01; CUDA 13 needs 580.65.06" in found.text
    assert found.remedy.startswith("sudo apt-get install nvidia-driver")
    newer = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build"
    write(tmp_path, {"proc/driver/nvidia/version": newer})
    assert only(check_gpu(Machine(tmp_path), LIMITS), "ok").text == "NVIDIA driver 580.95.05"
    (tmp_path / "dev/nvidia0").unlink()
    assert "--gpus all" in only(check_gpu(Machine(tmp_path), LIMITS), "warning").text


def test_a_gpu_without_a_driver(tmp_path: Path) -> None:
    device = "sys/bus/pci/devices/0000:01:00.0"
    write(tmp_path, {f"{device}/vendor": "0x10de", f"{device}/class": "0x030000"})
    assert only(check_gpu(Machine(tmp_path), LIMITS), "warning").text == "an NVIDIA GPU without its driver"


def test_a_full_disk(tmp_path: Path) -> None:
    needs_mounts()
    mount = f"mount -t tmpfs -o size=4m none {tmp_path}; head -c 4000000 /dev/zero > {tmp_path}/full"
    check = f"disk.check_disk(DoctorLimits(), USUAL_RIG, Path({str(tmp_path)!r}))"
    found = only(examined(check, mount=mount), "problem")
    assert "0.0 GB free, room for 0 min" in found.text and found.remedy.startswith(f"df -h {tmp_path}")


def test_a_disk_that_is_too_slow(tmp_path: Path) -> None:
    check = f"disk.check_disk(DoctorLimits(), USUAL_RIG, Path({str(tmp_path)!r}))"
    room = "real = disk.os.statvfs\ndisk.write_mbyte_s = lambda folder: 20.0"
    found = only(examined(check, room), "warning")
    assert "writes 20 MB/s, and 17 are recorded" in found.text
    refused = "def refuse(folder): raise OSError(30, 'Read-only file system')\ndisk.write_mbyte_s = refuse"
    assert "Read-only file system" in only(examined(check, refused), "problem").text


def pasted_words(found: Finding) -> list[str]:
    """What a shell makes of the command that mends it, without the words in brackets."""
    return shlex.split(found.remedy.partition("   (")[0])


def test_what_mends_a_folder_names_it_as_a_shell_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "Grüße, a disk's"
    missing = only(list(check_disk(LIMITS, USUAL_RIG, place)), "problem")
    assert pasted_words(missing) == ["mkdir", "-p", str(place)]
    place.mkdir()

    def refuse(folder: Path) -> float:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(disk, "write_mbyte_s", refuse)
    assert pasted_words(only(list(check_disk(LIMITS, USUAL_RIG, place)), "problem"))[-1] == str(place)
    full = only(list(check_disk(replace(LIMITS, reserve_mb=10**12), USUAL_RIG, place)), "problem")
    assert pasted_words(full) == ["df", "-h", str(place)]
    file = write(place, {"session.yaml": ""}) / "session.yaml"
    for no_folder in (file, file / "below"):
        found = only(list(check_disk(LIMITS, USUAL_RIG, no_folder)), "problem")
        assert found.remedy.startswith("usthand doctor --folder ")


def test_what_mends_a_package_names_python_as_a_shell_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.sys, "executable", "/home/a/My lab/.venv/bin/python")
    monkeypatch.setattr(packages, "installed", dict)
    missing = next(each for each in packages.check_packages() if each.text.startswith("not installed"))
    assert pasted_words(missing)[:2] == ["/home/a/My lab/.venv/bin/python", "-m"]


def test_no_gl_library(tmp_path: Path) -> None:
    (tmp_path / "libGL.so.1").touch()
    found = only(examined("graphics.check_opengl()", env={"LD_LIBRARY_PATH": str(tmp_path)}), "problem")
    assert found.text.startswith("libGL.so.1: ") and found.remedy == "sudo apt-get install libgl1"


def test_no_driver_gives_opengl(tmp_path: Path) -> None:
    nothing = {"LIBGL_DRIVERS_PATH": str(tmp_path), "__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path)}
    found = only(examined("graphics.check_opengl()", env=nothing), "problem")
    assert "no OpenGL context" in found.text and "libgl1-mesa-dri" in found.remedy


@pytest.mark.parametrize("remote", [True, False])
def test_a_port_that_is_taken(remote: bool) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        found = list(check_ports(Machine(), port, remote))
    taken = only(found, "problem" if remote else "warning")
    assert f"{port} cannot be listened to: Address already in use" in taken.text
    assert f"ss -ltnp 'sport = :{port}'" in taken.remedy and f"--listen tcp://0.0.0.0:{port + 10}" in taken.remedy


def test_who_has_a_port() -> None:
    program = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        found = only(check_ports(Machine(), port, True), "problem")
        other.communicate()
    assert f"(process {other.pid}) has it" in found.text


def test_an_engine_whose_library_is_missing(tmp_path: Path) -> None:
    error = "libonnxruntime.so.1: cannot open shared object file: No such file or directory"
    write(tmp_path, {"onnxruntime/__init__.py": f"raise ImportError({error!r})"})
    only_two = "engines._NAMES = ('onnxruntime', 'openvino')"
    found = examined("engines.check_engines(Machine(Path('/nowhere')))", only_two, env={"PYTHONPATH": str(tmp_path)})
    broken = only(found, "warning")
    assert broken.topic == "engine onnxruntime" and error in broken.text
    assert broken.remedy == "pip install 'usthand-live[cpu]'"
    write(tmp_path, {"openvino/__init__.py": "raise ImportError('libtbb.so.12: cannot open shared object file')"})
    found = examined("engines.check_engines(Machine(Path('/nowhere')))", only_two, env={"PYTHONPATH": str(tmp_path)})
    assert "none finds hands in images" in only(found, "problem").text


@pytest.mark.parametrize(
    ("tool", "says", "level"),
    [
        ("timedatectl", "no", "warning"),
        ("timedatectl", "yes", "ok"),
        ("chronyc", "System time     : 0.000012 seconds fast of NTP time\nLeap status     : Normal", "ok"),
        (
            "chronyc",
            "System time     : 0.0 seconds slow of NTP time\nLeap status     : Not synchronised",
            "warning",
        ),
        ("chronyc", "System time     : 1.400000 seconds slow of NTP time\nLeap status     : Normal", "warning"),
    ],
)
def test_a_clock_that_is_not_synchronised(tmp_path: Path, tool: str, says: str, level: str) -> None:
    write(tmp_path, {"says": says, "chronyc": "#!/bin/sh\nexit 1", tool: f"#!/bin/sh\ncat {tmp_path}/says"})
    for program in ("chronyc", tool):
        (tmp_path / program).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    (found,) = examined("system.check_clock(DoctorLimits(), True)", env={"PATH": path})
    assert found.level == level
    assert (found.remedy == "sudo apt-get install chrony") == (level == "warning")


def test_a_powersave_governor(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    write(tmp_path, {f"{cpu}/cpu{n}/cpufreq/scaling_governor": "performance" for n in range(4)})
    assert only(check_governor(Machine(tmp_path)), "ok").text.endswith("governor performance")
    write(tmp_path, {f"{cpu}/cpu3/cpufreq/scaling_governor": "powersave"})
    assert only(check_governor(Machine(tmp_path)), "warning").remedy == "sudo cpupower frequency-set -g performance"


def test_a_cache_that_is_too_big(tmp_path: Path) -> None:
    write(tmp_path, {"engine-1/stage1.onnx": "x" * 100_000})
    assert only(check_cache(LIMITS, tmp_path), "ok")
    found = only(check_cache(DoctorLimits(cache_gb=1e-5), tmp_path), "warning")
    assert found.remedy == "usthand cache --empty"


def test_a_usb_2_controller_with_four_cameras(tmp_path: Path) -> None:
    usb_cameras(tmp_path, 4)
    rig = cameras_of("0", "1", "2", "3")
    warned = only(check_usb(Machine(tmp_path), LIMITS, rig), "warning")
    assert warned.text.startswith("usb1 (480 Mbit/s): cam_0, cam_1, cam_2, cam_3 send up to 28 of 48 MB/s")
    assert "more than 2 may not start together" in warned.text and warned.remedy.startswith("lsusb -t")
    raw = only(check_usb(Machine(tmp_path), LIMITS, cameras_of("0", "1", "2", "3", fourcc="YUYV")), "problem")
    assert "send up to 221 of 48 MB/s" in raw.text
    assert only(check_usb(Machine(tmp_path), LIMITS, cameras_of("0", "1")), "ok")


def test_a_usb_3_controller_carries_four_cameras(tmp_path: Path) -> None:
    usb_cameras(tmp_path, 4, bus="usb2", bus_mbit=5000, device_mbit=5000)
    found = only(check_usb(Machine(tmp_path), LIMITS, cameras_of("0", "1", "2", "3", fourcc="YUYV")), "ok")
    assert "send up to 221 of 500 MB/s" in found.text


def test_a_camera_on_a_slow_cable(tmp_path: Path) -> None:
    usb_cameras(tmp_path, 1, device_mbit=12)
    assert "with 12 Mbit/s only" in only(check_usb(Machine(tmp_path), LIMITS, cameras_of("0")), "warning").text


def test_exposure_and_focus_that_are_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usb_cameras(tmp_path, 1)
    kernel(monkeypatch, tmp_path, auto_exposure=3, focus_automatic_continuous=1, exposure_dynamic_framerate=0)
    found = only(check_cameras(Machine(tmp_path), cameras_of("0")), "warning")
    assert "exposure is automatic, focus is automatic" in found.text
    assert found.remedy.endswith("video0 -c auto_exposure=1,focus_automatic_continuous=0")
    # A rig that sets the exposure has it set when the camera is opened.
    found = only(check_cameras(Machine(tmp_path), cameras_of("0", locked=True)), "warning")
    assert "exposure is automatic" not in found.text and "focus is automatic" in found.text


@pytest.mark.parametrize(
    ("asked", "level", "text"),
    [
        # As the stand-in's MODES are.
        ({"fourcc": "MJPG", "width": 640, "height": 480}, "problem", "it has no MJPG 640x480"),
        ({"width": 640, "height": 480}, "ok", "free, and has 640x480"),
        ({"fourcc": "YUYV", "width": 1280, "height": 720}, "ok", "free, and has YUYV 1280x720"),
        (
            {"fourcc": "yuyv", "fps": 30.0},
            "problem",
            "it has no yuyv 1280x720 at 30 frames/s; the fastest of this size",
        ),
        ({"fps": 60.0}, "ok", "free, and has 1280x720 at 60 frames/s"),
    ],
)
def test_a_camera_is_asked_for_what_the_rig_asks_for_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict, level: str, text: str
) -> None:
    usb_cameras(tmp_path, 1)
    kernel(monkeypatch, tmp_path)
    need = CameraNeeds(**{"camera_id": "cam_0", "device": "0", "width": 1280, "height": 720, **asked})
    (found,) = check_cameras(Machine(tmp_path), RigNeeds((need,), False, ""))
    assert found.level == level and text in found.text


@pytest.mark.parametrize(("size", "level"), [((1280, 720), "ok"), ((2592, 1944), "ok"), ((4000, 3000), "problem")])
def test_a_driver_that_has_a_range_of_sizes_has_those_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], level: str
) -> None:
    usb_cameras(tmp_path, 1)
    kernel(monkeypatch, tmp_path, ranges=((32, 2592, 2), (32, 1944, 2)))
    need = CameraNeeds(camera_id="cam_0", device="0", width=size[0], height=size[1], fourcc="MJPG", fps=60.0)
    (found,) = check_cameras(Machine(tmp_path), RigNeeds((need,), False, ""))
    assert found.level == level


def test_cameras_that_a_rig_asks_for_and_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usb_cameras(tmp_path, 1)
    kernel(monkeypatch, tmp_path, auto_exposure=1)
    found = only(check_cameras(Machine(tmp_path), cameras_of("0", "/dev/v4l/by-id/usb-gone")), "problem")
    assert found.text == "cam_1: there is no /dev/v4l/by-id/usb-gone" and found.remedy.startswith("usthand cameras")
    wrong = replace(cameras_of("0").cameras[0], width=1920, height=1080, fps=60.0)
    slow = only(check_cameras(Machine(tmp_path), RigNeeds((wrong,), False, "")), "problem")
    assert "it has no MJPG 1920x1080 at 60 frames/s; the fastest of this size has 30" in slow.text
    bare = write(tmp_path / "bare", {"dev/null": ""})
    assert "the rig asks for cam_0" in only(check_cameras(Machine(bare), cameras_of("0")), "problem").text
    assert only(check_cameras(Machine(bare), None), "ok")
