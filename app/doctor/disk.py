"""Room on the disk, and its speed, against what a recording needs."""

import os
import shlex
import tempfile
import time
from pathlib import Path

from app.doctor.finding import Finding, Findings
from app.doctor.limits import DoctorLimits
from app.doctor.needs import RigNeeds

_TRIAL_MB, _BLOCK = 64, 4 * 10**6
_ANOTHER = "usthand doctor --folder DIR   (the folder in which you record)"


def check_disk(limits: DoctorLimits, needs: RigNeeds, folder: Path) -> Findings:
    need = needs.recorded_mbyte(limits, lossless=False)
    lossless = needs.recorded_mbyte(limits, lossless=True)
    name = shlex.quote(str(folder))
    try:
        found = os.statvfs(folder)
    except FileNotFoundError as error:
        yield Finding("disk", "problem", f"{folder}: {error.strerror}", f"mkdir -p {name}")
        return
    except OSError as error:
        yield Finding("disk", "problem", f"{folder}: {error.strerror}", _ANOTHER)
        return
    if not folder.is_dir():
        yield Finding("disk", "problem", f"{folder}: is no folder", _ANOTHER)
        return
    free_mb = found.f_bavail * found.f_frsize / 1e6 - limits.reserve_mb
    minutes = max(0.0, free_mb) / need / 60
    told = f"room for {minutes:.0f} min of {needs.said} at {need:.0f} MB/s ({lossless:.0f} MB/s with --lossless)"
    level = "problem" if free_mb <= 0 else "ok" if minutes >= limits.room_minutes else "warning"
    remedy = "" if level == "ok" else f"df -h {name}   (free some, or record elsewhere: usthand record RIG DIR)"
    free = max(0.0, free_mb + limits.reserve_mb) / 1e3
    yield Finding("disk", level, f"{folder}: {free:.1f} GB free, {told}", remedy)
    if free_mb > 2 * _TRIAL_MB:
        yield from _check_speed(limits, need, lossless, folder)


def _check_speed(limits: DoctorLimits, need: float, lossless: float, folder: Path) -> Findings:
    try:
        speed = write_mbyte_s(folder)
    except OSError as error:
        yield Finding(
            "disk",
            "problem",
            f"{folder}: cannot be written to ({error.strerror})",
            f"sudo chown $USER {shlex.quote(str(folder))}   (or a folder of your own: usthand record RIG DIR)",
        )
        return
    told = f"{folder}: writes {speed:.0f} MB/s"
    if speed < need * limits.disk_spare:
        session = shlex.quote(str(folder / "session"))
        remedy = f"usthand record RIG {session} --crf 28   (or into a folder on a faster disk)"
        yield Finding("disk", "problem" if speed < need else "warning", f"{told}, and {need:.0f} are recorded", remedy)
    elif speed < lossless * limits.disk_spare:
        yield Finding(
            "disk", "ok", f"{told}: enough for H.264, too little for --lossless, which may take {lossless:.0f}"
        )
    else:
        yield Finding("disk", "ok", told)


def write_mbyte_s(folder: Path, size_mb: int = _TRIAL_MB) -> float:
    """Of so much that is put on the disk itself and removed again. Raises OSError."""
    block = os.urandom(_BLOCK)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.monotonic()
        for _ in range(size_mb * 10**6 // _BLOCK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return size_mb / (time.monotonic() - began)
