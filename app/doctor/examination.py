"""All checks, in the order in which they are printed. One that fails itself is a line, and the others go on."""

import importlib
import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.doctor.cameras import check_cameras, check_usb
from app.doctor.disk import check_disk
from app.doctor.engines import check_engines
from app.doctor.finding import Finding, Findings, Machine
from app.doctor.graphics import check_display, check_gpu, check_opengl
from app.doctor.limits import DoctorLimits
from app.doctor.needs import USUAL_RIG, RigNeeds
from app.doctor.packages import check_imports, check_packages, check_python
from app.doctor.system import check_cache, check_clock, check_governor, check_ports, check_shared_memory


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is examined. `rig`: a rig's file, whose cameras are tried for so many `seconds`. `folder`: where recordings
    are to go. `port`: where remote cameras are to connect; `listen`: the address at which those of the rig are waited
    for, with `keys`, a folder of CURVE keys."""

    machine: Machine = Machine()
    limits: DoctorLimits = DoctorLimits()
    rig: Path | None = None
    seconds: float = 5.0
    folder: Path = Path()
    port: int = 5600
    listen: str | None = None
    keys: Path | None = None
    cache: Path = Path()


def examine(wanted: Examination) -> Iterator[Finding]:
    """Every line, as soon as it is known; with the rig's own path in what mends it, where there is one."""
    for finding in _findings(wanted):
        rig = shlex.quote(str(wanted.rig or "RIG"))
        yield replace(finding, remedy=" ".join(rig if word == "RIG" else word for word in finding.remedy.split(" ")))


def _findings(wanted: Examination) -> Iterator[Finding]:
    machine, limits = wanted.machine, wanted.limits
    rig, needs, unreadable = _read_rig(wanted.rig) if wanted.rig else (None, None, None)
    remote = needs is not None and needs.remote
    checks: list[tuple[str, Callable[[], Findings]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("packages", check_imports),
        ("gpu", lambda: check_gpu(machine, limits)),
        ("engines", lambda: check_engines(machine)),
        ("display", check_display),
        ("opengl", check_opengl),
        ("/dev/shm", lambda: check_shared_memory(machine, limits)),
        ("cpu", lambda: check_governor(machine)),
        ("clock", lambda: check_clock(limits, remote)),
        ("ports", lambda: check_ports(machine, wanted.port, remote)),
        ("disk", lambda: check_disk(limits, needs or USUAL_RIG, wanted.folder)),
        ("cache", lambda: check_cache(limits, wanted.cache)),
        ("cameras", lambda: check_cameras(machine, needs)),
        ("usb", lambda: check_usb(machine, limits, needs)),
        ("pylon", lambda: check_pylon(machine)),
    ]
    for topic, check in checks:
        yield from _guarded(topic, check)
    if unreadable is not None:
        yield unreadable
    if rig is not None:
        listens = bool(wanted.listen) and remote
        yield from _guarded("rig", lambda: _trial().try_cameras(rig, wanted.seconds, limits, listens))
        if listens:
            trial = importlib.import_module("app.doctor.remote_trial").try_remote_cameras
            yield from _guarded("rig", lambda: trial(rig, wanted.listen, wanted.keys, wanted.seconds, limits))


def _guarded(topic: str, check: Callable[[], Findings]) -> Findings:
    try:
        yield from check()
    except Exception as error:  # nothing that is broken here may hide the rest
        yield Finding(topic, "warning", f"could not be examined ({type(error).__name__}: {error})", "usthand doctor -v")


def _trial() -> Any:
    """It needs packages that may be missing."""
    return importlib.import_module("app.doctor.rig_trial")


def _read_rig(path: Path) -> tuple[Any, RigNeeds | None, Finding | None]:
    try:
        rig = importlib.import_module("calibration.rig").read_uncalibrated_rig(path)
        importlib.import_module("app.sources.same_camera").check_cameras_differ(rig)
        return rig, _trial().rig_needs(rig, path), None
    except Exception as error:
        text = f"{error}" if type(error).__name__ in ("UserError", "SourceError") else f"{path}: {error}"
        # What a parser says runs over lines.
        text = f"cannot be used: {' '.join(text.split())}"
        return None, None, Finding("rig", "problem", text, _what_mends(path, error))


def _what_mends(path: Path, error: Exception) -> str:
    """What mends a rig that cannot be used."""
    file = path / "rig.yaml" if path.is_dir() else path
    name = shlex.quote(str(file))
    if not file.exists():
        return f"usthand cameras   (its entries make {name}; or give the path of a rig that is there)"
    if isinstance(error, ImportError):
        return f"usthand doctor --rig {name}   (again, when the packages are mended)"
    if not os.access(file, os.R_OK):
        return f"sudo chown $USER {name}"
    lines = re.findall(r"\bline (\d+)", str(error))
    return f"${{EDITOR:-nano}} +{lines[-1]} {name}" if lines else f"${{EDITOR:-nano}} {name}"


def check_pylon(machine: Machine) -> Findings:
    """GenICam cameras, where pypylon is installed."""
    try:
        devices = importlib.import_module("app.sources.pylon_list").list_pylon_devices()
    except Exception as error:
        yield Finding("pylon", "ok", f"Basler and other GenICam cameras were not looked for: {error}")
        return
    for device in devices:
        title = f"{device.vendor} {device.model}, serial {device.serial}"
        if device.problem:
            yield Finding("pylon", "problem", f"{title}: {device.problem}", "usthand cameras   (close what has it)")
        else:
            yield Finding("pylon", "ok", f"{title}, {device.transport}")
    room_mb = machine.read("sys/module/usbcore/parameters/usbfs_memory_mb")
    on_usb = [device for device in devices if "usb" in device.transport.lower()]
    if on_usb and room_mb.isdigit() and int(room_mb) < 1000:
        text = f"usbfs_memory_mb is {room_mb}: too little for USB 3 Vision cameras"
        remedy = "echo 1000 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb"
        yield Finding("pylon", "warning", text, remedy)


def as_text(finding: Finding) -> str:
    line = f"{finding.level:8} {finding.topic}: {finding.text}"
    return f"{line}\n{'':8} mend: {finding.remedy}" if finding.remedy else line
