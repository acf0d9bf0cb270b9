"""Machines that something is wrong with: folders with the kernel's files, and programs in a namespace of their own."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from app.doctor.finding import Finding
from tests.conftest import ROOT

_OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount")
_MAIN = """
import json
from dataclasses import asdict
from pathlib import Path
from app.doctor.finding import Machine
from app.doctor.limits import DoctorLimits
from app.doctor.needs import USUAL_RIG
from app.doctor import cameras, disk, engines, graphics, packages, system
{before}
print(json.dumps([asdict(each) for each in {check}]))
"""


def examined(check: str, before: str = "", env: dict[str, str] | None = None, mount: str = "") -> list[Finding]:
    """What a check finds in a process of its own, with other variables, and after the shell's line `mount` in a mount
    namespace of its own."""
    command = [sys.executable, "-c", _MAIN.format(check=check, before=before)]
    if mount:
        command = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            f'{mount}; exec "$@"',
            "sh",
            *command,
        ]
    paths = os.pathsep.join(filter(None, [(env or {}).get("PYTHONPATH"), str(ROOT)]))
    environment = {**os.environ, **(env or {}), "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [Finding(**each) for each in json.loads(done.stdout.splitlines()[-1])]


@cache
def _may_mount() -> bool:
    command = [*_OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except FileNotFoundError:
        return False


def needs_mounts() -> None:
    if not _may_mount():
        pytest.skip("this machine lets no user mount in a namespace of their own")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def usb_cameras(root: Path, count: int, bus: str = "usb1", bus_mbit: int = 480, device_mbit: int = 480) -> Path:
    """So many cameras on one bus, as the kernel shows them, with nodes that are files."""
    hub = root / "sys/devices/pci0000:00/0000:00:14.0" / bus
    write(hub, {"speed": str(bus_mbit)})
    for number in range(count):
        device = hub / f"{bus[3:]}-{number + 1}"
        interface = device / f"{device.name}:1.0"
        write(interface, {f"video4linux/video{number}/name": "HD Webcam"})
        write(device, {"speed": str(device_mbit), "product": "HD Webcam"})
        place = root / "sys/class/video4linux" / f"video{number}"
        place.mkdir(parents=True)
        (place / "device").symlink_to(interface)
        write(root, {f"dev/video{number}": ""})
    return root


def fake_package(folder: Path, name: str, version: str, files: dict[str, str] | None = None) -> Path:
    """An installed distribution, as pip leaves one."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    write(folder, {f"{name.replace('-', '_')}-{version}.dist-info/METADATA": about, **(files or {})})
    return folder
